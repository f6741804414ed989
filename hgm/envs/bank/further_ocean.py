"""Positive: a launch in a tide that goes round, and a yacht in winds of any strength."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from hgm.envs.bank import blocks
from hgm.envs.bank.base import Shape, Step
from hgm.envs.bank.blocks import angles, each, goal, relative, shared, spread, table, turn, unit
from hgm.envs.bank.fields import numbers, vectors
from hgm.envs.bank.fresh_light import graded
from hgm.envs.bank.later_vehicles import CRAFT, effort
from hgm.envs.point import bound_disc


def tide(shallow: float) -> Step:
    """Miles from a lightship, and knots of a tide that goes round, fastest over a round bank.

    Args:
        shallow: Share of way that is lost in shallow water, towards the direction in column 4.
    """

    def step(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
        x, current = state.chunk(2, -1)
        over = 1 + torch.exp(-x.square().sum(-1, keepdim=True) / 8)
        way = 0.4 * (over * current + 2.4 * bound_disc(action, 1.2))
        if shallow:
            depth = (x * unit(task[..., 4:5])).sum(-1, keepdim=True)
            way = way * (1 - shallow * torch.sigmoid((depth - 0.8) / 0.3))
        strength = current.square().sum(-1, keepdim=True) / 2
        turned = turn(current, 0.5) * (1 + 0.2 * (1 - strength) / (1 + strength))
        return torch.cat((x + way, turned), -1) + 0.06 * random

    return step


def _anchorage(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """An anchorage is wanted, and little way over the ground there."""
    missed = (following[..., :2] - goal(task)).square().sum(-1)
    way = (following[..., :2] - state[..., :2]).square().sum(-1)
    return -torch.log(0.3 + missed / 9) - 0.15 * way


ROTARY_TIDE = replace(
    CRAFT,
    name="rotary_tide",
    dim_state=4,
    tasks=table(angles, shared(2.5, 3.5), each(0.5, 2.0), each(-1.0, 1.0)),
    start=blocks.beside(blocks.normal(2.5, 2), blocks.normal(1.0, 2)),
    step=tide(0.0),
    reward=graded(_anchorage, 2),
    generators=blocks.spin(4, 0, 2),
    action_generators=blocks.spin(2, 0),
    reward_noise=0.05,
    max_steps=40,
)
"""A launch far from any coast, and anchorages all round a lightship."""


def _sailed(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """Velocities of a yacht and of a wind that veers: sails take a share of what it seems to be."""
    yacht, wind = numbers(state)
    (sail,) = numbers(0.3 * bound_disc(action, 1.2))
    blur, gust = numbers(random)
    seen = wind - yacht
    hull = 0.95 - 0.4 * yacht.abs() / (yacht.abs() + wind.abs())
    moved = hull * yacht + 0.1 * seen + seen.abs() * (sail + 0.02 * blur)
    return vectors(moved, wind * torch.exp(0.07 * gust - 0.12j))


def _at_sea(shape: Shape, generator: torch.Generator) -> Tensor:
    order = blocks.normal(0.45, 1)(shape, generator).exp()
    yacht, wind = blocks.normal(1.0, 4)(shape, generator).chunk(2, -1)
    spread_out = blocks.normal(0.25, 1)(shape, generator).exp()
    wind = 6 * spread_out * wind / wind.norm(dim=-1, keepdim=True)
    return order * torch.cat((2.5 * yacht, wind), -1)


def _course(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """A course and a speed are wanted, and more so in proportion to the wind."""
    yacht, wind = following.chunk(2, -1)
    wanted = 3.5 * task[..., 1:2].exp()
    missed = (yacht / wanted - unit(task[..., :1])).square().sum(-1)
    fast = yacht.norm(dim=-1) / (yacht.norm(dim=-1) + wind.norm(dim=-1))
    return -torch.log(0.2 + missed) + 0.5 * fast


TRADE_WINDS = replace(
    CRAFT,
    name="trade_winds",
    cause="product",
    num_tasks=6,
    dim_state=4,
    tasks=table(angles, spread(-0.5, 0.5)),
    start=_at_sea,
    step=_sailed,
    reward=blocks.plus(_course, effort(0.05)),
    generators=torch.cat((blocks.spin(4, 0, 2), torch.eye(4, dtype=torch.float64)[None])),
    action_generators=torch.cat((blocks.spin(2, 0), torch.zeros(1, 2, 2, dtype=torch.float64))),
    coordinates=relative(0, 1),
    max_steps=20,
)
"""Yachts in metres a second, and courses and speeds that are wanted of them."""

FURTHER_OCEAN = (ROTARY_TIDE, TRADE_WINDS)
