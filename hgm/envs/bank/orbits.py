"""Tasks on several orbits of one group: goals on two circles, and rewards that pin the scale."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from hgm.envs.bank import blocks
from hgm.envs.bank.base import NEVER_FOUND
from hgm.envs.bank.blocks import angles, each, of_distance, shared, table
from hgm.envs.bank.broken_dynamics import box
from hgm.envs.bank.goals import CONE

RADII = (1.0, 2.0)


def _radii(num: int, generator: torch.Generator) -> Tensor:
    """Radii of the goals: the tasks of two circles take turns."""
    return torch.tensor(RADII, dtype=torch.float64)[torch.arange(num) % 2, None]


def _kind(num: int, generator: torch.Generator) -> Tensor:
    """0 and 1 in turns."""
    return torch.arange(num, dtype=torch.float64)[:, None] % 2


def well(far: Tensor) -> Tensor:
    """A Gaussian well of fixed width."""
    return torch.exp(-far.square() / (2 * 0.7**2))


def _bean(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """On one circle a cone; on the other two wells, of which the smaller one lies aside."""
    goal = blocks.goal(task)
    aside = 0.8 * blocks.turn(goal, 1.2)
    both = well((following - goal).norm(dim=-1)) + 0.5 * well((following - aside).norm(dim=-1))
    return torch.where(task[..., 2] == 0, blocks.cone(state, action, following, task), 2 * both)


def _lone(num: int, generator: torch.Generator) -> Tensor:
    """All goals on the one circle, but for the last one, which is farther out."""
    radii = torch.ones(num, 1, dtype=torch.float64)
    radii[-1] = 1.7
    return radii


def _ovals(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """Wells about goals on two circles, all oblong along one axis that does not turn."""
    x, y = blocks.turn(following - blocks.goal(task), -task[..., 2:3]).unbind(-1)
    return well(torch.hypot(x, 2 * y))


def _own_ovals(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """The same, every one along an axis and of a width of its own."""
    x, y = blocks.turn(following - blocks.goal(task), -task[..., 2:3]).unbind(-1)
    return well(torch.hypot(x, task[..., 3] * y))


def _two_shapes(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """One of two rewards that know no goal: four copies of either."""
    x, y = blocks.turn(following, -task[..., 3:4]).unbind(-1)
    one, other = torch.tanh(x**2 - y**2 + x), -(y - 1.5 * x**2).abs() - 0.2 * x.abs()
    return torch.where(task[..., 2] == 0, one, other)


WELLS = replace(
    CONE,
    name="two_circles",
    cause="several_orbits",
    num_tasks=8,
    tasks=table(angles, _radii),
    start=blocks.normal(1.0, 2),
    reward=of_distance(well),
    coordinates=None,
    max_steps=25,
)
"""Goals on two circles, four each: no rotation carries the one into the other."""

_NEGATIVE = replace(WELLS, verdicts=NEVER_FOUND, coordinates=blocks.relative(0))
_ANY = shared(0.0, 2 * math.pi)

ORBITS = (
    WELLS,
    replace(
        WELLS,
        name="two_rewards",
        half="reported",
        tasks=table(angles, shared(0.9, 1.1), _kind),
        reward=_bean,
    ),
    replace(
        WELLS,
        name="one_alone",
        half="reported",
        num_tasks=6,
        tasks=table(angles, _lone),
    ),
    replace(
        _NEGATIVE, name="two_circles_of_ovals", tasks=table(angles, _radii, _ANY), reward=_ovals
    ),
    replace(
        _NEGATIVE,
        name="eight_ovals",
        half="reported",
        tasks=table(angles, each(0.6, 1.6), each(0.0, math.pi), each(1.5, 3.0)),
        reward=_own_ovals,
    ),
    replace(
        _NEGATIVE,
        name="two_circles_in_a_box",
        half="reported",
        behaviour=blocks.uniform(0.2, 2),
        step=blocks.walk(motion=box),
    ),
    replace(
        _NEGATIVE,
        name="copies_of_two",
        tasks=table(angles, shared(1.0, 1.0), _kind, _ANY),
        reward=_two_shapes,
    ),
)
