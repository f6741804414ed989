"""Positive: a wall in a magnet that winds, and dust that floats in a plasma."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from hgm.envs.bank import blocks
from hgm.envs.bank.base import Step
from hgm.envs.bank.blocks import angles, shared, spread, table, turn, unit
from hgm.envs.bank.fresh_light import tensor
from hgm.envs.bank.later_vehicles import CRAFT, effort
from hgm.envs.bank.novel_machines import bell
from hgm.envs.point import bound_disc

_PITCH = 15.0
"""Nanometres in which moments turn by a radian."""

_WINDING = torch.nn.functional.pad(blocks.spin(3, 1), (0, 1, 0, 1))
_WINDING[0, 0, 3] = _PITCH


def _wound(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """Place of a wall in a wire, and its moment: a field across the wire, and a current along it.

    The easy axis winds along the wire.
    """
    place, moment = state.split((1, 2), -1)
    field, current = 0.35 * bound_disc(action[..., :2], 1.5), action[..., 2:].tanh()
    easy = unit(place / _PITCH)
    own = turn(moment, -place / _PITCH)
    drift = 5 * current * (1 - 0.4 * own[..., :1].tanh()) + 3 * own[..., 1:].tanh()
    moment = 0.75 * turn(moment, 0.5 * current) + 0.2 * easy + field
    return torch.cat((place + drift, moment), -1) + tensor([1.0, 0.03, 0.03]) * random


def _written(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """A wall is wanted at a place, with its moment along the easy axis there."""
    place, moment = following.split((1, 2), -1)
    along = (moment * unit(place / _PITCH)).sum(-1)
    missed = (place - _PITCH * task)[..., 0] / 9
    return 1 / (1 + missed.square()) + 0.4 * torch.sigmoid(3 * along)


HELIMAGNET = replace(
    CRAFT,
    name="helimagnet",
    cause="affine",
    group="affine",
    num_tasks=4,
    dim_state=3,
    dim_action=3,
    tasks=spread(-1.2, 1.2),
    start=blocks.beside(blocks.normal(14.0, 1), blocks.normal(0.6, 2)),
    behaviour=blocks.normal(1.0, 3),
    step=_wound,
    reward=blocks.plus(_written, effort(0.03)),
    generators=_WINDING,
    action_generators=blocks.spin(3, 0),
    max_steps=20,
)
"""A wire that stores bits in walls, at places in nanometres."""


def dust(oblong: float, laser: tuple[float, float] = (1.0, 1.0)) -> Step:
    """Three grains of dust in a trap, which repel one another as charges behind a screen do.

    Args:
        oblong: How much stiffer the trap is along the first axis than it is on average.
        laser: How strong the beams are that push the first grain, along either axis.
    """

    def step(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
        grains = state.unflatten(-1, (3, 2))
        apart = grains[..., :, None, :] - grains[..., None, :, :]
        far = apart.square().sum(-1, keepdim=True) + 0.05
        pushed = (apart * torch.exp(-far.sqrt()) / far).sum(-2)
        held = tensor([1 + oblong, 1 - oblong]) * grains
        wind = turn(grains, torch.pi / 2) / (1 + grains.square().sum(-1, keepdim=True))
        moved = grains + 0.2 * (1.5 * pushed - held + wind)
        beam = 0.5 * tensor([*laser]) * bound_disc(action, 0.9)
        return moved.flatten(-2) + torch.nn.functional.pad(beam, (0, 4)) + 0.04 * random

    return step


def _sorted(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """The first grain is wanted at a place, and the second one to a side of it."""
    place = task[..., 1:2] * unit(task[..., :1])
    side = (following[..., 2:4] * unit(task[..., :1] + 2)).sum(-1)
    return bell(following[..., :2], place, 0.6) + 0.4 * torch.sigmoid(3 * side)


DUSTY_PLASMA = replace(
    CRAFT,
    name="dusty_plasma",
    num_tasks=6,
    dim_state=6,
    tasks=table(angles, shared(0.8, 1.2)),
    start=blocks.normal(0.8, 6),
    step=dust(0.0),
    reward=_sorted,
    generators=blocks.spin(6, 0, 2, 4),
    action_generators=blocks.spin(2, 0),
    reward_noise=0.02,
    max_steps=40,
)
"""Dust in a round trap, in millimetres, of which a grain is to be held on some side."""

FURTHER_MAGNETS = (HELIMAGNET, DUSTY_PLASMA)
