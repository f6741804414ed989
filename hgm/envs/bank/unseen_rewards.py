"""Negative: rewards that seem to turn, and costs that do not.

The dynamics have the rotations, and bounds of actions leave no other linear maps.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from hgm.envs.bank import blocks
from hgm.envs.bank.base import NEVER_FOUND
from hgm.envs.bank.blocks import distance, inertia, shared, spread, table, turn, unit, walk
from hgm.envs.bank.broken_rewards import ANY_ANGLE
from hgm.envs.bank.goals import CIRCLE
from hgm.envs.bank.machines import BODY, DOT
from hgm.envs.point import bound_disc

WISH = replace(
    DOT,
    cause="reward",
    verdicts=NEVER_FOUND,
    num_tasks=5,
    start=blocks.normal(0.6, 2),
    step=walk(motion=lambda state, action, task: blocks.disc(action) - 0.05 * state),
    max_steps=25,
)


def _manhattan(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """Every motor is paid for what it does."""
    return -6 * action.abs().sum(-1)


def _haste(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """Distance, and haste at a price of the task's own."""
    return -distance(following, task) - task[..., 2] * following[..., 2:].square().sum(-1)


def _sunny(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """A well that is worth five times as much on the sunny side of the world."""
    light = 1 + 0.7 * torch.tanh(3 * (following * unit(task[..., 2:3])).sum(-1))
    return light * torch.exp(-distance(following, task).square() / (2 * 0.7**2))


def _twisted(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """A bar through the origin, of which what is further out is turned further."""
    far = following.norm(dim=-1, keepdim=True)
    own = turn(following, -task[..., 2:3] - task[..., :1] * far / 0.7)
    return torch.exp(-own[..., 1].square() / (2 * 0.3**2)) + 0.4 * torch.tanh(2 * own[..., 0])


UNSEEN_REWARDS = (
    # Sums of absolute values are kept by the eight maps of a square.
    replace(
        WISH,
        name="manhattan_bill",
        cause="action_term",
        reward=blocks.plus(blocks.cone, _manhattan),
    ),
    # Velocities are positions' differences, so what scales the one scales the other, and then the
    # goal is elsewhere; and forces have a bound.
    replace(
        BODY,
        name="own_haste",
        cause="reward",
        verdicts=NEVER_FOUND,
        num_tasks=5,
        tasks=table(CIRCLE, spread(0.0, 2.0)),
        start=blocks.beside(blocks.normal(0.6, 2), blocks.normal(1.0, 2)),
        step=inertia(lambda x, v, action, task: bound_disc(action, 1.5) - 0.3 * v, noise=0.02),
        reward=_haste,
        max_steps=20,
    ),
    # The light has a direction in all tasks.
    replace(WISH, name="sunny_side", tasks=table(CIRCLE, ANY_ANGLE), reward=_sunny),
    # A twist keeps the distance from the origin, and is a flow, but not a linear one; of
    # two spirals that wind at rates of their own no linear map makes one of the other.
    replace(
        WISH,
        name="galaxy",
        tasks=table(spread(0.2, 2.6), shared(1.0, 1.0), ANY_ANGLE),
        reward=_twisted,
    ),
)
