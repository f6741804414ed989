"""Negative: rewards that no symmetry of the dynamics carries from one task into another.

The group that a specimen states is the one that its tasks seem to have, and do not.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from hgm.envs.bank import blocks
from hgm.envs.bank.base import NEVER_FOUND, Reward
from hgm.envs.bank.blocks import angles, distance, each, goal, shared, table, turn, unit
from hgm.envs.bank.goals import CIRCLE, CONE

NEGATIVE = replace(CONE, verdicts=NEVER_FOUND)
ANY_ANGLE = shared(0.0, 2 * math.pi)

SHAPES: tuple[Callable[[Tensor, Tensor], Tensor], ...] = (
    lambda x, y: -torch.hypot(x, y),
    lambda x, y: -(torch.hypot(x, y) - 0.6).abs(),
    lambda x, y: torch.tanh(x**2 - y**2),
    lambda x, y: -y.abs() - 0.2 * x.abs(),
    lambda x, y: torch.cos(3 * x) + torch.cos(3 * y),
    lambda x, y: -(y - 1.5 * x**2).abs() - 0.2 * x.abs(),
)


def _bumps(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """Three bumps, each of its own place, height and width."""
    places, heights, widths = task[..., 2:8].unflatten(-1, (3, 2)), task[..., 8:11], task[..., 11:]
    square = (following[..., None, :] - places).square().sum(-1)
    return (heights * torch.exp(-square / (2 * widths.square()))).sum(-1)


def _number(num: int, generator: torch.Generator) -> Tensor:
    return torch.arange(num, dtype=torch.float64)[:, None] % len(SHAPES)


def _shapes(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """Of every task another shape about its goal, turned: that of the number in column 2."""
    x, y = turn(following - goal(task), -task[..., :1]).unbind(-1)
    every = torch.stack([shape(x, y) for shape in SHAPES], -1)
    number = task[..., 2:3].long().expand(*x.shape, 1)
    return every.gather(-1, number)[..., 0]


def bump(height: float) -> Reward:
    """A fixed bump, whatever the task, about the point of columns 2 and 3."""

    def reward(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
        square = (following - task[..., 2:4]).square().sum(-1)
        return height * torch.exp(-square / (2 * 0.4**2))

    return reward


def ellipse(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """Bowls that are steeper along a fixed axis, the factor and the angle of columns 2 and 3."""
    x, y = turn(following - goal(task), -task[..., 3:4]).unbind(-1)
    return -x.square() - task[..., 2] * y.square()


def _lopsided(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    return -distance(following, task) * (1 + 0.4 * torch.sin(2 * following[..., 0]))


def _on_a_line(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    return -(following[..., 0] - task[..., 0]).abs()


def _taste(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    return 4.0 * (unit(task[..., 2:3]) * action).sum(-1)


def _log_radius(tasks: Tensor) -> Tensor:
    logs = tasks[:, 1:2].log()
    return torch.cat((tasks[:, :1] - tasks[:1, :1], logs - logs[:1]), -1)


def _log_ratio(tasks: Tensor) -> Tensor:
    return (tasks[:, :1] / tasks[:1, :1]).log()


SPIN_AND_SCALE = torch.cat((blocks.spin(2, 0), torch.eye(2, dtype=torch.float64)[None]))
STRETCH = torch.tensor([[[1.0, 0.0], [0.0, 0.0]]], dtype=torch.float64)

BROKEN_REWARDS = (
    # Rewards that no map relates.
    replace(
        NEGATIVE,
        name="bumps",
        tasks=table(CIRCLE, each(-1.0, 1.0, 6), each(0.5, 1.5, 3), each(0.4, 0.8, 3)),
        reward=_bumps,
    ),
    replace(
        NEGATIVE,
        name="bumps_wide",
        half="reported",
        num_tasks=6,
        tasks=table(CIRCLE, each(-1.0, 1.0, 6), each(-1.5, 1.5, 3), each(0.4, 0.8, 3)),
        start=blocks.normal(0.7, 2),
        reward=_bumps,
        max_steps=25,
    ),
    replace(
        NEGATIVE,
        name="shapes",
        half="reported",
        num_tasks=6,
        tasks=table(CIRCLE, _number),
        reward=_shapes,
    ),
    replace(
        NEGATIVE,
        name="bump_of_20_percent",
        tasks=table(CIRCLE, shared(-0.7, 0.7, 2)),
        reward=blocks.plus(blocks.cone, bump(0.2)),
    ),
    replace(
        NEGATIVE,
        name="ellipses",
        half="reported",
        tasks=table(CIRCLE, shared(3.0, 6.0), ANY_ANGLE),
        reward=ellipse,
    ),
    replace(NEGATIVE, name="lopsided", reward=_lopsided),
    # Rewards that a group relates which the actions do not have.
    replace(
        NEGATIVE,
        name="scattered_goals",
        cause="orbits",
        num_tasks=6,
        tasks=table(angles, each(0.4, 1.6)),
        generators=SPIN_AND_SCALE,
        action_generators=SPIN_AND_SCALE,
        coordinates=_log_radius,
    ),
    replace(
        NEGATIVE,
        name="goals_on_a_line",
        cause="orbits",
        half="reported",
        tasks=each(0.4, 1.6),
        reward=_on_a_line,
        generators=STRETCH,
        action_generators=STRETCH,
        coordinates=_log_ratio,
    ),
    # Rewards whose dependence on the action is not inherited.
    replace(
        NEGATIVE,
        name="tastes",
        cause="action_term",
        tasks=table(CIRCLE, each(0.0, 2 * math.pi)),
        reward=blocks.plus(blocks.cone, _taste),
    ),
    replace(
        NEGATIVE,
        name="dear_motor",
        cause="action_term",
        half="reported",
        tasks=table(CIRCLE, ANY_ANGLE),
        reward=blocks.plus(
            blocks.cone,
            lambda state, action, following, task: (
                -20.0 * (unit(task[..., 2:3]) * action).sum(-1).square()
            ),
        ),
    ),
)
