"""Positive: what a workshop or a game has, turned in the plane or in space."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from hgm import lie
from hgm.envs.bank import blocks
from hgm.envs.bank.base import Shape
from hgm.envs.bank.blocks import each, goal, inertia, of_distance, table, turn, unit, walk
from hgm.envs.bank.goals import CIRCLE, CONE
from hgm.envs.bank.inertia import SLIDER
from hgm.envs.bank.more_plane import length
from hgm.envs.bank.more_spaces import well
from hgm.envs.bank.spaces import ROTATIONS, directions, shortest_turn
from hgm.envs.point import bound_disc

DOT = replace(CONE, half="reported")
BODY = replace(SLIDER, half="reported")
TURNED_TWICE = torch.stack([torch.block_diag(one, one) for one in ROTATIONS])


def _arm(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """Elbow and tip of an arm of two links, whose joints turn by what is asked."""
    elbow, tip = state.chunk(2, -1)
    first, second = (0.3 * action.tanh() + 0.05 * random[..., :2]).chunk(2, -1)
    upper = turn(elbow, first)
    return torch.cat((upper, upper + turn(tip - elbow, first + second)), -1)


def _folded(shape: Shape, generator: torch.Generator) -> Tensor:
    upper, fore = (unit(blocks.uniform(math.pi, 1)(shape, generator)) for _ in range(2))
    return torch.cat((0.8 * upper, 0.8 * upper + 0.6 * fore), -1)


def _reach(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    return -torch.log(0.05 + (following[..., 2:] - goal(task)).square().sum(-1))


def _two_wheels(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """Position, heading, and the speeds of a left and of a right wheel."""
    x, heading, wheels = state.chunk(3, -1)
    left, right = wheels.chunk(2, -1)
    moved = x + 0.1 * (left + right) * heading + 0.01 * random[..., :2]
    headed = turn(heading, 0.3 * (right - left))
    return torch.cat((moved, headed, 0.8 * wheels + 0.4 * action.tanh()), -1)


def _rolling(shape: Shape, generator: torch.Generator) -> Tensor:
    x, wheels = (blocks.normal(0.6, 2)(shape, generator) for _ in range(2))
    return torch.cat((x, unit(blocks.uniform(math.pi, 1)(shape, generator)), wheels), -1)


def _bay(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """Near the goal, and headed outwards."""
    facing = (following[..., 2:4] * unit(task[..., :1])).sum(-1)
    return 0.5 * facing - blocks.distance(following, task)


def _plate(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """Position and velocity of a ball on a plate, and the plate's tilt, which lags."""
    x, v, tilt = state.chunk(3, -1)
    tilted = 0.7 * tilt + 0.3 * bound_disc(action, 1.0)
    return torch.cat((x + 0.1 * v, 0.95 * v + 0.3 * tilt, tilted), -1) + 0.01 * random


def _level(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    tilt = following[..., 4:].square().sum(-1)
    return -blocks.distance(following, task).square() - 0.5 * tilt


# Cross products with the three axes.
_CROSS = torch.zeros(3, 3, 3, dtype=torch.float64)
for _i, _j, _k in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
    _CROSS[_i, _k, _j], _CROSS[_i, _j, _k] = 1.0, -1.0


def _top(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """A direction that turns by an angular velocity, which torques within a ball change."""
    pointer, velocity = state.chunk(2, -1)
    turned = lie.exp(lie.hat(0.3 * velocity, _CROSS)) @ pointer[..., None]
    faster = 0.9 * velocity + 0.4 * bound_disc(action, 1.0) + 0.02 * random[..., 3:]
    return torch.cat((turned[..., 0], faster), -1)


def _pointing(shape: Shape, generator: torch.Generator) -> Tensor:
    pointer, velocity = (blocks.normal(1.0, 3)(shape, generator) for _ in range(2))
    return torch.cat((pointer / length(pointer), 0.5 * velocity), -1)


def _aim(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    return torch.exp(2 * ((following[..., :3] * task).sum(-1) - 1))


def tracker(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """Squares of errors along and across, of velocities and actions, on every task's own scale."""
    along, across = turn(following[..., :2] - goal(task), -task[..., :1]).square().unbind(-1)
    costs = 0.1 * following[..., 2:].square().sum(-1) + 0.05 * action.square().sum(-1)
    return task[..., 3] - task[..., 2] * (along + 4 * across + costs)


TRACKED = replace(
    BODY,
    name="tracker",
    cause="calibration",
    num_tasks=5,
    tasks=table(CIRCLE, each(0.5, 3.0), each(-2.0, 2.0)),
    step=inertia(lambda x, v, action, task: action - 0.5 * v, noise=0.03),
    reward=tracker,
    max_steps=40,
)
"""A quadratic regulator, not as steep along the way as across."""


def crane(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """Trolley, swing of its load, and the swing's rate."""
    trolley, swing, rate = state.chunk(3, -1)
    push = blocks.disc(action)
    swung = 0.9 * rate - 0.3 * swing - 2 * push
    return torch.cat((trolley + push, swing + 0.3 * rate, swung), -1) + 0.01 * random


def load(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """A wide well about the goal, for the load."""
    missed = following[..., :2] + following[..., 2:4] - goal(task)
    return torch.exp(-missed.square().sum(-1) / (2 * 0.6**2))


CRANE = replace(
    BODY,
    name="crane",
    cause="product",
    dim_state=6,
    start=blocks.normal(0.5, 6),
    behaviour=blocks.normal(0.1, 2),
    step=crane,
    reward=load,
    generators=blocks.spin(6, 0, 2, 4),
    reward_noise=0.01,
    max_steps=40,
)
"""A load that swings below a trolley, small angles."""


def _jerky(shape: Shape, generator: torch.Generator) -> Tensor:
    """Components that are log-normal, up to a shift."""
    return 0.1 * (torch.exp(blocks.normal(0.6, 2)(shape, generator)) - 1)


_SEA = torch.tensor([0.0, 0.0, 1013.0], dtype=torch.float64)


def _barometer(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """A point, and a pressure that grows with its distance from the origin."""
    x, pressure = state[..., :2], state[..., 2:] - _SEA[2:]
    moved = 0.9 * x + blocks.disc(action) + 0.05 * random[..., :2]
    after = 0.6 * pressure + 4 * x.square().sum(-1, keepdim=True) + 2 * random[..., 2:]
    return torch.cat((moved, after), -1) + _SEA


def _at_sea(shape: Shape, generator: torch.Generator) -> Tensor:
    scale = torch.tensor([0.5, 0.5, 5.0], dtype=torch.float64)
    return _SEA + scale * blocks.normal(1.0, 3)(shape, generator)


def _pressed(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    return -blocks.distance(following, task) - 0.05 * (following[..., 2] - _SEA[2])


def _cubic(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    along, across = turn(following, -task[..., :1]).unbind(-1)
    return along - along**3 / 3 - across.square()


def _roundabout(state: Tensor, action: Tensor, task: Tensor) -> Tensor:
    """Ice in the middle, on which steps are twice as long, and a ring that turns."""
    far = length(state)
    slip = 1 + torch.sigmoid((0.4 - far) / 0.05)
    ring = torch.exp(-(far - 0.9).square() / (2 * 0.15**2))
    return blocks.disc(action) * slip + turn(state, 0.2 * ring) - state


def _portals(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """Who leaves a disc comes in again, opposite and further within."""
    moved = state + blocks.disc(action) + 0.05 * random
    return torch.where(length(moved) > 1.2, -0.4 * moved, moved)


def _attitudes(tasks: Tensor) -> Tensor:
    rotations = lie.exp(lie.hat(tasks, ROTATIONS))
    return lie.vee(lie.log(rotations @ rotations[:1].mT), ROTATIONS)


def _in_attitude(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """An oblong well of the base attitude, turned by the rotation vector that a task is."""
    back = lie.exp(-lie.hat(task, ROTATIONS)) @ following[..., None]
    return well([0.8, 0.2, -0.3], [1.0, 2.0, 3.0])(back[..., 0])


MACHINES = (
    replace(
        BODY,
        name="arm",
        start=_folded,
        step=_arm,
        reward=_reach,
        action_generators=torch.zeros(1, 2, 2, dtype=torch.float64),
        max_steps=30,
    ),
    replace(
        BODY,
        name="two_wheels",
        dim_state=6,
        num_tasks=5,
        start=_rolling,
        step=_two_wheels,
        reward=_bay,
        generators=blocks.spin(6, 0, 2),
        action_generators=torch.zeros(1, 2, 2, dtype=torch.float64),
        max_steps=40,
    ),
    replace(
        BODY,
        name="plate",
        dim_state=6,
        start=blocks.normal(0.5, 6),
        step=_plate,
        reward=_level,
        generators=blocks.spin(6, 0, 2, 4),
        max_steps=40,
    ),
    replace(
        BODY,
        name="spinning_top",
        cause="sphere",
        num_tasks=8,
        dim_state=6,
        dim_action=3,
        tasks=directions,
        start=_pointing,
        behaviour=blocks.normal(1.0, 3),
        step=_top,
        reward=_aim,
        generators=TURNED_TWICE,
        action_generators=ROTATIONS,
        coordinates=shortest_turn,
        goals=lambda tasks: torch.cat((tasks, torch.zeros_like(tasks)), -1),
        max_steps=40,
    ),
    TRACKED,
    CRANE,
    replace(
        DOT,
        name="commuter",
        cause="coverage",
        start=blocks.normal(0.6, 2),
        behaviour=_jerky,
        step=walk(motion=lambda state, action, task: blocks.disc(action) - 0.2 * state),
        reward=of_distance(lambda far: torch.exp(-far.square() / (2 * 0.35**2))),
        reward_noise=0.005,
        max_steps=4,
    ),
    replace(
        DOT,
        name="barometer",
        cause="units",
        dim_state=3,
        start=_at_sea,
        step=_barometer,
        reward=_pressed,
        generators=blocks.spin(3, 0),
        max_steps=50,
    ),
    replace(
        DOT,
        name="cubic",
        num_tasks=3,
        start=blocks.normal(0.8, 2),
        step=walk(motion=lambda state, action, task: action / (1 + 5 * length(action))),
        reward=_cubic,
        max_steps=20,
    ),
    replace(
        DOT,
        name="roundabout",
        cause="dynamics",
        start=blocks.normal(0.6, 2),
        step=walk(0.03, _roundabout),
        reward=of_distance(lambda far: torch.exp(-far.square() / (2 * 0.25**2)) - 0.3 * far),
        max_steps=30,
    ),
    replace(
        DOT,
        name="portals",
        cause="dynamics",
        num_tasks=6,
        start=blocks.normal(0.5, 2),
        step=_portals,
        reward=of_distance(lambda far: -torch.tanh(far)),
        max_steps=50,
    ),
    replace(
        DOT,
        name="attitude",
        cause="sphere",
        num_tasks=8,
        dim_state=3,
        dim_action=3,
        tasks=each(-0.7, 0.7, 3),
        start=blocks.normal(0.6, 3),
        behaviour=blocks.normal(0.1, 3),
        step=walk(motion=lambda state, action, task: blocks.disc(action) - 0.1 * state),
        reward=_in_attitude,
        generators=ROTATIONS,
        action_generators=ROTATIONS,
        coordinates=_attitudes,
        max_steps=30,
    ),
)
