"""Positive: craft, cars and robots, wherever they are to go."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from hgm.envs.bank import blocks
from hgm.envs.bank.base import Reward, Shape, Step
from hgm.envs.bank.blocks import distance, each, goal, relative, spread, turn, unit
from hgm.envs.bank.fresh_light import still
from hgm.envs.bank.goals import CIRCLE
from hgm.envs.bank.machines import DOT

CRAFT = replace(DOT, cause="dynamics", num_tasks=5, behaviour=blocks.normal(1.0, 2), max_steps=25)


def of_state(reward: Reward) -> Reward:
    """A reward of the states that transitions start from."""
    return lambda state, action, following, task: reward(state, action, state, task)


def effort(weight: float) -> Reward:
    """A cost of actions, in squares."""
    return lambda state, action, following, task: -weight * action.square().sum(-1)


def shifts(size: int, *coordinates: tuple[int, ...]) -> Tensor:
    """Generators that shift these coordinates of affine maps of so many, each tuple together."""
    generators = torch.zeros(len(coordinates), size + 1, size + 1, dtype=torch.float64)
    for generator, some in zip(generators, coordinates, strict=True):
        generator[list(some), size] = 1.0
    return generators


def bicopter(ground: float) -> Step:
    """Place, velocity, tilt and its rate of two rotors in a vertical plane.

    Args:
        ground: Share of lift that is gained close to the ground.
    """

    def step(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
        x, v, tilt, rate = state[..., :2], state[..., 2:4], state[..., 4:5], state[..., 5:]
        both, differ = action.tanh().split(1, -1)
        lift = (1 + 0.6 * both) * (1 + ground * torch.sigmoid(-3 * (x[..., 1:] + 0.5)))
        force = 2 * torch.cat((-lift * tilt.sin(), lift * tilt.cos() - 0.9), -1)
        after = (
            x + 0.25 * v,
            v + 0.25 * (force - 0.5 * v),
            tilt + 0.25 * rate,
            rate + 0.25 * (2.5 * differ - 1.5 * tilt - rate),
        )
        return torch.cat(after, -1) + 0.01 * random

    return step


def _pad(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """A pad is wanted, slowly."""
    missed = (following[..., :2] - task[..., :2]).square().sum(-1)
    return -torch.log(0.2 + missed) - 0.15 * following[..., 2:4].square().sum(-1)


BICOPTER = replace(
    CRAFT,
    name="bicopter",
    cause="affine",
    group="affine",
    dim_state=6,
    tasks=each(-1.0, 1.0, 2),
    start=blocks.beside(blocks.normal(1.2, 2), blocks.normal(0.5, 4)),
    step=bicopter(0.0),
    reward=_pad,
    generators=shifts(6, (0,), (1,)),
    action_generators=still(2, 2, 2),
    coordinates=relative(0, 1),
    max_steps=12,
)
"""A drone with two rotors, and pads at any place and height."""


def _hovercraft(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """Place, heading and velocity: it is pushed ahead, and drifts sideways."""
    x, heading, v = state.split(2, -1)
    thrust, rudder = action.tanh().split(1, -1)
    fast = v.norm(dim=-1, keepdim=True)
    after = (
        x + 0.25 * v,
        turn(heading, 0.5 * rudder + 0.02 * random[..., 2:3]),
        v + 0.25 * (1.5 * (0.5 + thrust) * heading - (0.2 + 0.4 * fast) * v),
    )
    blur = torch.cat((random[..., :2], torch.zeros_like(heading), random[..., 4:]), -1)
    return torch.cat(after, -1) + 0.01 * blur


def _headed(shape: Shape, generator: torch.Generator) -> Tensor:
    x, v = (blocks.normal(scale, 2)(shape, generator) for scale in (0.8, 0.5))
    return torch.cat((x, unit(blocks.uniform(math.pi, 1)(shape, generator)), v), -1)


def landed(column: int) -> Reward:
    """Near the goal, slow, and headed along the angle in a column."""

    def reward(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
        heading, v = following[..., 2:4], following[..., 4:6]
        facing = (heading * unit(task[..., column : column + 1])).sum(-1)
        return 0.7 * facing - distance(following, task) - 0.15 * v.square().sum(-1)

    return reward


HOVERCRAFT = replace(
    CRAFT,
    name="hovercraft",
    dim_state=6,
    tasks=CIRCLE,
    start=_headed,
    step=_hovercraft,
    reward=landed(0),
    generators=blocks.spin(6, 0, 2, 4),
    action_generators=still(1, 2, 2),
    max_steps=12,
)
"""A hovercraft on a lake, and landings all round it."""


def regatta(column: int) -> Step:
    """Place, heading and speed of a sailing boat; where the wind goes is in a column."""

    def step(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
        x, heading, speed = state[..., :2], state[..., 2:4], state[..., 4:]
        wind = unit(task[..., column : column + 1] + 2.0)
        rudder, sheet = action.tanh().split(1, -1)
        down = (heading * wind).sum(-1, keepdim=True)
        drive = (1 + down) * (1.5 - 0.7 * down) * (0.6 + 0.4 * sheet)
        after = (
            x + 0.3 * speed * heading + 0.06 * wind + 0.01 * random[..., :2],
            turn(heading, 0.6 * rudder * (0.4 + speed) + 0.02 * random[..., 2:3]),
            0.7 * speed + 0.3 * drive + 0.01 * random[..., 4:],
        )
        return torch.cat(after, -1)

    return step


def _afloat(shape: Shape, generator: torch.Generator) -> Tensor:
    state, speed = _headed(shape, generator)[..., :4], blocks.uniform(0.4, 1)(shape, generator)
    return torch.cat((state, 0.6 + speed), -1)


def _mark(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    return -torch.log(0.3 + (following[..., :2] - goal(task)).square().sum(-1))


REGATTA = replace(
    CRAFT,
    name="regatta",
    cause="heredity",
    dim_state=5,
    tasks=CIRCLE,
    start=_afloat,
    step=regatta(0),
    reward=_mark,
    generators=blocks.spin(5, 0, 2),
    action_generators=still(1, 2, 2),
    max_steps=10,
)
"""Races whose marks lie to the same side of the wind, whatever wind there is."""


def _platoon(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """Two cars, of which the second one keeps a gap by itself, and is helped."""
    x, v = state.chunk(2, -1)
    gap = x[..., :1] - x[..., 1:]
    force = 1.2 * action.tanh() - 0.4 * v
    keep = torch.cat((torch.zeros_like(gap), torch.tanh(gap - 1)), -1)
    return torch.cat((x + 0.3 * v, v + 0.3 * (force + keep)), -1) + 0.02 * random


def _underway(shape: Shape, generator: torch.Generator) -> Tensor:
    ahead, gap = (blocks.normal(scale, 1)(shape, generator) for scale in (1.5, 0.8))
    return torch.cat((ahead, ahead - 1 - gap, blocks.normal(0.5, 2)(shape, generator)), -1)


def stopped(column: int | None) -> Reward:
    """The first car is wanted at a line, the second one at a gap behind it, and both slow.

    Args:
        column: Where the gap is, 1 if None.
    """

    def reward(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
        ahead, behind = following[..., 0], following[..., 1]
        gap = 1.0 if column is None else task[..., column]
        missed = (ahead - behind - gap).square()
        haste = following[..., 2:].square().sum(-1)
        return -(ahead - task[..., 0]).abs() - 0.4 * missed - 0.1 * haste

    return reward


PLATOON = replace(
    CRAFT,
    name="platoon",
    cause="affine",
    group="affine",
    num_tasks=4,
    dim_state=4,
    tasks=spread(-1.5, 1.5),
    start=_underway,
    step=_platoon,
    reward=blocks.plus(of_state(stopped(None)), effort(0.1)),
    generators=shifts(4, (0, 1)),
    action_generators=still(1, 2, 2),
)
"""Two cars, and lines at which to stop, on a long road."""


LATER_VEHICLES = (BICOPTER, HOVERCRAFT, REGATTA, PLATOON)
