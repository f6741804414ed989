"""Positive: magnets, drops, rotors, dyes and grids, in frames of their own."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from hgm.envs.bank import blocks
from hgm.envs.bank.base import Shape, Step
from hgm.envs.bank.blocks import angles, distance, each, relative, spread, table, turn, unit
from hgm.envs.bank.fresh_light import CROSS, between, graded, hills, inherited, still, tensor
from hgm.envs.bank.goals import CIRCLE
from hgm.envs.bank.later_vehicles import CRAFT, effort, of_state
from hgm.envs.point import bound_disc


def nanomagnet(easy: float) -> Step:
    """Magnetisation of a small particle, which goes round a field, and gives way to it.

    Args:
        easy: Strength of a crystal axis, the third one, along which it would rather lie.
    """

    def step(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
        field = bound_disc(action, 1.5)
        after = 0.75 * state + 0.4 * torch.linalg.cross(state, field) + 0.3 * field
        axis = torch.nn.functional.pad(torch.tanh(2 * state[..., 2:]), (2, 0))
        return after + easy * axis + 0.03 * random

    return step


NANOMAGNET = replace(
    CRAFT,
    name="nanomagnet",
    cause="sphere",
    num_tasks=6,
    dim_state=3,
    dim_action=3,
    tasks=table(each(-0.75, 0.75, 3), each(0.5, 2.0), each(-1.0, 1.0)),
    start=blocks.normal(0.6, 3),
    behaviour=blocks.normal(1.0, 3),
    step=nanomagnet(0.0),
    reward=of_state(
        graded(
            inherited(
                CROSS,
                hills([0.7, -0.2, 0.3], [-0.3, 0.8, 0.1], [-0.5, -0.5, 0.5], width=0.6),
                (0, 1, 2),
            ),
            3,
        )
    ),
    generators=CROSS,
    action_generators=CROSS,
    coordinates=between(CROSS),
)
"""A particle in a fluid, and directions of its moment that are wanted."""


def _droplet(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """Size of a drop, and how it is stretched, in twice the angle: flows stretch and turn it."""
    size, stretched = state[..., :1], state[..., 1:]
    long = stretched.square().sum(-1, keepdim=True)
    after = (
        0.85 * size + 0.15 + 0.2 * long,
        turn(0.8 * stretched, 0.3) + 0.2 * size * bound_disc(action, 1.2),
    )
    return torch.cat(after, -1) + 0.02 * random


def _round(shape: Shape, generator: torch.Generator) -> Tensor:
    return blocks.normal(0.3, 3)(shape, generator) + tensor([1.1, 0.0, 0.0])


def _stretched(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """A drop is wanted long along an angle, and small."""
    missed = (following[..., 1:] - 0.5 * unit(task[..., :1])).norm(dim=-1)
    return -missed - 0.3 * following[..., 0]


DROPLET = blocks.in_chart(
    replace(
        CRAFT,
        name="droplet",
        cause="axis",
        num_tasks=4,
        dim_state=3,
        tasks=angles,
        start=_round,
        step=_droplet,
        reward=blocks.plus(_stretched, effort(0.02)),
        generators=blocks.spin(3, 1),
        action_generators=blocks.spin(2, 0),
    ),
    tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, -1.0, 0.0]]),
)
"""A drop in a four-roll mill, seen by its second moments xx, xy and yy."""


def _bearing(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """Place and velocity of a fast rotor, which whirls, between magnets that hold it."""
    x, v = state.chunk(2, -1)
    far = x.square().sum(-1, keepdim=True)
    stiff = x * (0.6 + far / (1 + far))
    whirl = 0.3 * turn(x, torch.pi / 2) + 0.8 * turn(v, torch.pi / 2)
    force = 2 * bound_disc(action, 1.2) - stiff + whirl - 0.8 * v
    return torch.cat((x + 0.25 * v, v + 0.25 * force), -1) + 0.02 * random


def _centred(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """A place beside the middle balances the rotor, and speed wears it."""
    missed, v = distance(following, task), following[..., 2:]
    return torch.sigmoid((0.8 - missed) / 0.25) - 0.1 * v.square().sum(-1)


def _dyed(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """Place of a boat on a round pond that swirls, and a dye, which thins out off the middle."""
    x, dye = state[..., :2], state[..., 2:]
    off = x.square().sum(-1, keepdim=True)
    moved = turn(0.95 * x, 0.2 / (0.5 + off)) + 0.3 * bound_disc(action[..., :2], 1.2)
    given = 0.25 * action[..., 2:].tanh() + 0.12 * (1 - off) / (1 + off)
    blur = torch.cat((0.02 * random[..., :2], torch.zeros_like(dye)), -1)
    return torch.cat((moved, dye * torch.exp(given + 0.03 * random[..., 2:])), -1) + blur


def _on_the_pond(shape: Shape, generator: torch.Generator) -> Tensor:
    x, dye = blocks.normal(0.8, 2)(shape, generator), blocks.normal(0.6, 1)(shape, generator)
    return torch.cat((x, dye.exp()), -1)


def _marked(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """A place is wanted, and a concentration of the dye."""
    missed = following[..., 2].log() - task[..., 2]
    return -distance(following, task) - 0.5 * missed.abs()


DYE = torch.cat((blocks.spin(3, 0), torch.diag(tensor([0.0, 0.0, 1.0]))[None]))


def power_grid(bus: float) -> Step:
    """Phases of two generators that a line joins, and how much too fast they are.

    Args:
        bus: Strength of a line from the first to a large grid, whose phase is in column 1.
    """

    def step(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
        one, two, fast = state.split(2, -1)
        grid = bus * turn(unit(task[..., 1:2]), -torch.atan2(one[..., 1:], one[..., :1]))[..., 1:]
        line = one[..., :1] * two[..., 1:] - one[..., 1:] * two[..., :1]
        drawn = torch.cat((1.2 * line + grid, -0.8 * line), -1)
        fast = fast + 0.3 * (1.5 * action.tanh() + drawn - 0.6 * fast) + 0.02 * random[..., 4:]
        first, last = (0.5 * fast + 0.01 * random[..., :2]).split(1, -1)
        return torch.cat((turn(one, first), turn(two, last), fast), -1)

    return step


def _phased(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """The first generator is wanted in a phase, the second a little behind it, and both steady."""
    one, two, fast = following.split(2, -1)
    facing = (one * unit(task[..., :1])).sum(-1) + 0.6 * (two * unit(task[..., :1] - 0.4)).sum(-1)
    return facing - 0.15 * fast.square().sum(-1)


def _running(shape: Shape, generator: torch.Generator) -> Tensor:
    phases = [unit(blocks.uniform(torch.pi, 1)(shape, generator)) for _ in range(2)]
    return torch.cat((*phases, blocks.normal(0.5, 2)(shape, generator)), -1)


POWER_GRID = replace(
    CRAFT,
    name="power_grid",
    cause="product",
    dim_state=6,
    tasks=table(angles, blocks.shared(0.0, 2 * torch.pi)),
    start=_running,
    step=power_grid(0.0),
    reward=of_state(_phased),
    generators=blocks.spin(6, 0, 2),
    action_generators=still(1, 2, 2),
)
"""An island grid, to be brought into the phase of a grid that it is to be joined to."""


LATER_PHYSICS = (
    NANOMAGNET,
    DROPLET,
    replace(
        CRAFT,
        name="magnetic_bearing",
        num_tasks=4,
        dim_state=4,
        tasks=CIRCLE,
        start=blocks.normal(0.7, 4),
        step=_bearing,
        reward=_centred,
        generators=blocks.spin(4, 0, 2),
    ),
    replace(
        CRAFT,
        name="dye_boat",
        cause="product",
        dim_state=3,
        dim_action=3,
        tasks=table(CIRCLE, spread(-0.7, 0.7)),
        start=_on_the_pond,
        behaviour=blocks.normal(1.0, 3),
        step=_dyed,
        reward=_marked,
        generators=DYE,
        action_generators=torch.cat((blocks.spin(3, 0), still(1, 3, 3))),
        coordinates=relative(0, 2),
        max_steps=10,
    ),
    POWER_GRID,
)
