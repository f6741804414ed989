"""Positive: wrestlers in a ring, and water on a round field."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from hgm.envs.bank import blocks
from hgm.envs.bank.base import Shape, Step
from hgm.envs.bank.blocks import angles, each, turn, unit
from hgm.envs.bank.fresh_light import still
from hgm.envs.bank.later_vehicles import CRAFT, effort
from hgm.envs.point import bound_disc


def _wrestled(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """Metres of two wrestlers from the middle of a ring, the second of whom seeks the first."""
    own, other = state.chunk(2, -1)
    apart = other - own
    far = (apart.square().sum(-1, keepdim=True) + 0.01).sqrt()
    pushed = torch.sigmoid((0.9 - far) / 0.15) * apart / far
    dodged = turn(apart, 0.8) / (1 + far)
    after = (
        0.95 * own + 0.45 * bound_disc(action, 1.2) - 0.25 * pushed,
        0.92 * other - 0.2 * dodged + 0.6 * pushed,
    )
    return torch.cat(after, -1) + 0.06 * random


def _out(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """The other is to leave the ring on one side, and oneself is not to leave it."""
    own, other = following.chunk(2, -1)
    across = torch.sigmoid((other.norm(dim=-1) - 1.0) / 0.25)
    side = torch.sigmoid(3 * (other * unit(task[..., :1])).sum(-1))
    won = across * side - 0.4 * torch.sigmoid((own.norm(dim=-1) - 1.5) / 0.2)
    return won * task[..., 1]


SUMO = replace(
    CRAFT,
    name="sumo",
    num_tasks=4,
    dim_state=4,
    tasks=blocks.table(angles, each(0.7, 1.5)),
    start=blocks.normal(0.9, 4),
    step=_wrestled,
    reward=_out,
    generators=blocks.spin(4, 0, 2),
    action_generators=blocks.spin(2, 0),
    max_steps=30,
)
"""A ring without corners, and sides on which a wrestler is to be thrown out."""


def pivot(drift: float) -> Step:
    """Way an arm points that goes round a field, and water in waves of one and of two crests.

    Args:
        drift: How far wind, which blows along the angle in column 1, carries what is sprayed.
    """

    def step(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
        arm, once, twice = state.split(2, -1)
        pace, valve = action.tanh().split(1, -1)
        length = arm.norm(dim=-1, keepdim=True).clamp_min(1e-3)
        arm = arm * length**-0.4
        wet = arm / arm.norm(dim=-1, keepdim=True)
        if drift:
            wet = wet + drift * unit(task[..., 1:2])
            wet = wet / wet.norm(dim=-1, keepdim=True).clamp_min(0.05)
        x, y = wet.split(1, -1)
        double = torch.cat((x.square() - y.square(), 2 * x * y), -1)
        flow = 0.4 * (1 + valve)
        dry = 0.85 / (1 + 0.1 * once.square().sum(-1, keepdim=True))
        after = (turn(arm, 0.5 + 0.5 * pace), dry * once + flow * wet, 0.8 * twice + flow * double)
        return torch.cat(after, -1) + 0.04 * random

    return step


def _field(shape: Shape, generator: torch.Generator) -> Tensor:
    arm = blocks.normal(1.0, 2)(shape, generator)
    arm = arm / arm.norm(dim=-1, keepdim=True)
    return torch.cat((arm, blocks.normal(0.9, 4)(shape, generator)), -1)


def _crop(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """A sector of the field is to be wet, but not to be flooded; water is dear."""
    arm, once, twice = following.split(2, -1)
    wet = (once * unit(task[..., :1]) + 0.6 * twice * unit(2 * task[..., :1])).sum(-1)
    grown = torch.sigmoid(3 * (wet - 0.4)) - 0.5 * torch.sigmoid(3 * (wet - 2))
    return grown - 0.15 * action[..., 1].tanh()


CENTRE_PIVOT = replace(
    CRAFT,
    name="centre_pivot",
    cause="axis",
    num_tasks=5,
    dim_state=6,
    tasks=angles,
    start=_field,
    step=pivot(0.0),
    reward=blocks.plus(_crop, effort(0.02)),
    generators=blocks.spin(6, 0, 2, 4, rates=(1.0, 1.0, 2.0)),
    action_generators=still(1, 2, 2),
    reward_noise=0.02,
    max_steps=200,
)
"""A field that an arm waters in circles, and crops in any sector of it."""

FURTHER_GROUNDS = (SUMO, CENTRE_PIVOT)
