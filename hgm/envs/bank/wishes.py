"""Negative: wishes that nothing carries into one another, or that say too little.

The dynamics have the stated group, and bounds of actions leave no other linear maps.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from hgm.envs.bank import blocks
from hgm.envs.bank.base import NEVER_FOUND, NONE, PARTIAL, Shape
from hgm.envs.bank.blocks import distance, goal, shared, spread, table, turn, unit, walk
from hgm.envs.bank.broken_rewards import ANY_ANGLE
from hgm.envs.bank.goals import CIRCLE
from hgm.envs.bank.machines import CRANE, DOT, load
from hgm.envs.bank.more_rewards import marks
from hgm.envs.bank.units import UNITS

WISHES = replace(
    DOT,
    cause="reward",
    verdicts=NEVER_FOUND,
    num_tasks=5,
    start=blocks.normal(0.6, 2),
    step=walk(motion=lambda state, action, task: blocks.disc(action) - 0.05 * state),
    max_steps=25,
)
SILENT = (NONE, PARTIAL)


def _norm(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """Minus the p-norm of what is missed, `p` in column 2."""
    missed = turn(following - goal(task), -task[..., :1]).abs().clamp_min(1e-12)
    return -((missed ** task[..., 2:3]).sum(-1) ** (1 / task[..., 2]))


def _lava(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """Two pools, of one size and another, that are where they are in all tasks."""
    first, second = (
        (following - far * unit(task[..., 2:3] + angle)).norm(dim=-1)
        for far, angle in ((0.5, 0.0), (0.7, 2.0))
    )
    return -torch.sigmoid((0.4 - first) / 0.03) - torch.sigmoid((0.25 - second) / 0.03)


def _ticking(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """A point, and the time since its episode began."""
    x, time = state[..., :2], state[..., 2:]
    return torch.cat((0.95 * x + blocks.disc(action) + 0.05 * random[..., :2], time + 0.04), -1)


def _at_zero(shape: Shape, generator: torch.Generator) -> Tensor:
    return blocks.beside(blocks.normal(0.6, 2), blocks.normal(0.0, 1))(shape, generator)


def _prizes(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """A prize at the goal, and another one beside it, of a worth of its own."""
    other = (following - 0.8 * turn(goal(task), 2.1)).square().sum(-1)
    second = task[..., 2] * torch.exp(-other / (2 * 0.5**2))
    return torch.maximum(torch.exp(-distance(following, task).square() / (2 * 0.5**2)), second)


def _torque(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    (x, y), (a, b) = state.unbind(-1), action.unbind(-1)
    return task[..., 2] * (x * b - y * a)


def _same(num: int, generator: torch.Generator) -> Tensor:
    tags = torch.linspace(1.0, 3.0, num, dtype=torch.float64)[:, None]
    return torch.cat((CIRCLE(1, generator).expand(num, -1), tags), -1)


LONE_WISHES = (
    # Unit circles of norms of which no linear map makes others.
    replace(
        WISHES, name="own_norms", tasks=table(CIRCLE, marks(2.0, 0.6, 8.0, 1.0, 3.0)), reward=_norm
    ),
    # What is dear has a place.
    replace(
        WISHES,
        name="lava",
        tasks=table(CIRCLE, ANY_ANGLE),
        reward=blocks.plus(blocks.cone, _lava),
    ),
    # Time goes on as fast in all tasks, and is worth more, or less, than distance.
    replace(
        WISHES,
        name="clock",
        dim_state=3,
        tasks=table(CIRCLE, spread(-1.5, 1.5)),
        start=_at_zero,
        step=_ticking,
        reward=lambda state, action, following, task: (
            task[..., 2] * following[..., 2] - distance(following, task)
        ),
        generators=blocks.spin(3, 0),
    ),
    # The second prize is worth so much of the first, and an increasing map does not change where.
    replace(
        WISHES,
        name="prizes",
        start=blocks.normal(0.9, 2),
        tasks=table(CIRCLE, spread(0.2, 1.0)),
        reward=_prizes,
    ),
    # Turning effort is worth more and more; a disc leaves actions no scale.
    replace(
        WISHES,
        name="own_torques",
        cause="action_term",
        tasks=table(CIRCLE, spread(0.0, 15.0)),
        reward=blocks.plus(blocks.cone, _torque),
    ),
    # There is a group, and one single element is seen of it, or none.
    replace(
        next(one for one in UNITS if one.name == "carousel"),
        name="two_seats",
        cause="too_few",
        verdicts=SILENT,
        num_tasks=2,
    ),
    replace(
        CRANE,
        name="price_tags",
        cause="too_few",
        verdicts=SILENT,
        num_tasks=6,
        tasks=_same,
        reward=lambda *transition: transition[3][..., 2] * load(*transition),
    ),
    # All that is wanted is rest, by everybody.
    replace(
        WISHES,
        name="no_wish",
        cause="too_few",
        verdicts=SILENT,
        tasks=table(shared(0.0, 1.0), shared(1.0, 1.0)),
        reward=lambda state, action, following, task: -action.square().sum(-1),
    ),
)
