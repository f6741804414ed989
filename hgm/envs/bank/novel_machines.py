"""Positive: robots and craft, in poses, places and levels of their own."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from hgm.envs.bank import blocks
from hgm.envs.bank.base import Shape, Step
from hgm.envs.bank.blocks import distance, each, goal, relative, shared, spread, table, turn, unit
from hgm.envs.bank.fresh_light import between, graded, inherited, still
from hgm.envs.bank.goals import CIRCLE
from hgm.envs.bank.machines import BODY
from hgm.envs.point import bound_disc

ROBOT = replace(BODY, cause="dynamics", num_tasks=5, max_steps=25)


def bell(x: Tensor, place: Tensor, width: float) -> Tensor:
    """Bells ``(...)`` about a place, of points ``(..., n)``; 1 in the middle."""
    return torch.exp(-(x - place).square().sum(-1) / (2 * width**2))


# Place and heading of a robot, in the frames of rigid motions of the floor.
_POSES = torch.zeros(3, 5, 5, dtype=torch.float64)
_POSES[0, 0, 4] = _POSES[1, 1, 4] = 1.0
_POSES[2] = blocks.spin(5, 0, 2)[0]


def forklift(grip: float, aisles: float = 0.0) -> Step:
    """A forklift that skids sideways when it steers, on a floor that holds it more or less.

    Args:
        grip: What is left of a way when the wheels are turned all the way.
        aisles: How much of a way is lost in aisles, whose direction is column 3 of the tasks.
    """

    def step(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
        x, heading = state.chunk(2, -1)
        drive, steer = action.tanh().chunk(2, -1)
        ahead = 0.25 * drive * (1 - (1 - grip) * steer.square())
        if aisles:
            off = (x * unit(task[..., 3:4])).sum(-1, keepdim=True)
            ahead = ahead * (1 - aisles * torch.sigmoid(4 * torch.sin(3 * off)))
        skid = 0.06 * steer * turn(heading, math.pi / 2)
        moved = x + ahead * heading + skid + 0.01 * random[..., :2]
        return torch.cat((moved, turn(heading, 0.5 * steer + 0.02 * random[..., 2:3])), -1)

    return step


def _on_the_floor(shape: Shape, generator: torch.Generator) -> Tensor:
    x, angle = blocks.normal(0.8, 2)(shape, generator), blocks.uniform(math.pi, 1)(shape, generator)
    return torch.cat((x, unit(angle)), -1)


def _stacked(pose: Tensor) -> Tensor:
    """Pallets, each of which is to be reached with a heading of its own."""
    x, (cosine, sine) = pose[..., :2], pose[..., 2:].unbind(-1)
    first = bell(x, x.new_tensor([0.3, -0.2]), 0.7) * (1.5 + cosine)
    return first + 0.6 * bell(x, x.new_tensor([-0.6, 0.7]), 0.5) * (1.2 + sine)


WAREHOUSE = replace(
    ROBOT,
    name="warehouse",
    cause="affine",
    group="affine",
    num_tasks=7,
    tasks=table(each(-0.6, 0.6, 2), spread(-1.4, 1.4), shared(0.0, 2 * math.pi)),
    start=_on_the_floor,
    step=forklift(0.6),
    reward=inherited(_POSES, _stacked, (0, 1, 2)),
    generators=_POSES,
    action_generators=still(3, 2, 2),
    coordinates=between(_POSES),
)
"""A robot that sees its place and heading, and orders anywhere on the floor."""

_ALONG = torch.zeros(2, 5, 5, dtype=torch.float64)
_ALONG[0, 0, 4] = _ALONG[1, 1, 4] = 1.0


def gantry(spring: float, free: float = 0.0) -> Step:
    """A portal over a hall: motors that saturate, dry and viscous friction, springs at the ends.

    Args:
        spring: Stiffness of the springs.
        free: Distance from the middle at which they begin.
    """

    def step(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
        x, v = state.chunk(2, -1)
        pushed = x.sign() * (x.abs() - free).clamp_min(0)
        force = 2 * action.tanh() - 0.4 * v - 0.5 * torch.tanh(4 * v) - spring * pushed
        return torch.cat((x + 0.3 * v, v + 0.3 * force), -1) + 0.02 * random

    return step


def _over(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """Ways along both beams, of which one is slower; and no haste."""
    missed = (following[..., :2] - task[..., :2]).abs()
    haste = following[..., 2:].square().sum(-1)
    return -missed[..., 0] - 0.6 * missed[..., 1] - 0.2 * haste


GANTRY = replace(
    ROBOT,
    name="gantry",
    cause="affine",
    group="affine",
    tasks=table(each(-1.5, 1.5, 2), each(0.5, 2.0), each(-1.0, 1.0)),
    start=blocks.beside(blocks.normal(2.0, 2), blocks.normal(0.8, 2)),
    step=gantry(0.0),
    reward=graded(_over, 2),
    generators=_ALONG,
    action_generators=still(2, 2, 2),
    coordinates=relative(0, 1),
    max_steps=20,
)
"""A portal crane, and places that are wanted."""

# Turns about the vertical, of place and velocity, and levels.
_ALOFT = torch.cat((blocks.spin(7, 0, 3), torch.zeros(1, 7, 7, dtype=torch.float64)))
_ALOFT[1, 2, 6] = 1.0


def airship(thinning: float) -> Step:
    """Place and velocity of an airship with a mast in the middle: drag grows with speed.

    Args:
        thinning: Rate at which air gets thinner with height, for propellers and drag alike.
    """

    def step(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
        x, v = state.chunk(2, -1)
        air = 2 * torch.sigmoid(-thinning * x[..., 2:])
        thrust = torch.cat((bound_disc(action[..., :2], 1.2), action[..., 2:].tanh()), -1)
        mast = torch.cat((0.5 * x[..., :2], torch.zeros_like(x[..., 2:])), -1)
        drag = (0.2 + 0.4 * v.norm(dim=-1, keepdim=True)) * v
        force = air * (thrust - drag) - mast
        return torch.cat((x + 0.25 * v, v + 0.25 * force), -1) + 0.02 * random

    return step


def _moored(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """Over the goal, at a height that is a task's own, for little fuel."""
    over = torch.exp(-distance(following, task).square() / (2 * 0.7**2))
    level = ((following[..., 2] - task[..., 2]) / 0.8).square()
    return over / (1 + level) - 0.1 * level - 0.1 * action.norm(dim=-1)


AIRSHIP = replace(
    ROBOT,
    name="airship",
    cause="affine",
    group="affine",
    num_tasks=6,
    dim_state=6,
    dim_action=3,
    tasks=table(CIRCLE, spread(-0.9, 0.9)),
    start=blocks.normal(0.7, 6),
    behaviour=blocks.normal(1.0, 3),
    step=airship(0.0),
    reward=_moored,
    generators=_ALOFT,
    action_generators=torch.cat((blocks.spin(3, 0), still(1, 3, 3))),
    coordinates=relative(0, 2),
)
"""An airship on a long line, and places and levels to hold."""


def _updraught(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """A drone about a chimney, which it cannot enter: air that turns and rises."""
    x, height = 0.96 * state[..., :2], state[..., 2:]
    away = x.square().sum(-1, keepdim=True)
    moved = turn(x, 0.2 / (0.3 + away)) + 0.2 * bound_disc(action[..., :2], 1.2)
    moved = moved + 0.02 * random[..., :2]
    outside = moved * (0.35 / moved.norm(dim=-1, keepdim=True).clamp(1e-9, 0.35))
    rise = 0.3 * action[..., 2:].tanh() + 0.25 * torch.exp(-2 * away) - 0.06
    return torch.cat((outside, 0.9 * height + rise + 0.02 * random[..., 2:]), -1)


def _outside(shape: Shape, generator: torch.Generator) -> Tensor:
    x, height = blocks.normal(0.7, 2)(shape, generator), blocks.normal(0.6, 1)(shape, generator)
    return torch.cat((x * (0.35 / x.norm(dim=-1, keepdim=True).clamp(1e-9, 0.35)), height), -1)


def _inspected(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """A plateau beside the chimney, at one height."""
    place = torch.cat((goal(task), torch.full_like(task[..., :1], 0.3)), -1)
    return torch.sigmoid((0.7 - (following - place).norm(dim=-1)) / 0.2)


CHIMNEY = replace(
    ROBOT,
    name="chimney",
    cause="axis",
    num_tasks=4,
    dim_state=3,
    dim_action=3,
    start=_outside,
    behaviour=blocks.normal(1.0, 3),
    step=_updraught,
    reward=_inspected,
    generators=blocks.spin(3, 0),
    action_generators=blocks.spin(3, 0),
    reward_noise=0.02,
)
"""A drone that inspects a chimney from a side."""

NOVEL_MACHINES = (WAREHOUSE, GANTRY, AIRSHIP, CHIMNEY)
