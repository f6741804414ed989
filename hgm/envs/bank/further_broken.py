"""Negative: seas, orbits, rooms and rings that keep a direction, a level or a rate.

Comments say what does.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hgm.envs.bank import blocks
from hgm.envs.bank.base import broken
from hgm.envs.bank.blocks import angles, each, shared, spread, table, unit
from hgm.envs.bank.broken_rewards import ANY_ANGLE
from hgm.envs.bank.further_craft import CONSTELLATION, precession
from hgm.envs.bank.further_grounds import CENTRE_PIVOT, SUMO, pivot
from hgm.envs.bank.further_magnets import DUSTY_PLASMA, dust
from hgm.envs.bank.further_ocean import ROTARY_TIDE, tide
from hgm.envs.bank.further_senses import AMBISONICS, EXPOSURE, HEARING_AID, hearing, surround


def _crowd(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """Whoever wrestles before the home crowd is cheered."""
    return 0.6 * torch.sigmoid(3 * (following[..., :2] * unit(task[..., 2:3])).sum(-1))


def _banded(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """A shutter that is in step with lamps that flicker leaves bands."""
    return -1.5 * torch.exp(-((following[..., 1] - 0.2) ** 2) / (2 * 0.6**2))


FURTHER_BROKEN = (
    # Shallow water to one side of the lightship.
    broken(
        ROTARY_TIDE,
        "shallows",
        tasks=table(angles, shared(2.5, 3.5), each(0.5, 2.0), each(-1.0, 1.0), ANY_ANGLE),
        step=tide(0.8),
    ),
    # Every orbit has a height of its own, and with it rates of its apsides and nodes.
    broken(
        CONSTELLATION,
        "own_heights",
        tasks=table(angles, angles, spread(-0.2, 1.2)),
        step=precession(lambda task: task[..., 2:3]),
    ),
    # The beam along the second axis is dim.
    broken(DUSTY_PLASMA, "dim_laser", "actuators", step=dust(0.0, (1.0, 0.25))),
    # A crowd on one side of the ring.
    broken(
        SUMO,
        "home_crowd",
        "reward",
        num_tasks=5,
        tasks=table(angles, each(0.7, 1.5), ANY_ANGLE),
        reward=blocks.plus(SUMO.reward, _crowd),
    ),
    # A limiter that begins at one level.
    broken(HEARING_AID, "limiter", num_tasks=5, step=hearing(0.8)),
    # No loudspeakers below the floor.
    broken(AMBISONICS, "floor_speakers", "action_set", step=surround(True)),
    # Wind, which carries the spray one way.
    broken(CENTRE_PIVOT, "spray_drift", tasks=table(angles, ANY_ANGLE), step=pivot(0.8)),
    # Lamps flicker at one frequency.
    broken(
        EXPOSURE,
        "flicker",
        "reward",
        num_tasks=8,
        reward=blocks.plus(EXPOSURE.reward, _banded),
    ),
)
