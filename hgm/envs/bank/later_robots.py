"""Positive: arms, swimmers and cameras, and poses that are wanted of them."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from hgm.envs.bank import blocks
from hgm.envs.bank.base import Shape, Step
from hgm.envs.bank.blocks import angles, each, relative, spread, table, turn, unit
from hgm.envs.bank.fresh_light import CROSS, between, hills, inherited, still, tensor
from hgm.envs.bank.later_vehicles import CRAFT, effort, shifts
from hgm.envs.point import bound_disc


def furuta(column: int | None) -> Step:
    """An arm that turns about the vertical, its rate, and the tilt and rate of what it carries.

    Args:
        column: Where the stiffness of the pendulum is, 1 if None.
    """

    def step(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
        arm, (rate, tilt, swing) = state[..., :2], state[..., 2:].split(1, -1)
        stiff = 1.0 if column is None else task[..., column : column + 1]
        pull = 1.5 * action.tanh() - 0.5 * rate
        after = (
            turn(arm, 0.3 * rate + 0.01 * random[..., :1]),
            rate + 0.3 * (pull + 0.5 * tilt.sin()) + 0.02 * random[..., 2:3],
            tilt + 0.3 * swing + 0.02 * random[..., 3:4],
            swing
            + 0.3 * (-1.5 * stiff * tilt.sin() - 0.5 * swing - pull * tilt.cos())
            + 0.02 * random[..., 4:],
        )
        return torch.cat(after, -1)

    return step


def _turned(shape: Shape, generator: torch.Generator) -> Tensor:
    rest = blocks.normal(0.5, 3)(shape, generator)
    return torch.cat((unit(blocks.uniform(math.pi, 1)(shape, generator)), rest), -1)


def _hanging(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """The arm is wanted at an angle, and its pendulum still."""
    facing = (following[..., :2] * unit(task[..., :1])).sum(-1)
    return facing - 0.3 * following[..., 3].square() - 0.1 * following[..., 2].square()


FURUTA = replace(
    CRAFT,
    name="furuta",
    dim_state=5,
    dim_action=1,
    num_tasks=4,
    tasks=angles,
    start=_turned,
    behaviour=blocks.normal(1.0, 1),
    step=furuta(None),
    reward=blocks.plus(_hanging, effort(0.1)),
    generators=blocks.spin(5, 0),
    action_generators=still(1, 1, 1),
)
"""A rotary pendulum, which hangs, and angles of its arm."""

_DEGREES = tensor([1.0, 1.0, 1.0, 180 / math.pi, 180 / math.pi]).diag()


def microrobot(shear: float) -> Step:
    """Place and magnetic moment of a swimmer: a field turns the moment, along which it swims.

    Args:
        shear: Rate of a flow along the first axis, faster further up.
    """

    def step(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
        x, moment = state.chunk(2, -1)
        pace = 0.2 + moment.square().sum(-1, keepdim=True)
        flow = torch.nn.functional.pad(shear * x[..., 2:], (0, 2))
        moved = 0.97 * x + 0.4 * pace / (1 + pace) * moment + flow
        turned = 0.75 * moment + 0.4 * bound_disc(action, 1.5)
        return torch.cat((moved, turned), -1) + 0.02 * random

    return step


_TWICE = torch.stack([torch.block_diag(one, one) for one in CROSS])

MICROROBOT = replace(
    CRAFT,
    name="microrobot",
    cause="sphere",
    num_tasks=6,
    dim_state=6,
    dim_action=3,
    tasks=each(-0.75, 0.75, 3),
    start=blocks.normal(0.6, 6),
    behaviour=blocks.normal(1.0, 3),
    step=microrobot(0.0),
    reward=inherited(
        CROSS,
        hills([0.8, 0.2, -0.2], [-0.4, 0.7, 0.4], [0.2, -0.6, 0.6], [-0.4, -0.3, -0.7], width=0.6),
        (0, 1, 2),
        sees=3,
    ),
    generators=_TWICE,
    action_generators=CROSS,
    coordinates=between(CROSS),
)
"""A magnetic swimmer, in frames of its own."""


def _dolly(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """Place and speed along rails; where a camera looks, and how fast it turns."""
    x, v, look, rate = state[..., :1], state[..., 1:2], state[..., 2:4], state[..., 4:]
    push, pan = action.tanh().split(1, -1)
    force = 1.5 * push - 0.3 * v - 0.4 * torch.tanh(4 * v)
    after = (
        x + 0.3 * v + 0.01 * random[..., :1],
        v + 0.3 * force + 0.02 * random[..., 1:2],
        turn(look, 0.3 * rate + 0.01 * random[..., 2:3]),
        0.8 * rate + 0.6 * pan + 0.15 * force + 0.02 * random[..., 4:],
    )
    return torch.cat(after, -1)


def _framed(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """A place on the rails, and a direction to look there."""
    missed = (following[..., 0] - task[..., 0]).square()
    facing = (following[..., 2:4] * unit(task[..., 1:2])).sum(-1)
    return torch.exp(-missed / 2) * (1.3 + facing)


def _on_rails(shape: Shape, generator: torch.Generator) -> Tensor:
    x, v, rate = (blocks.normal(scale, 1)(shape, generator) for scale in (1.2, 0.5, 0.5))
    return torch.cat((x, v, unit(blocks.uniform(math.pi, 1)(shape, generator)), rate), -1)


LATER_ROBOTS = (
    blocks.in_chart(FURUTA, _DEGREES, cause="units"),
    MICROROBOT,
    replace(
        CRAFT,
        name="camera_dolly",
        cause="product",
        group="affine",
        num_tasks=6,
        dim_state=5,
        tasks=table(spread(-1.0, 1.0), angles),
        start=_on_rails,
        step=_dolly,
        reward=_framed,
        generators=torch.cat((shifts(5, (0,)), blocks.spin(6, 2))),
        action_generators=still(2, 2, 2),
        coordinates=relative(0, 1),
    ),
)
