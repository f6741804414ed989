"""Negative: storms, orbits, clocks and rinks that keep a place, a scale or a direction.

Comments say what does; of the last one, it is what recordings do not show.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from hgm.envs.bank import blocks
from hgm.envs.bank.base import broken
from hgm.envs.bank.blocks import angles, spread, table, unit
from hgm.envs.bank.broken_rewards import ANY_ANGLE
from hgm.envs.bank.goals import CIRCLE
from hgm.envs.bank.novel_wishes import UNSEEN
from hgm.envs.bank.other_life import CHEMOTAXIS, INSULIN, JET_LAG, clock, receptors
from hgm.envs.bank.other_play import BIATHLON, CURLING
from hgm.envs.bank.other_vehicles import RENDEZVOUS, rendezvous
from hgm.envs.bank.other_weather import BALLOON, HURRICANE, balloon, surveyed


def _hog_line(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """Stones that are not across a line count less."""
    across = (following[..., :2] * unit(task[..., 2:3])).sum(-1)
    return -0.7 * torch.sigmoid((0.2 - across) / 0.1)


def _alarm(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """A pump gives an alarm above so many units."""
    return -torch.sigmoid((action[..., 0] - 0.5) / 0.1)


OTHER_BROKEN = (
    # A line to a station, which stays where it is.
    broken(RENDEZVOUS, "tethered_craft", num_tasks=5, step=rendezvous(0.6)),
    # Warm air begins at one height.
    broken(BALLOON, "inversion", step=balloon(0.8)),
    # Receptors are taken at one concentration.
    broken(CHEMOTAXIS, "taken_receptors", tasks=spread(-0.9, 0.9), step=receptors(1.0)),
    # Clocks have rates of their own, by which no phase is another one.
    broken(
        JET_LAG,
        "own_chronotypes",
        "actuators",
        num_tasks=5,
        tasks=table(angles, spread(-0.1, 0.8)),
        step=clock(1),
    ),
    # A line across the ice, wherever the house is.
    broken(
        CURLING,
        "hog_line",
        "reward",
        tasks=table(CIRCLE, ANY_ANGLE),
        reward=blocks.plus(CURLING.reward, _hog_line),
    ),
    # Every radar seeks bands of a pitch that storms do not have.
    broken(
        HURRICANE,
        "own_bands",
        "reward",
        tasks=table(spread(-1.5, 1.5), spread(0.3, 1.2)),
        reward=surveyed(1, 0.9),
    ),
    # An alarm at so many units, whatever a unit does.
    broken(
        INSULIN,
        "dose_alarm",
        "action_term",
        tasks=spread(-0.7, 0.7),
        reward=blocks.plus(INSULIN.reward, _alarm),
    ),
    # Nobody sees who hits what.
    replace(BIATHLON, name="white_out", cause="noise", verdicts=UNSEEN, reward_noise=10.0),
)
