"""Positive: a spacecraft, an arm, and a drill for seeds, at places and rates of their own."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from hgm.envs.bank import blocks
from hgm.envs.bank.base import Shape, Step
from hgm.envs.bank.blocks import relative, spread, table
from hgm.envs.bank.fresh_light import still, tensor
from hgm.envs.bank.later_process import sizes
from hgm.envs.bank.later_vehicles import CRAFT, effort, shifts


def rendezvous(tether: float) -> Step:
    """Height and place along a low orbit, their rates, and the mass of a craft that burns fuel.

    Args:
        tether: Stiffness of a line to a station at place 0, which is slack up to 0.5 of it.
    """

    def step(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
        x, v, mass = state.split((2, 2, 1), -1)
        up, along = v.split(1, -1)
        thrust = 0.8 * action.tanh()
        pulled = tether * x[..., 1:].sign() * (x[..., 1:].abs() - 0.5).clamp_min(0)
        tide = torch.cat((0.19 * x[..., :1] + 0.5 * along, -0.5 * up - pulled), -1)
        drag = 0.9 * v.norm(dim=-1, keepdim=True) * v
        burned = 0.06 * thrust.abs().sum(-1, keepdim=True)
        after = (x + 0.5 * v, v + 0.5 * (thrust / mass + tide - drag))
        blurred = torch.cat(after, -1) + 0.01 * random[..., :4]
        return torch.cat((blurred, mass * torch.exp(0.01 * random[..., 4:] - burned)), -1)

    return step


def _in_orbit(shape: Shape, generator: torch.Generator) -> Tensor:
    scales = (0.4, 1.4, 0.25, 0.25, 0.25)
    x = torch.cat([blocks.normal(one, 1)(shape, generator) for one in scales], -1)
    return torch.cat((x[..., :4], x[..., 4:].exp()), -1)


def _beside(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """A place on the orbit is wanted, in a cone from behind, and slowly."""
    x = following[..., :2]
    along = x[..., 1] - task[..., 0]
    missed = x[..., 0].square() + along.square()
    haste = following[..., 2:4].square().sum(-1)
    return -torch.log(0.2 + missed) - 0.4 * torch.sigmoid(4 * along) - 0.2 * haste


RENDEZVOUS = replace(
    CRAFT,
    name="rendezvous",
    cause="affine",
    group="affine",
    num_tasks=4,
    dim_state=5,
    tasks=spread(-1.3, 1.3),
    start=_in_orbit,
    step=rendezvous(0.0),
    reward=blocks.plus(_beside, effort(0.03)),
    generators=shifts(5, (1,)),
    action_generators=still(1, 2, 2),
    max_steps=6,
)
"""Berths that go round one orbit, seen by what keeps pace with it."""

_DEGREE = math.pi / 180
_TORQUES = (1.5, 0.8)


def scara(tilt: float) -> Step:
    """Angles of shoulder and elbow in degrees, and rates: inertia depends on the elbow.

    Args:
        tilt: Weight that a base which is not level leaves to the shoulder.
    """

    def step(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
        shoulder, elbow, first, second = (_DEGREE * state).unbind(-1)
        one, two = (tensor([*_TORQUES]) * action.tanh()).unbind(-1)
        bent, pull = 0.4 * elbow.cos(), 0.4 * elbow.sin()
        one = one - 0.8 * first + pull * second * (2 * first + second) - tilt * shoulder.sin()
        two = two - 0.5 * second - pull * first.square() - 0.7 * (elbow - 0.9)
        heavy, both, light = 1.6 + 2 * bent, 0.5 + bent, 0.5
        area = heavy * light - both.square()
        after = (
            shoulder + 0.25 * first,
            elbow + 0.25 * second,
            first + 0.25 * (light * one - both * two) / area,
            second + 0.25 * (heavy * two - both * one) / area,
        )
        return torch.stack(after, -1) / _DEGREE + 0.6 * random

    return step


def _joints(shape: Shape, generator: torch.Generator) -> Tensor:
    scales = (55.0, 40.0, 25.0, 25.0)
    state = torch.cat([blocks.normal(one, 1)(shape, generator) for one in scales], -1)
    return state + tensor([0.0, 50.0, 0.0, 0.0])


def _reached(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """A hole is wanted, within a threshold, and no force."""
    shoulder, elbow = (_DEGREE * following[..., :2]).split(1, -1)
    tool = blocks.unit(shoulder) + 0.8 * blocks.unit(shoulder + elbow)
    missed = (tool - 1.4 * blocks.unit(_DEGREE * task[..., :1])).norm(dim=-1)
    return torch.sigmoid((0.7 - missed) / 0.2) - 0.1 * missed


SCARA = replace(
    CRAFT,
    name="scara",
    cause="units",
    group="affine",
    num_tasks=4,
    dim_state=4,
    tasks=spread(-55.0, 55.0),
    start=_joints,
    step=scara(0.0),
    reward=blocks.plus(_reached, effort(0.05)),
    generators=shifts(4, (0,)),
    action_generators=still(1, 2, 2),
    max_steps=12,
)
"""An arm with an elbow, and holes all round its base."""


def _sown(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """Place along a field, place off a row, speed, and seeds on the ground from a meter."""
    along, off, speed, seeds = state.split(1, -1)
    throttle, steer, meter = action.split(1, -1)
    dropped = meter / (0.4 + speed) / (1 + off.square())
    after = (
        along + 0.4 * (speed - 1),
        0.8 * off + 0.5 * speed * steer.tanh(),
        0.7 * speed + 0.3 * (1 + 0.9 * throttle.tanh()),
    )
    moved = torch.cat(after, -1) + 0.02 * random[..., :3]
    return torch.cat((moved, (0.55 * seeds + dropped) * (0.03 * random[..., 3:]).exp()), -1)


def _in_the_field(shape: Shape, generator: torch.Generator) -> Tensor:
    along, off, speed, seeds = (
        blocks.normal(scale, 1)(shape, generator) for scale in (1.3, 0.6, 0.3, 0.6)
    )
    return torch.cat((along, off, speed.exp(), seeds.exp()), -1)


def _metered(shape: Shape, generator: torch.Generator) -> Tensor:
    return torch.cat(
        (blocks.normal(1.0, 2)(shape, generator), 0.6 * sizes(0.5, 1)(shape, generator)), -1
    )


def _strip(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """A strip is to be sown, with so many seeds, and along its row."""
    within = torch.sigmoid((1.1 - (following[..., 0] - task[..., 0]).abs()) / 0.3)
    missed = (following[..., 3].log() - task[..., 1]).abs()
    return within * (1.5 - missed) - 0.3 * missed - 0.15 * following[..., 1].square()


SEED_DRILL = replace(
    CRAFT,
    name="seed_drill",
    cause="product",
    group="affine",
    dim_state=4,
    dim_action=3,
    tasks=table(spread(-1.2, 1.2), spread(-0.5, 0.5)),
    start=_in_the_field,
    behaviour=_metered,
    step=_sown,
    reward=_strip,
    generators=torch.cat((shifts(4, (0,)), torch.diag(tensor([0.0, 0, 0, 1, 0]))[None])),
    action_generators=torch.cat((still(1, 3, 3), torch.diag(tensor([0.0, 0.0, 1.0]))[None])),
    coordinates=relative(0, 1),
    max_steps=6,
)
"""Strips of a long field, and crops that are sown more or less densely."""

OTHER_VEHICLES = (RENDEZVOUS, SCARA, SEED_DRILL)
