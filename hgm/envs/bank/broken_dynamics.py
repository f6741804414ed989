"""Negative: rewards turn with their goals, and dynamics or actions do not.

The group that a specimen states is the one that its rewards have.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from hgm.envs.bank import blocks
from hgm.envs.bank.base import NEVER_FOUND
from hgm.envs.bank.blocks import each, goal, inertia, shared, stretch, table, turn, unit, walk
from hgm.envs.bank.broken_rewards import ANY_ANGLE, NEGATIVE
from hgm.envs.bank.goals import CIRCLE
from hgm.envs.bank.inertia import SLIDER
from hgm.envs.bank.spaces import DUET
from hgm.envs.point import bound_box, bound_disc

HEAVY = replace(SLIDER, verdicts=NEVER_FOUND)


def wind(state: Tensor, action: Tensor, task: Tensor) -> Tensor:
    """Actions, and a wind of the strength of column 2 along the angle of column 3."""
    return blocks.disc(action) + task[..., 2:3] * unit(task[..., 3:4])


def _wall(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """Where the first coordinate would pass 0.4, it is thrown back."""
    moved = state + blocks.disc(action) + 0.05 * random
    x = moved[..., :1]
    return torch.cat((0.4 - (x - 0.4).abs(), moved[..., 1:]), -1)


def _currents(state: Tensor, action: Tensor, task: Tensor) -> Tensor:
    phase = task[..., 2:4]
    return blocks.disc(action) + 0.06 * torch.sin(2 * state.flip(-1) + phase)


def _mud(state: Tensor, action: Tensor, task: Tensor) -> Tensor:
    along = (state * unit(task[..., 2:3])).sum(-1, keepdim=True)
    return blocks.disc(action) * (1 - 0.6 * torch.sigmoid(5 * along))


def box(state: Tensor, action: Tensor, task: Tensor) -> Tensor:
    """Actions that are cut off component by component."""
    return bound_box(action, blocks.MAX_ACTION)


def _weak_motor(state: Tensor, action: Tensor, task: Tensor) -> Tensor:
    return stretch(blocks.disc(action), task[..., 2:3], 0.5)


def _pull(x: Tensor, v: Tensor, action: Tensor, task: Tensor) -> Tensor:
    return bound_disc(action, 1.5) - v + task[..., 2:3] * unit(task[..., 3:4])


def _rail(x: Tensor, v: Tensor, action: Tensor, task: Tensor) -> Tensor:
    return bound_disc(action, 1.5) - 0.2 * stretch(v, task[..., 2:3], 10.0)


def _slow_motor(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    x, motor = state.chunk(2, -1)
    motor = motor + motor.new_tensor([0.6, 0.15]) * (blocks.disc(action) - motor)
    return torch.cat((x + motor, motor), -1) + 0.01 * random


def _leash(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    (one, two), (first, second) = state.chunk(2, -1), action.chunk(2, -1)
    pulled = two + blocks.disc(second) + 0.3 * (one - two)
    return torch.cat((one + blocks.disc(first), pulled), -1) + 0.05 * random


def _one_of_two(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    one, two = following.chunk(2, -1)
    fixed = two.new_tensor([0.0, 1.0])
    return -(one - goal(task)).norm(dim=-1) - 0.5 * (two - fixed).norm(dim=-1)


WINDY = table(CIRCLE, shared(0.02, 0.05), ANY_ANGLE)

BROKEN_DYNAMICS = (
    # Dynamics that the rotation does not leave as they are.
    replace(NEGATIVE, name="wind", cause="dynamics", tasks=WINDY, step=walk(motion=wind)),
    replace(
        NEGATIVE,
        name="wind_wide",
        cause="dynamics",
        half="reported",
        tasks=WINDY,
        start=blocks.normal(0.7, 2),
        step=walk(motion=wind),
        max_steps=25,
    ),
    replace(NEGATIVE, name="wall", cause="dynamics", half="reported", step=_wall),
    replace(
        NEGATIVE,
        name="currents",
        cause="dynamics",
        tasks=table(CIRCLE, shared(-3.0, 3.0, 2)),
        step=walk(motion=_currents),
    ),
    replace(
        NEGATIVE,
        name="mud",
        cause="dynamics",
        half="reported",
        tasks=table(CIRCLE, ANY_ANGLE),
        step=walk(motion=_mud),
    ),
    replace(
        NEGATIVE,
        name="drain",
        cause="dynamics",
        tasks=table(CIRCLE, shared(-3.0, 3.0)),
        step=walk(
            motion=lambda state, action, task: (
                blocks.disc(action) + 0.06 * (unit(task[..., 2:3]) - state)
            )
        ),
    ),
    replace(
        NEGATIVE,
        name="friction_on_one_axis",
        cause="dynamics",
        half="reported",
        tasks=table(CIRCLE, ANY_ANGLE),
        step=walk(
            motion=lambda state, action, task: (
                blocks.disc(action) - 0.15 * stretch(state, task[..., 2:3], 0.0)
            )
        ),
    ),
    replace(
        HEAVY,
        name="falling",
        cause="dynamics",
        tasks=table(CIRCLE, shared(0.4, 0.8), ANY_ANGLE),
        step=inertia(_pull),
    ),
    replace(
        HEAVY,
        name="rail",
        cause="dynamics",
        half="reported",
        tasks=table(CIRCLE, ANY_ANGLE),
        step=inertia(_rail),
    ),
    replace(
        HEAVY,
        name="slow_motor",
        cause="dynamics",
        start=blocks.normal(0.3, 4),
        behaviour=blocks.normal(0.1, 2),
        step=_slow_motor,
    ),
    replace(
        DUET,
        name="leash",
        cause="dynamics",
        verdicts=NEVER_FOUND,
        half="reported",
        step=_leash,
        reward=_one_of_two,
        generators=blocks.spin(4, 0),
        action_generators=blocks.spin(4, 0),
    ),
    # Sets of actions that the rotation does not leave as they are.
    replace(
        NEGATIVE,
        name="box",
        cause="action_set",
        behaviour=blocks.uniform(0.2, 2),
        step=walk(motion=box),
    ),
    replace(
        NEGATIVE,
        name="box_within",
        cause="action_set",
        half="reported",
        behaviour=blocks.uniform(0.1, 2),
        step=walk(motion=box),
    ),
    replace(
        HEAVY,
        name="box_with_inertia",
        cause="action_set",
        half="reported",
        behaviour=blocks.uniform(1.0, 2),
        step=inertia(lambda x, v, action, task: bound_box(action, 0.5) - v),
    ),
    replace(
        NEGATIVE,
        name="weak_motor",
        cause="action_set",
        tasks=table(CIRCLE, ANY_ANGLE),
        step=walk(motion=_weak_motor),
    ),
    # Dynamics that differ between tasks, and are not inherited.
    replace(
        NEGATIVE,
        name="motors",
        cause="actuators",
        tasks=table(CIRCLE, each(-1.0, 1.0)),
        step=walk(motion=lambda state, action, task: turn(blocks.disc(action), task[..., 2:3])),
    ),
    replace(
        NEGATIVE,
        name="gains",
        cause="actuators",
        half="reported",
        tasks=table(CIRCLE, each(0.4, 1.6)),
        step=walk(motion=lambda state, action, task: blocks.disc(action) * task[..., 2:3]),
    ),
    replace(
        NEGATIVE,
        name="winds",
        cause="actuators",
        tasks=table(CIRCLE, each(0.03, 0.06), each(0.0, 2 * math.pi)),
        step=walk(motion=wind),
    ),
    replace(
        HEAVY,
        name="motors_with_inertia",
        cause="actuators",
        half="reported",
        tasks=table(CIRCLE, each(-1.0, 1.0)),
        step=inertia(lambda x, v, action, task: turn(action, task[..., 2:3])),
    ),
)
