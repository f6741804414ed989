"""Positive: currents, landmarks, layers and maps."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from hgm import lie
from hgm.envs.bank import blocks
from hgm.envs.bank.base import Step
from hgm.envs.bank.blocks import each, goal, relative, shared, spread, table, turn
from hgm.envs.bank.fields import numbers, vectors
from hgm.envs.bank.fresh_light import CROSS, LIGHT, between, graded, inherited, still, tensor
from hgm.envs.bank.goals import CIRCLE
from hgm.envs.bank.novel_fields import bequeathed
from hgm.envs.bank.novel_machines import ROBOT, bell
from hgm.envs.point import bound_disc

# Rigid motions of the sea, on the places of two drifters.
_SEA = torch.zeros(3, 5, 5, dtype=torch.float64)
_SEA[0, 0, 4] = _SEA[0, 2, 4] = _SEA[1, 1, 4] = _SEA[1, 3, 4] = 1.0
_SEA[2] = blocks.spin(5, 0, 2)[0]


def _swirled(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """Two eddies that carry each other round, at strengths of 1 and of column 3."""
    off = state[..., 2:] - state[..., :2]
    flow = 0.35 * turn(off, math.pi / 2) / (0.4 + off.square().sum(-1, keepdim=True))
    first, second = (0.25 * bound_disc(push, 1.0) for push in action.chunk(2, -1))
    moves = torch.cat((first - task[..., 3:4] * flow, second + flow), -1)
    return state + moves + 0.02 * random


def _sited(places: Tensor) -> Tensor:
    """The eddies are wanted at a place each, the second less so."""
    first = bell(places[..., :2], places.new_tensor([0.4, -0.3]), 0.7)
    return first + 0.7 * bell(places[..., 2:], places.new_tensor([-0.5, 0.4]), 0.8)


VORTICES = replace(
    ROBOT,
    name="vortices",
    cause="affine",
    group="affine",
    num_tasks=7,
    dim_action=4,
    tasks=table(each(-0.6, 0.6, 2), spread(-1.4, 1.4), shared(0.5, 0.5)),
    start=blocks.normal(0.7, 4),
    behaviour=blocks.normal(1.0, 4),
    step=_swirled,
    reward=inherited(_SEA, _sited, (0, 1, 2)),
    generators=_SEA,
    action_generators=torch.cat((still(2, 4, 4), blocks.spin(4, 0, 2))),
    coordinates=between(_SEA),
    max_steps=20,
)
"""Two eddies on open water."""

_SWIFT = 300.0
"""A strong current, in millimetres a second."""


def ekman(alongshore: float) -> Step:
    """Currents at the surface and below, on a turning earth: winds in m/s, drag with the square.

    Args:
        alongshore: What a shore leaves of surface currents across it; its direction is column 2.
    """

    def step(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
        top, deep = numbers(state / _SWIFT)
        (wind,) = numbers(bound_disc(action, 12.0) / 12)
        mixed = 0.15 * (top - deep)
        first = (0.9 - 0.1 * top.abs()) * (math.cos(0.4) - 1j * math.sin(0.4)) * top - mixed
        second = (0.95 - 0.1 * deep.abs()) * (math.cos(0.4) - 1j * math.sin(0.4)) * deep + mixed
        after = vectors(first + 0.4 * wind, second)
        surface = blocks.stretch(after[..., :2], task[..., 2:3], alongshore)
        return _SWIFT * (torch.cat((surface, after[..., 2:]), -1) + 0.03 * random)

    return step


def _transported(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """What both layers carry is wanted in a direction."""
    carried = (following[..., :2] + 0.6 * following[..., 2:]) / _SWIFT
    return -40 * torch.log(0.2 + (carried - goal(task)).square().sum(-1))


EKMAN = replace(
    ROBOT,
    name="ekman",
    cause="units",
    num_tasks=4,
    tasks=table(CIRCLE, shared(0.0, 2 * math.pi)),
    start=blocks.normal(0.6 * _SWIFT, 4),
    behaviour=blocks.normal(10.0, 2),
    step=ekman(1.0),
    reward=_transported,
)
"""Two layers of the open sea, under winds that are chosen."""

# Turns of a body's frame, on two landmarks that it sees.
_SEEN = torch.stack([torch.block_diag(one, one) for one in CROSS])


def _sighted(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """Where two landmarks are, as a body sees them that turns, and goes."""
    rate, way = action.chunk(2, -1)
    back = lie.exp(-lie.hat(0.4 * bound_disc(rate, 1.5), CROSS))
    seen = [
        0.96 * _turned(back, place) - 0.2 * bound_disc(way, 1.5) for place in state.chunk(2, -1)
    ]
    return torch.cat(seen, -1) + 0.02 * random


def _turned(rotations: Tensor, places: Tensor) -> Tensor:
    """Every place ``(..., 3)`` turned by a rotation ``(..., 3, 3)`` of its own."""
    return (rotations @ places[..., None])[..., 0]


def _in_view(places: Tensor) -> Tensor:
    """Directions in which the landmarks are wanted, and how far away."""
    first = bell(places[..., :3], places.new_tensor([0.7, 0.2, -0.3]), 0.8)
    return first + 0.7 * bell(places[..., 3:], places.new_tensor([-0.3, 0.6, 0.4]), 0.8)


LANDMARKS = replace(
    ROBOT,
    name="landmarks",
    cause="sphere",
    num_tasks=6,
    dim_state=6,
    dim_action=6,
    tasks=each(-0.75, 0.75, 3),
    start=blocks.normal(0.7, 6),
    behaviour=blocks.normal(1.0, 6),
    step=_sighted,
    reward=inherited(_SEEN, _in_view, (0, 1, 2)),
    generators=_SEEN,
    action_generators=_SEEN,
    coordinates=between(_SEEN),
)
"""A body that navigates by two landmarks, and sensors in any pose."""

_TILT = tensor([[0.0, 0.0], [1.0, 0.0]])[None]


def _bored(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """A drill, along layers and across them; every other layer is hard."""
    hard = torch.sigmoid(4 * torch.sin(4 * state[..., 1:]))
    ease = torch.cat((torch.ones_like(hard), 1 - 0.6 * hard), -1)
    return 0.92 * state + 0.35 * ease * action.tanh() + 0.03 * random


def _vein(place: Tensor) -> Tensor:
    """Ore in one layer, of which there is more on one side."""
    along, across = place.unbind(-1)
    rich = 1 + 0.6 * torch.tanh(along - 0.2)
    return rich * torch.exp(-(across - 0.3).square() / (2 * 0.35**2)) - 0.1 * along.square()


_MAPS = torch.cat((blocks.spin(4, 0, 2), torch.eye(4, dtype=torch.float64)[None]))


def _driven(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """A courier: thrust that is bounded, drag, and a hill to one side, on the base map."""
    x, v = state.chunk(2, -1)
    off = x - x.new_tensor([0.4, -0.3])
    uphill = 1.5 * off * bell(x, x.new_tensor([0.4, -0.3]), 0.5)[..., None]
    force = bound_disc(action, 1.2) + uphill - 0.5 * v - 0.3 * x
    return torch.cat((x + 0.25 * v, v + 0.25 * force), -1) + 0.02 * random


def _delivered(state: Tensor) -> Tensor:
    x, v = state.chunk(2, -1)
    near = bell(x, x.new_tensor([-0.6, 0.3]), 0.6) + 0.7 * bell(x, x.new_tensor([0.5, 0.7]), 0.6)
    return near - 0.1 * v.square().sum(-1)


CITY_MAPS = replace(
    ROBOT,
    name="city_maps",
    cause="heredity",
    num_tasks=6,
    tasks=table(blocks.angles, spread(-0.4, 0.4)),
    start=blocks.normal(0.6, 4),
    step=bequeathed(_driven, _MAPS, _MAPS[:, :2, :2], (0, 1)),
    reward=inherited(_MAPS, _delivered, (0, 1)),
    generators=_MAPS,
    action_generators=_MAPS[:, :2, :2],
    coordinates=relative(0, 1),
)
"""One city on maps of other scales and orientations."""


NOVEL_EARTH = (
    VORTICES,
    EKMAN,
    LANDMARKS,
    replace(
        LIGHT,
        name="strata",
        cause="heredity",
        num_tasks=5,
        dim_state=2,
        dim_action=2,
        tasks=table(spread(-0.9, 0.9), each(0.5, 2.0), each(-1.0, 1.0)),
        start=blocks.normal(0.6, 2),
        behaviour=blocks.normal(1.0, 2),
        step=bequeathed(_bored, _TILT, _TILT, (0,)),
        reward=graded(inherited(_TILT, _vein), 1),
        generators=_TILT,
        action_generators=_TILT,
    ),
    CITY_MAPS,
)
