"""Negative: more dynamics that break the group that the rewards have.

Rewards fix the elements on positions, up to reflections in a goal: most are functions of a
distance, and only rotations, of that angle, carry one into another. Each comment says why no choice
of the rest, linear on states and actions, lets the dynamics follow.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from hgm.envs.bank import blocks
from hgm.envs.bank.base import NEVER_FOUND
from hgm.envs.bank.blocks import angles, inertia, shared, spread, stretch, table, turn, unit, walk
from hgm.envs.bank.broken_rewards import ANY_ANGLE
from hgm.envs.bank.goals import CIRCLE
from hgm.envs.bank.more_plane import HEAVY, POINT, length
from hgm.envs.bank.more_spaces import CART, DRONE, SQUEEZE
from hgm.envs.point import bound_disc

UNEVEN = replace(
    POINT, cause="dynamics", verdicts=NEVER_FOUND, num_tasks=5, tasks=table(CIRCLE, ANY_ANGLE)
)
UNEVEN_HEAVY = replace(
    HEAVY, cause="dynamics", verdicts=NEVER_FOUND, num_tasks=5, tasks=table(CIRCLE, ANY_ANGLE)
)


def _pillar(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """A round pillar beside the start, out of which steps are pushed."""
    moved = state + blocks.disc(action) + 0.05 * random
    off = moved - 0.5 * unit(task[..., 2:3])
    return moved + off * ((0.35 - length(off)).clamp_min(0) / length(off).clamp_min(1e-6))


def _room(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """A square room, along whose walls one slides."""
    return (state + blocks.disc(action) + 0.05 * random).clamp(-0.6, 0.6)


def _whirlpool(state: Tensor, action: Tensor, task: Tensor) -> Tensor:
    off = state - 0.5 * unit(task[..., 2:3])
    return blocks.disc(action) + 0.15 * turn(off, math.pi / 2) / (1 + 4 * length(off).square())


def _dead_zone(state: Tensor, action: Tensor, task: Tensor) -> Tensor:
    """Motors that do not stir below a threshold, each for itself."""
    return torch.nn.functional.softshrink(action, 0.1)


def _honeycomb(state: Tensor, action: Tensor, task: Tensor) -> Tensor:
    angle = torch.atan2(state[..., 1:], state[..., :1])
    return blocks.disc(action) - 0.15 * state * (1 + torch.cos(6 * angle))


def _sixths(num: int, generator: torch.Generator) -> Tensor:
    """Angles that are a common one plus multiples of sixty degrees."""
    rest = table(shared(-3.0, 3.0), shared(0.8, 1.2))(num, generator)
    sixth = torch.arange(num, dtype=rest.dtype)[:, None] * torch.pi / 3
    return torch.cat((rest[:, :1] + sixth, rest[:, 1:]), -1)


def _ice(x: Tensor, v: Tensor, action: Tensor, task: Tensor) -> Tensor:
    along = (x * unit(task[..., 2:3])).sum(-1, keepdim=True)
    return bound_disc(action, 1.5) - v * (0.2 + 3 * torch.sigmoid(8 * along))


def _egg_cup(x: Tensor, v: Tensor, action: Tensor, task: Tensor) -> Tensor:
    return bound_disc(action, 1.5) - stretch(x, task[..., 2:3], 2.5) - 0.3 * v


def _hilly(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    x, v = state.chunk(2, -1)
    faster = 0.9 * v + 0.4 * action.tanh() - 0.3 * torch.sin(3 * x)
    return torch.cat((x + 0.1 * v, faster), -1) + 0.01 * random


def _stratified(x: Tensor, v: Tensor, action: Tensor, task: Tensor) -> Tensor:
    return bound_disc(action, 1.5) - v * v.new_tensor([0.5, 0.5, 4.0])


def _turning(state: Tensor, action: Tensor, task: Tensor) -> Tensor:
    return 0.95 * turn(state, 0.3) - state + 0.2 * action


def _own_lag(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    x, motor = state.chunk(2, -1)
    motor = motor + task[..., 2:3] * (blocks.disc(action) - motor)
    return torch.cat((x + motor, motor), -1) + 0.01 * random


def _own_swirl(state: Tensor, action: Tensor, task: Tensor) -> Tensor:
    return blocks.disc(action) + turn(state, task[..., 2:3]) - state


MORE_DYNAMICS = (
    # Fields of forces, or obstacles, that have a place: no rotation about the origin keeps it.
    replace(UNEVEN, name="pillar", step=_pillar),
    replace(UNEVEN, name="whirlpool", step=walk(motion=_whirlpool)),
    # The corners of a square, and thresholds of two motors, are kept by quarter turns only.
    replace(UNEVEN, name="room", tasks=table(angles, shared(0.35, 0.45)), step=_room),
    replace(
        UNEVEN, name="dead_zone", behaviour=blocks.normal(0.2, 2), step=walk(motion=_dead_zone)
    ),
    # What is here now is kept by the tasks' own turns, and by nothing between them.
    replace(
        UNEVEN,
        name="honeycomb",
        cause="finite_order",
        tasks=_sixths,
        step=walk(motion=_honeycomb),
    ),
    # As x' = x + v / 10, velocities turn as positions do; then friction, or springs, would have to.
    replace(UNEVEN_HEAVY, name="ice", step=inertia(_ice)),
    replace(UNEVEN_HEAVY, name="egg_cup", step=inertia(_egg_cup)),
    # Goals lie all over a sphere, and only turns about the vertical keep the drag.
    replace(
        DRONE, name="stratified", cause="dynamics", verdicts=NEVER_FOUND, step=inertia(_stratified)
    ),
    # Of x -> c x + b, hills are kept by shifts of whole hills only.
    replace(CART, name="hills", cause="dynamics", verdicts=NEVER_FOUND, step=_hilly),
    # One coordinate's scale does not commute with a rotation.
    replace(
        SQUEEZE,
        name="squeezed_turns",
        cause="dynamics",
        verdicts=NEVER_FOUND,
        num_tasks=5,
        step=walk(0.0, _turning),
    ),
    # Linear parts of the dynamics that have other eigenvalues in every task: none is conjugate.
    replace(
        UNEVEN_HEAVY,
        name="own_lag",
        cause="actuators",
        tasks=table(CIRCLE, spread(0.1, 0.9)),
        start=blocks.normal(0.3, 4),
        behaviour=blocks.normal(0.1, 2),
        step=_own_lag,
    ),
    replace(
        UNEVEN,
        name="own_swirl",
        cause="actuators",
        tasks=table(CIRCLE, spread(0.0, 0.35)),
        step=walk(motion=_own_swirl),
        max_steps=50,
    ),
)
