"""Positive: rewards see the position, and the dynamics must name the rest of the state."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from hgm.envs.bank import blocks
from hgm.envs.bank.base import Shape
from hgm.envs.bank.blocks import goal, inertia, turn
from hgm.envs.bank.goals import CONE, effort
from hgm.envs.point import bound_disc

SLIDER = replace(
    CONE,
    name="inertia",
    cause="dynamics",
    dim_state=4,
    start=blocks.normal(0.5, 4),
    behaviour=blocks.normal(1.0, 2),
    step=inertia(),
    generators=blocks.spin(4, 0, 2),
    max_steps=60,
)
"""A double integrator without bounds."""


def _gravity(x: Tensor, v: Tensor, action: Tensor, task: Tensor) -> Tensor:
    return action - x / (0.3 + x.square().sum(-1, keepdim=True))


def _coriolis(x: Tensor, v: Tensor, action: Tensor, task: Tensor) -> Tensor:
    return action + 2 * 0.5 * turn(v, -math.pi / 2) + 0.25 * x


def _drag(x: Tensor, v: Tensor, action: Tensor, task: Tensor) -> Tensor:
    return bound_disc(action, 1.5) - v * v.norm(dim=-1, keepdim=True)


def lag(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """Position and what the motors do, which follows the action with a delay."""
    x, motor = state.chunk(2, -1)
    motor = motor + 0.3 * (blocks.disc(action) - motor)
    return torch.cat((x + motor, motor), -1) + 0.01 * random


def _ride(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    x, heading = state.chunk(2, -1)
    moved = x + 0.1 * action[..., :1] * heading + 0.01 * random[..., :2]
    return torch.cat((moved, turn(heading, 0.4 * action[..., 1:])), -1)


def _mounted(shape: Shape, generator: torch.Generator) -> Tensor:
    x = blocks.normal(0.5, 2)(shape, generator)
    return torch.cat((x, blocks.unit(blocks.uniform(math.pi, 1)(shape, generator))), -1)


def _speed(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    return (goal(task) * following[..., 2:]).sum(-1)


INERTIA = (
    SLIDER,
    replace(
        SLIDER,
        name="inertia_long",
        half="reported",
        reward=blocks.plus(blocks.cone, effort(0.5)),
        max_steps=100,
    ),
    replace(
        SLIDER,
        name="damped",
        step=inertia(lambda x, v, action, task: bound_disc(action, 1.5) - v),
    ),
    replace(SLIDER, name="gravity", half="reported", step=inertia(_gravity)),
    replace(SLIDER, name="coriolis", step=inertia(_coriolis), max_steps=30),
    replace(SLIDER, name="drag", half="reported", step=inertia(_drag)),
    replace(
        SLIDER, name="lag", start=blocks.normal(0.3, 4), behaviour=blocks.normal(0.1, 2), step=lag
    ),
    replace(
        SLIDER,
        name="speed",
        cause="reward",
        reward=blocks.plus(_speed, effort(0.1)),
        step=inertia(lambda x, v, action, task: bound_disc(action, 1.5) - v),
    ),
    replace(
        SLIDER,
        name="unicycle",
        half="reported",
        start=_mounted,
        step=_ride,
        action_generators=torch.zeros(1, 2, 2, dtype=torch.float64),
    ),
    blocks.in_chart(
        SLIDER,
        torch.diag(torch.tensor([100.0, 100.0, 0.01, 0.01])),
        name="inertia_units",
        cause="units",
        half="reported",
    ),
)
