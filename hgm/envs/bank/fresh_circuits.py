"""Positive: phases of currents, tones and rings of rooms."""

from __future__ import annotations

import cmath
import math
from dataclasses import replace

import torch
from torch import Tensor

from hgm.envs.bank import blocks
from hgm.envs.bank.base import Step
from hgm.envs.bank.blocks import angles, each, relative, shared, spread, table
from hgm.envs.bank.fields import numbers, vectors
from hgm.envs.bank.fresh_light import LIGHT, graded, hills, inherited, still, tensor
from hgm.envs.point import bound_disc

# Turns about (1, 1, 1), of which a third of a full one passes three phases on.
_ABC = tensor([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]]) / math.sqrt(3)
ABC = torch.block_diag(_ABC, _ABC)[None]


def common(phases: Tensor) -> Tensor:
    """What three phases have in common."""
    return phases.mean(-1, keepdim=True).expand_as(phases)


def inverted(action: Tensor) -> Tensor:
    """Three voltages, bounded in their own plane by a disc, and along their common axis."""
    middle = common(action)
    return bound_disc(action - middle, 1.0) + 0.5 * middle.tanh()


def grid(state: Tensor, voltage: Tensor, offset: Tensor, random: Tensor) -> Tensor:
    """Voltages and currents of a filter of coils and capacitors; common currents leak more."""
    volts, amperes = state.chunk(2, -1)
    faster = 0.9 * amperes - 0.3 * common(amperes) + 0.3 * (voltage - volts) + offset
    return torch.cat((0.97 * volts + 0.3 * amperes, faster), -1) + 0.02 * random


def three_phase(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """With an offset in column 1 that all three phases share."""
    return grid(state, inverted(action), task[..., 1:2], random)


_VOLTS = hills([0.8, -0.4, -0.4], [0.1, 0.7, -0.2], [-0.6, 0.1, 0.8], [0.4, 0.5, 0.3], width=0.6)

THREE_PHASE = replace(
    LIGHT,
    name="three_phase",
    cause="axis",
    num_tasks=5,
    dim_state=6,
    tasks=table(angles, shared(-0.1, 0.1)),
    start=blocks.normal(0.5, 6),
    step=three_phase,
    reward=inherited(_ABC[None], _VOLTS, sees=3),
    generators=ABC,
    action_generators=_ABC[None],
    max_steps=40,
)
"""A three-phase inverter with a filter, and phasors of voltage that are wanted."""


def resonators(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """Two resonators, whose gains and pitches two knobs change together."""
    one, two = numbers(state)
    gain, pitch = action.tanh().unbind(-1)
    first = one * torch.exp(-0.02 + 0.25j + 0.2 * gain + 0.25j * pitch)
    second = two * torch.exp(-0.02 - 0.4j + 0.2 * pitch - 0.25j * gain)
    return vectors(first, second) + 0.03 * random


_MODES = torch.block_diag(tensor([[-0.15, -1.0], [1.0, -0.15]]), tensor([[0.1, -2.3], [2.3, 0.1]]))
_PROBES = tensor(
    [[1.0, 0.3, 0.4, 0.0], [0.2, 0.9, 0.0, -0.5], [-0.4, 0.1, 1.1, 0.3], [0.0, 0.5, -0.2, 0.8]]
)
_TONE = hills(
    [0.7, 0.1, 0.2, -0.4],
    [-0.3, 0.6, 0.5, 0.3],
    [0.0, -0.7, -0.3, 0.5],
    [-0.5, -0.2, 0.6, -0.5],
    [0.4, 0.5, -0.7, 0.1],
    width=0.7,
)

# Shifts in time turn partials at 1 : 2 : 3, a common phase turns them all alike.
_COMB = torch.cat((blocks.spin(6, 0, 2, 4, rates=(1.0, 2.0, 3.0)), blocks.spin(6, 0, 2, 4)))


def _comb(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """Three partials that mix by fours, two of the second for one each of the others.

    Every product has the phase of the partial that it is added to, in both groups.
    """
    one, two, three = numbers(state)
    push = [numbers(0.4 * bound_disc(part, 1.0))[0] for part in action.chunk(2, -1)]
    gain = 0.8 / (1 + state.square().sum(-1)) ** 1.5
    first = 0.85 * one + gain * two**2 * three.conj().resolve_conj() + push[0]
    second = 0.85 * two + gain * one * three * two.conj().resolve_conj() + push[1]
    third = cmath.exp(0.2j) * 0.85 * three + 2 * gain * two**2 * one.conj().resolve_conj()
    return vectors(first, second, third) + 0.04 * random


# Five rooms in a ring: their mean, and waves that go round once and twice.
_AROUND = 2 * math.pi * torch.arange(5, dtype=torch.float64)[:, None] / 5
WAVES = torch.cat(
    (
        torch.full((5, 1), 5**-0.5, dtype=torch.float64),
        math.sqrt(0.4)
        * torch.cat([f(k * _AROUND) for k in (1, 2) for f in (torch.cos, torch.sin)], -1),
    ),
    -1,
)
RING = WAVES @ blocks.spin(5, 1, 3, rates=(1.0, 2.0)) @ WAVES.T


def exchanged(rooms: Tensor) -> Tensor:
    """Heat that rooms get from both of their neighbours."""
    return rooms.roll(1, -1) + rooms.roll(-1, -1) - 2 * rooms


def rooms(leak: float) -> Step:
    """Five rooms with heaters that share their power; the first loses heat of its own."""

    def step(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
        lost = 0.1 * state * (1.5 + torch.tanh(state.mean(-1, keepdim=True)))
        window = leak * state * state.new_tensor([1.0, 0.0, 0.0, 0.0, 0.0])
        heated = 0.15 * exchanged(state) - lost - window + 0.5 * bound_disc(action, 1.5)
        return state + heated + 0.05 * random

    return step


_CLIMATE = hills(
    [0.3, 0.8, 0.1, 0.2, -0.3],
    [0.5, -0.4, 0.6, 0.5, 0.3],
    [-0.4, 0.1, -0.6, -0.3, 0.5],
    [0.2, -0.5, -0.3, 0.6, -0.5],
    [-0.5, 0.4, 0.5, -0.6, 0.1],
    [0.6, 0.2, -0.5, -0.5, -0.5],
    width=0.8,
)

THERMOSTATS = replace(
    LIGHT,
    name="thermostats",
    cause="product",
    num_tasks=6,
    dim_state=5,
    dim_action=5,
    tasks=table(angles, each(0.5, 2.0), each(-1.0, 1.0)),
    start=blocks.normal(0.6, 5),
    behaviour=blocks.normal(0.8, 5),
    step=rooms(0.0),
    reward=graded(inherited(RING, lambda x: _CLIMATE(x @ WAVES)), 1),
    generators=RING,
    action_generators=RING,
)
"""A ring of rooms, and climates that are wanted anywhere around it."""

FRESH_CIRCUITS = (
    THREE_PHASE,
    blocks.in_chart(
        replace(
            LIGHT,
            name="resonators",
            cause="noncompact",
            num_tasks=6,
            dim_state=4,
            dim_action=2,
            tasks=spread(-1.2, 1.2),
            start=blocks.normal(0.7, 4),
            behaviour=blocks.normal(1.0, 2),
            step=resonators,
            reward=inherited(_MODES[None], _TONE),
            generators=_MODES[None],
            action_generators=still(1, 2, 2),
        ),
        _PROBES,
    ),
    replace(
        LIGHT,
        name="comb",
        cause="product",
        num_tasks=7,
        dim_state=6,
        dim_action=4,
        tasks=table(angles, angles),
        start=blocks.normal(0.6, 6),
        behaviour=blocks.normal(1.0, 4),
        step=_comb,
        reward=inherited(_COMB[:, :4, :4], _TONE, (0, 1), sees=4),
        generators=_COMB,
        action_generators=_COMB[:, :4, :4],
        coordinates=relative(0, 1),
    ),
    THERMOSTATS,
)
