"""Positive: a central bank, buses on a loop, what seems upright, and a mixing desk."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from hgm.envs.bank import blocks
from hgm.envs.bank.base import Shape, Step
from hgm.envs.bank.blocks import angles, each, relative, shared, spread, table, turn, unit
from hgm.envs.bank.fields import numbers, vectors
from hgm.envs.bank.fresh_light import graded, still, tensor
from hgm.envs.bank.later_vehicles import CRAFT, effort, shifts


def bank(wall: float) -> Step:
    """Spot and forward rate in percent of a past one, and reserves: purchases, and interest.

    Args:
        wall: Share of what is above 104 that others sell at once.
    """

    def step(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
        spot, forward, reserves = state.split(1, -1)
        bought, interest = action.tanh().split(1, -1)
        ahead = torch.tanh((forward - spot) / 5)
        priced = spot + 4 * bought + 2 * ahead - 0.1 * reserves
        after = (
            priced - wall * torch.relu(priced - 4),
            forward + 0.4 * (spot - forward) + 3 * interest,
            0.85 * reserves - 1.5 * bought * (1 + 0.5 * ahead) + 0.5 * ahead,
        )
        return torch.cat(after, -1) + tensor([0.5, 0.5, 0.2]) * random

    return step


def _pegged(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """A rate is wanted, too weak is worse than too strong, and reserves are not to run out."""
    missed = (following[..., 0] - task[..., 0]) / 6
    short = torch.nn.functional.softplus(-following[..., 2] - 1)
    return -torch.maximum(missed, -1.6 * missed) - 0.3 * short


def _traded(shape: Shape, generator: torch.Generator) -> Tensor:
    spot, ahead, reserves = blocks.normal(1.0, 3)(shape, generator).split(1, -1)
    return torch.cat((9 * spot, 9 * spot + 5 * ahead, 2 * reserves), -1)


CURRENCY_PEG = replace(
    CRAFT,
    name="currency_peg",
    cause="affine",
    group="affine",
    num_tasks=4,
    dim_state=3,
    tasks=spread(-9.0, 9.0),
    start=_traded,
    step=bank(0.0),
    reward=blocks.plus(_pegged, effort(0.05)),
    generators=shifts(3, (0, 1)),
    action_generators=still(1, 2, 2),
    coordinates=relative(0),
    max_steps=20,
)
"""A central bank, and rates to which a currency is pegged."""

_LOOP = 3.0
"""Kilometres from the middle of a town to its ring road."""


def _looped(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """Two buses on a ring road, and how many wait: late buses have more to pick up."""
    first, second, crowd = state.split((2, 2, 1), -1)
    ahead = (first[..., :1] * second[..., 1:] - first[..., 1:] * second[..., :1]) / _LOOP**2
    beside = (first * second).sum(-1, keepdim=True) / _LOOP**2
    one, two = action.tanh().split(1, -1)
    slow = torch.sigmoid(crowd - 1)
    after = (
        turn(first, 0.6 - 0.3 * slow + 0.3 * one - 0.2 * ahead + 0.04 * random[..., :1]),
        turn(second, 0.5 - 0.2 * slow + 0.3 * two + 0.2 * ahead + 0.04 * random[..., 2:3]),
        0.8 * crowd + 0.25 * (1 + beside) + 0.1 * (one + two) + 0.05 * random[..., 4:],
    )
    return torch.cat(after, -1)


def _on_the_loop(shape: Shape, generator: torch.Generator) -> Tensor:
    at = [_LOOP * unit(blocks.uniform(math.pi, 1)(shape, generator)) for _ in range(2)]
    return torch.cat((*at, 1 + blocks.normal(0.5, 1)(shape, generator)), -1)


def _served(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """A bus is wanted at the station, the other one a quarter behind, and few who wait."""
    at = (following[..., :2] * unit(task[..., :1])).sum(-1) / _LOOP
    behind = (following[..., 2:4] * unit(task[..., :1] - 1.6)).sum(-1) / _LOOP
    return torch.exp(1.2 * at) + 0.7 * torch.relu(behind) - 0.5 * following[..., 4]


BUS_LOOP = replace(
    CRAFT,
    name="bus_loop",
    cause="irrelevant",
    num_tasks=4,
    dim_state=5,
    tasks=table(angles, shared(0.0, 2 * math.pi)),
    start=_on_the_loop,
    step=_looped,
    reward=_served,
    generators=blocks.spin(5, 0, 2),
    action_generators=still(1, 2, 2),
    coordinates=relative(0),
    reward_noise=0.05,
    max_steps=80,
)
"""Two buses on a ring road, in towns whose station is elsewhere on it."""


def _tilted(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """Where a head, a rod and a square frame point; the last two look alike after 180 and 90."""
    head, rod, frame = numbers(state)
    (down,) = numbers(unit(task[..., :1]))
    chair, knob, crank = action.tanh().unbind(-1)
    noise = 0.04 * random
    rights = 0.3 * (head.conj() * down).imag
    drawn = 0.35 * (rod.conj() ** 2 * frame).imag + 0.25 * (rod.conj() * head**2).imag
    after = (
        head * torch.exp(1j * (0.5 * chair + rights + noise[..., 0])),
        rod * torch.exp(1j * (0.7 * knob + drawn + noise[..., 2])),
        frame * torch.exp(1j * (0.8 * crank + noise[..., 4])),
    )
    return vectors(*after)


def _seated(shape: Shape, generator: torch.Generator) -> Tensor:
    turned = (unit(blocks.uniform(math.pi, 1)(shape, generator)) for _ in range(3))
    return torch.cat(tuple(turned), -1)


def _upright(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """A rod is to be upright, in a frame that is a little askew, under a head that leans."""
    head, rod, frame = numbers(following)
    (down,) = numbers(unit(task[..., :1]))
    true = (rod * (down.conj() ** 2)).real
    askew = (frame * (down.conj() ** 4) * complex(math.cos(0.7), -math.sin(0.7))).real
    lean = (head * down.conj() * complex(math.cos(0.5), math.sin(0.5))).real
    return torch.exp(true) * (1.5 + 0.6 * askew) + 0.6 * lean


ROD_AND_FRAME = replace(
    CRAFT,
    name="rod_and_frame",
    cause="heredity",
    num_tasks=5,
    dim_state=6,
    dim_action=3,
    tasks=table(angles, each(0.5, 2.0), each(-1.0, 1.0)),
    start=_seated,
    behaviour=blocks.normal(1.0, 3),
    step=_tilted,
    reward=graded(_upright, 1),
    generators=blocks.spin(6, 0, 2, 4, rates=(1.0, 2.0, 4.0)),
    action_generators=still(1, 3, 3),
    coordinates=relative(0),
    max_steps=30,
)
"""Rods that are set upright in a chamber, seen by a camera that is mounted at any angle."""

_TILT = tensor([-1.0, 0.0, 1.0])


def _mixed(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """Decibels of bass, middle and treble, and how tired ears are: faders, and a limiter."""
    low, middle, high, tired = state.split(1, -1)
    fader = 2.5 * action.tanh()
    nasal = (middle - (low + high) / 2) / 6
    held = torch.cat((0.8 * nasal.tanh(), -2 * nasal.tanh(), torch.tanh(nasal + tired)), -1)
    ears = 0.75 * tired + 0.3 * torch.tanh(2 * nasal)
    blur = tensor([0.4, 0.4, 0.4, 0.05]) * random
    return torch.cat((state[..., :3] + fader + held, ears), -1) + blur


def _balanced(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """A level is wanted, and a balance of bass and treble, for ears that are not tired."""
    own = (following[..., :3] - task[..., :1] - task[..., 1:2] * _TILT) / 10
    missed = (own.square() * tensor([0.8, 1.5, 1.0])).sum(-1)
    return 1 / (0.5 + missed) - 0.5 * following[..., 3].square()


_DESK = shifts(4, (0, 1, 2), (2,))
_DESK[1, 0, 4] = -1.0

MIXING_DESK = replace(
    CRAFT,
    name="mixing_desk",
    cause="affine",
    group="affine",
    num_tasks=6,
    dim_state=4,
    dim_action=3,
    tasks=each(-5.0, 5.0, 2),
    start=lambda shape, generator: (
        blocks.normal(1.0, 4)(shape, generator) * tensor([9.0, 9.0, 9.0, 0.6])
    ),
    behaviour=blocks.normal(1.0, 3),
    step=_mixed,
    reward=_balanced,
    generators=_DESK,
    action_generators=still(2, 3, 3),
    coordinates=relative(0, 1),
    reward_noise=0.03,
    max_steps=10,
)
"""A mixing desk, and styles that are louder or brighter than others."""

BEYOND_TOWN = (CURRENCY_PEG, BUS_LOOP, ROD_AND_FRAME, MIXING_DESK)
