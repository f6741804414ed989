"""Negative: more rewards that no element carries into one another, or too few of them.

The dynamics have the rotations, and the disc of actions leaves no other linear maps of the plane.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from hgm.envs.bank import blocks
from hgm.envs.bank.base import FOUND, NEVER_FOUND, PARTIAL, Table
from hgm.envs.bank.blocks import angles, distance, goal, inertia, shared, spread, table, turn, walk
from hgm.envs.bank.broken_rewards import ANY_ANGLE
from hgm.envs.bank.goals import CIRCLE
from hgm.envs.bank.more_plane import HEAVY, POINT, dragged, valley

UNLIKE = replace(POINT, cause="reward", verdicts=NEVER_FOUND, num_tasks=5)
ODD = replace(POINT, cause="several_orbits", verdicts=(FOUND, PARTIAL), num_tasks=5)


def marks(*values: float) -> Table:
    """A column of given numbers, from the first on again."""
    return lambda num, generator: torch.tensor(values * num, dtype=torch.float64)[:num, None]


def _pit(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """A pit half-way to the goal, where column 2 says so."""
    square = (following - 0.5 * goal(task)).square().sum(-1)
    return -0.8 * task[..., 2] * torch.exp(-square / (2 * 0.2**2))


def _odd(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """The cone, or waves where column 2 says so."""
    x, y = following.unbind(-1)
    waves = torch.sin(4 * x) + torch.cos(3 * y)
    return torch.where(task[..., 2] > 0, waves, -distance(following, task))


def _own_rings(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    return -(distance(following, task) - task[..., 2]).abs()


def _scalene(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """Three unlike bumps at the corners of a scalene triangle, mirrored where column 2 is -1."""
    own = turn(following, -task[..., :1])
    own = torch.stack((own[..., 0], task[..., 2] * own[..., 1]), -1)
    places = own.new_tensor([[0.7, 0.0], [-0.1, 0.6], [-0.4, -0.4]])
    square = (own[..., None, :] - places).square().sum(-1)
    return (own.new_tensor([1.0, 0.6, -0.8]) * torch.exp(-square / (2 * 0.3**2))).sum(-1)


def _swirl(state: Tensor, action: Tensor, task: Tensor) -> Tensor:
    return blocks.disc(action) + turn(state, 0.1) - state


def _headwind(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    return -1.2 * (following[..., 2:] * blocks.unit(task[..., 2:3])).sum(-1).abs()


def _own_cost(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    return -task[..., 2] * action.square().sum(-1)


def _alike(num: int, generator: torch.Generator) -> Tensor:
    return CIRCLE(1, generator).expand(num, -1)


def _stranger(num: int, generator: torch.Generator) -> Tensor:
    """Copies of the base task, and one that is turned by two radians."""
    tasks = _alike(num, generator).clone()
    tasks[2, 0] += 2.0
    return tasks


MORE_REWARDS = (
    # One of five is on no orbit of the others, which are on one: the group is theirs.
    replace(
        ODD,
        name="pit_in_one",
        tasks=table(CIRCLE, marks(0.0, 0.0, 1.0, 0.0, 0.0)),
        reward=blocks.plus(blocks.cone, _pit),
    ),
    replace(ODD, name="odd_one", tasks=table(CIRCLE, marks(0.0, 1.0, 0.0, 0.0, 0.0)), reward=_odd),
    # Rings of other sizes about goals that are as far away: a scale would move the goals, too.
    replace(UNLIKE, name="own_rings", tasks=table(CIRCLE, spread(0.1, 0.9)), reward=_own_rings),
    # What one task seeks, the next flees.
    replace(
        UNLIKE,
        name="chase_and_flee",
        num_tasks=6,
        tasks=table(CIRCLE, marks(1.0, -1.0)),
        reward=lambda state, action, following, task: -task[..., 2] * distance(following, task),
    ),
    # The swirl has no reflection, and the bumps need one.
    replace(
        UNLIKE,
        name="mirrored",
        num_tasks=6,
        tasks=table(CIRCLE, marks(1.0, -1.0)),
        step=walk(motion=_swirl),
        reward=_scalene,
    ),
    # A direction that is dear, the same for all.
    replace(
        HEAVY,
        name="headwind",
        cause="reward",
        verdicts=NEVER_FOUND,
        tasks=table(CIRCLE, ANY_ANGLE),
        step=inertia(dragged),
        reward=blocks.plus(blocks.cone, _headwind),
    ),
    # Prices of actions against those of distances; the disc leaves actions no scale.
    replace(
        UNLIKE,
        name="own_cost",
        cause="action_term",
        tasks=table(CIRCLE, spread(0.5, 30.0)),
        reward=blocks.plus(blocks.cone, _own_cost),
    ),
    # There is a group, and no or one single element is seen of it.
    replace(UNLIKE, name="all_alike", cause="too_few", tasks=_alike, reward=valley),
    replace(UNLIKE, name="one_stranger", cause="too_few", num_tasks=6, tasks=_stranger),
    # Rewards are noise.
    replace(
        UNLIKE,
        name="static",
        cause="noise",
        tasks=table(angles, shared(1.0, 1.0)),
        reward=lambda state, action, following, task: torch.zeros_like(distance(following, task)),
        reward_noise=0.5,
    ),
)
