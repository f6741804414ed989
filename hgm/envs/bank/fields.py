"""Positive: charges, oscillators and waves, whose phases or frames turn.

Pairs of coordinates are complex numbers.
"""

from __future__ import annotations

import cmath
from dataclasses import replace

import torch
from torch import Tensor

from hgm.envs.bank import blocks
from hgm.envs.bank.blocks import each, goal, inertia, table, unit
from hgm.envs.bank.goals import CIRCLE
from hgm.envs.bank.machines import BODY
from hgm.envs.bank.spaces import ROTATIONS, directions, shortest_turn
from hgm.envs.point import bound_disc

SPATIAL = replace(BODY, dim_state=6, dim_action=3, behaviour=blocks.normal(1.0, 3))


def numbers(vectors: Tensor) -> tuple[Tensor, ...]:
    """Complex numbers ``(...)`` of vectors ``(..., 2 k)``, `k` of them."""
    return torch.view_as_complex(vectors.unflatten(-1, (-1, 2)).contiguous()).unbind(-1)


def vectors(*numbers: Tensor) -> Tensor:
    """Vectors ``(..., 2 k)`` of complex numbers."""
    return torch.view_as_real(torch.stack(numbers, -1)).flatten(-2)


def magnetic(x: Tensor, v: Tensor, action: Tensor, task: Tensor) -> Tensor:
    """Thrust within a ball, drag, and the force of a field along the third axis."""
    across = torch.stack((v[..., 1], -v[..., 0], torch.zeros_like(v[..., 0])), -1)
    return bound_disc(action, 1.5) - 0.3 * v + 2 * across


def _spot(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    place = torch.cat((goal(task), torch.full_like(task[..., :1], 0.3)), -1)
    return torch.exp(-(following[..., :3] - place).square().sum(-1) / (2 * 0.5**2))


CYCLOTRON = replace(
    SPATIAL,
    name="cyclotron",
    cause="axis",
    num_tasks=5,
    start=blocks.normal(0.6, 6),
    step=inertia(magnetic),
    reward=_spot,
    generators=blocks.spin(6, 0, 3),
    action_generators=blocks.spin(3, 0),
    max_steps=30,
)
"""A charge in space, and a magnetic field."""


def landau(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """Two coupled oscillators of Stuart and Landau, the first of which is driven."""
    one, two = numbers(state)
    (push,) = numbers(0.2 * bound_disc(action, 1.0))
    pull = 0.08 * (two - one)
    first = one + 0.1 * (1 + 0.5j - one.abs().square()) * one + pull + push
    second = two + 0.1 * (1 - 1j - two.abs().square()) * two - pull
    return vectors(first, second) + 0.02 * random


LANDAU = replace(
    BODY,
    name="landau",
    cause="product",
    tasks=table(CIRCLE, each(0.5, 2.0)),
    start=blocks.normal(0.7, 4),
    step=landau,
    reward=lambda state, action, following, task: torch.exp(
        -task[..., 2] * (following[..., 2:] - goal(task)).norm(dim=-1)
    ),
    max_steps=40,
)
"""Coupled oscillators, which have a common phase to choose."""


def _harmonics(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """A wave whose square drives a second, and the product of both a third."""
    one, two, three = numbers(state)
    (push,) = numbers(0.3 * bound_disc(action, 1.0))
    after = vectors(0.9 * one + push, 0.7 * two + 0.5 * one**2, 0.7 * three + 0.5 * one * two)
    return after + 0.02 * random


def _harmony(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    third = (following[..., 4:] - 0.4 * unit(3 * task[..., :1])).norm(dim=-1)
    return -blocks.distance(following, task).square() - 2 * third


def _heat(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """First and third mode of the heat on a ring: the first is heated, its cube heats the other."""
    first, third = numbers(state)
    (heater,) = numbers(0.3 * bound_disc(action, 1.0))
    return vectors(0.9 * first + heater, 0.6 * third + 0.6 * first**3) + 0.02 * random


def _warmth(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """Unit temperature is wanted at the task's angle of the ring, whatever it is elsewhere."""
    waves = torch.cat((unit(task[..., :1]), unit(3 * task[..., :1])), -1)
    return -((waves * following).sum(-1) - 1).square()


def _counter_waves(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """Waves that run round a ring both ways, and scatter into each other."""
    left, right = numbers(state)
    (push,) = numbers(0.3 * bound_disc(action, 1.0))
    scattered = 0.2 * right.conj().resolve_conj() / (1 + right.abs().square())
    after = vectors(
        0.9 * cmath.exp(0.3j) * left + scattered + push,
        0.8 * cmath.exp(-0.2j) * right + 0.1 * left.conj().resolve_conj(),
    )
    return after + 0.03 * random


def _both_waves(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    mirrored = unit(-task[..., :1])
    other = (following[..., 2:] - 0.6 * mirrored).norm(dim=-1)
    return -torch.tanh(blocks.distance(following, task) + 0.7 * other)


_HALF = 0.5**0.5
_TENSORS = torch.zeros(5, 3, 3, dtype=torch.float64)
for _index, (_row, _column) in enumerate(((0, 1), (0, 2), (1, 2))):
    _TENSORS[_index, _row, _column] = _TENSORS[_index, _column, _row] = _HALF
_TENSORS[3] = torch.diag(torch.tensor([_HALF, -_HALF, 0.0], dtype=torch.float64))
_TENSORS[4] = torch.diag(torch.tensor([1.0, 1.0, -2.0], dtype=torch.float64)) / 6**0.5
# What rotations do to symmetric tensors without a trace, in the orthonormal basis above.
_TURNED_TENSORS = torch.stack(
    [torch.einsum("kij,lij->kl", _TENSORS, one @ _TENSORS - _TENSORS @ one) for one in ROTATIONS]
)


def squares(vectors: Tensor) -> Tensor:
    """The five coordinates of ``v v^T`` without its trace."""
    return torch.einsum("kij,...i,...j->...k", _TENSORS, vectors, vectors)


def _crystal(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """Order of a liquid crystal, drawn along fields whose sign does not matter."""
    strength = 1 + action.square().sum(-1, keepdim=True)
    return 0.85 * state + 0.5 * squares(action) / strength + 0.02 * random


FIELDS = (
    CYCLOTRON,
    LANDAU,
    replace(
        BODY,
        name="harmonics",
        cause="product",
        dim_state=6,
        num_tasks=6,
        start=blocks.normal(0.5, 6),
        step=_harmonics,
        reward=_harmony,
        generators=blocks.spin(6, 0, 2, 4, rates=(1.0, 2.0, 3.0)),
        max_steps=40,
    ),
    replace(
        BODY,
        name="heat_ring",
        cause="product",
        num_tasks=6,
        step=_heat,
        reward=_warmth,
        generators=blocks.spin(4, 0, 2, rates=(1.0, 3.0)),
        max_steps=40,
    ),
    replace(
        BODY,
        name="counter_waves",
        cause="product",
        num_tasks=5,
        step=_counter_waves,
        reward=_both_waves,
        generators=blocks.spin(4, 0, 2, rates=(1.0, -1.0)),
        max_steps=40,
    ),
    replace(
        BODY,
        name="liquid_crystal",
        cause="sphere",
        num_tasks=8,
        dim_state=5,
        dim_action=3,
        tasks=directions,
        start=blocks.normal(0.5, 5),
        behaviour=blocks.normal(1.0, 3),
        step=_crystal,
        reward=lambda state, action, following, task: (following * squares(task)).sum(-1),
        generators=_TURNED_TENSORS,
        action_generators=ROTATIONS,
        coordinates=shortest_turn,
        goals=squares,
        max_steps=40,
    ),
)
