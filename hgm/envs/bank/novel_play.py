"""Positive: a game on a world without edges, a market, and music."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from hgm.envs.bank import blocks
from hgm.envs.bank.base import Shape, Step
from hgm.envs.bank.blocks import angles, each, relative, spread, table, turn, unit
from hgm.envs.bank.fresh_light import LIGHT, graded, still, tensor
from hgm.envs.bank.novel_machines import ROBOT

Pull = Callable[[Tensor, Tensor], Tensor]
"""A force ``(..., k)`` of states ``(..., k)``, or of what is shown of them, and tasks."""


def asteroids(pull: Pull | None = None) -> Step:
    """A ship on a world that comes round both ways: points on two circles, and velocities.

    Args:
        pull: What else accelerates it, by the two points and the task; nothing if None.
    """

    def step(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
        across, down, v = state.split(2, -1)
        force = action.tanh()
        if pull is not None:
            force = force + pull(state[..., :4], task)
        ways = (0.4 * v + 0.02 * random[..., :2]).chunk(2, -1)
        faster = 0.85 * v + 0.4 * force + 0.02 * random[..., 4:]
        return torch.cat((turn(across, ways[0]), turn(down, ways[1]), faster), -1)

    return step


def _spawned(shape: Shape, generator: torch.Generator) -> Tensor:
    first, second = blocks.uniform(math.pi, 2)(shape, generator).chunk(2, -1)
    return torch.cat((unit(first), unit(second), blocks.normal(0.7, 2)(shape, generator)), -1)


def _bases(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """Two bases, the second smaller, and a speed limit."""
    near = []
    for first, second, sharp in ((0.0, 0.0, 1.0), (2.0, 1.2, 2.0)):
        along = (following[..., :2] * unit(task[..., :1] + first)).sum(-1)
        beside = (following[..., 2:4] * unit(task[..., 1:2] + second)).sum(-1)
        near.append(torch.exp(sharp * (along + beside - 2)))
    hasty = torch.sigmoid((following[..., 4:].norm(dim=-1) - 1.2) / 0.2)
    return near[0] + 0.6 * near[1] - 0.3 * hasty


ASTEROIDS = replace(
    ROBOT,
    name="asteroids",
    cause="product",
    dim_state=6,
    tasks=table(angles, angles),
    start=_spawned,
    step=asteroids(),
    reward=_bases,
    generators=torch.cat((blocks.spin(6, 0), blocks.spin(6, 2))),
    action_generators=still(2, 2, 2),
    coordinates=relative(0, 1),
)
"""A game on a torus, with bases anywhere."""


def market(support: float) -> Step:
    """A price in hundreds, and its volatility, which large moves raise; trades move prices.

    Args:
        support: Rate at which a bank buys below a price of 1.
    """

    def step(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
        price, calm = state[..., :1], state[..., 1:]
        trade, news = action.tanh().chunk(2, -1)
        bought = support * torch.sigmoid((1 - price) / 0.1)
        gain = 0.2 * trade + bought + 0.05 * calm * random[..., :1]
        stirred = 0.8 * calm + 0.15 * (1 + news) + 0.8 * gain.abs() + 0.02 * random[..., 1:]
        return torch.cat((price * gain.exp(), stirred), -1)

    return step


def _opened(shape: Shape, generator: torch.Generator) -> Tensor:
    logs = blocks.normal(0.5, 2)(shape, generator)
    return torch.cat((logs[..., :1].exp(), 0.8 * (0.6 * logs[..., 1:]).exp()), -1)


def _straddled(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """An option that pays for moves either way from its strike, but not without limit."""
    moved = following[..., 0] * torch.exp(-task[..., 0]) - 1
    return torch.maximum(moved, -1.4 * moved).clamp_max(1.2) - 0.4 * following[..., 1]


STRADDLE = replace(
    LIGHT,
    name="straddle",
    cause="noncompact",
    num_tasks=5,
    dim_state=2,
    dim_action=2,
    tasks=table(spread(-0.5, 0.5), each(0.5, 2.0), each(-1.0, 1.0)),
    start=_opened,
    behaviour=blocks.normal(1.0, 2),
    step=market(0.0),
    reward=graded(_straddled, 1),
    generators=torch.diag(tensor([1.0, 0.0]))[None],
    action_generators=still(1, 2, 2),
    max_steps=15,
)
"""Options with strikes of their own on one share."""

# Three voices, transposed together; and the highest one alone.
TRANSPOSED = torch.zeros(1, 4, 4, dtype=torch.float64)
TRANSPOSED[0, :3, 3] = 1.0
HIGHEST = torch.zeros(1, 4, 4, dtype=torch.float64)
HIGHEST[0, 2, 3] = 1.0


def choir(keyed: float) -> Step:
    """Pitches of three voices in semitones, which are drawn to thirds and to one another.

    Args:
        keyed: How strongly a piano draws all of them to whole tones of its own.
    """

    def step(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
        low, high = state.diff(dim=-1).unbind(-1)
        thirds = [0.6 * torch.sin(2 * math.pi * one / 3.5) for one in (low, high)]
        pure = torch.stack((-thirds[0], thirds[0] - thirds[1], thirds[1]), -1)
        close = 0.06 * (state.mean(-1, keepdim=True) - state)
        piano = -keyed * torch.sin(math.pi * state)
        return state + action.tanh() - pure + close + piano + 0.1 * random

    return step


def sung(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """The lowest voice is wanted on a key, the highest one seven semitones, or so, above."""
    missed = (following[..., 0] - task[..., 0]).abs()
    return -0.1 * missed - 0.06 * (following[..., 2] - following[..., 0] - task[..., 1]).abs()


CHOIR = replace(
    LIGHT,
    name="choir",
    cause="affine",
    group="affine",
    num_tasks=4,
    tasks=table(spread(57.5, 62.5), blocks.shared(7.0, 7.0)),
    start=lambda shape, generator: 60 + blocks.normal(4.0, 3)(shape, generator),
    step=choir(0.0),
    reward=sung,
    generators=TRANSPOSED,
    action_generators=still(1, 3, 3),
    coordinates=relative(0),
    max_steps=15,
)
"""A choir without a piano, which sings in any key."""

NOVEL_PLAY = (ASTEROIDS, STRADDLE, CHOIR)
