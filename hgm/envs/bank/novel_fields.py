"""Positive: light, spins and crystals, in phases, frames and grains of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from hgm import lie
from hgm.envs.bank import blocks
from hgm.envs.bank.base import Step
from hgm.envs.bank.blocks import each, table, unit
from hgm.envs.bank.fields import numbers, vectors
from hgm.envs.bank.fresh_light import CROSS, LIGHT, between, graded, hills, inherited, tensor
from hgm.envs.bank.novel_machines import bell
from hgm.envs.point import bound_disc


def bequeathed(
    step: Step, generators: Tensor, action_generators: Tensor, columns: Sequence[int]
) -> Step:
    """A step of the base frame, in the frame that the coordinates in these columns carry it to."""

    def carried(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
        coordinates = task[..., 0, list(columns)]
        left, right = (
            lie.exp(lie.hat(coordinates, some)) for some in (generators, action_generators)
        )
        own = lie.act(torch.linalg.inv(left), state), lie.act(torch.linalg.inv(right), action)
        return lie.act(left, step(*own, task, random))

    return carried


def laser(squeezing: float) -> Step:
    """Field and inversion of a laser: light that is let in, and a pump.

    Args:
        squeezing: Share of the conjugate field that a crystal in the cavity adds.
    """

    def step(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
        (field,), inversion = numbers(state[..., :2]), state[..., 2]
        (seed,) = numbers(0.35 * bound_disc(action[..., :2], 1.2))
        power = field.abs().square()
        gained = 0.3 * (1 + 0.5j) * inversion * field / (1 + power)
        after = 0.8 * field + gained + seed + squeezing * field.conj().resolve_conj()
        used = 0.3 * power * inversion / (1 + power)
        pumped = 0.85 * inversion - used + 0.15 + 0.3 * torch.tanh(action[..., 2])
        return torch.cat((vectors(after), pumped[..., None]), -1) + 0.03 * random

    return step


def _homodyne(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """One quadrature is wanted, the other one is not; on a detector with its own power law."""
    own = blocks.turn(following[..., :2], -task[..., :1])
    wanted = torch.sigmoid(3 * (own[..., 0] - 0.4)) * torch.exp(-0.7 * own[..., 1].square())
    return wanted ** task[..., 1]


LASER = replace(
    LIGHT,
    name="laser",
    cause="dynamics",
    num_tasks=4,
    tasks=table(blocks.angles, each(0.5, 2.0)),
    start=blocks.normal(0.7, 3),
    step=laser(0.0),
    reward=_homodyne,
    generators=blocks.spin(3, 0),
    action_generators=blocks.spin(3, 0),
)
"""A laser, and phases of its light that are wanted."""


def _real(matrix: list[list[complex]]) -> Tensor:
    """A complex matrix, on vectors of real and imaginary parts in turns."""
    one = torch.tensor(matrix, dtype=torch.complex128)
    turned = tensor([[0.0, -1.0], [1.0, 0.0]])
    return torch.kron(one.real, torch.eye(2, dtype=torch.float64)) + torch.kron(one.imag, turned)


_PAULI: tuple[list[list[complex]], ...] = (
    [[0, 1j], [1j, 0]],
    [[0, 1], [-1, 0]],
    [[1j, 0], [0, -1j]],
)
_SU2 = torch.stack([_real(one) for one in _PAULI])


def fibre(second: float) -> Step:
    """Light in two polarisations, whose phase moves with its power; the second fades as said."""

    def step(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
        first, other = numbers(state)
        power = state.square().sum(-1)
        phase = torch.exp(0.6j * power / (1 + power))
        after = vectors(0.9 * phase * first, second * phase * other)
        return after + 0.35 * bound_disc(action, 1.5) + 0.03 * random

    return step


_JONES = hills(
    [0.7, 0.1, 0.2, -0.4],
    [-0.3, 0.6, 0.5, 0.3],
    [0.0, -0.7, -0.3, 0.5],
    [-0.5, -0.2, 0.6, -0.5],
    width=0.7,
)

JONES = replace(
    LIGHT,
    name="jones",
    cause="sphere",
    num_tasks=6,
    dim_state=4,
    dim_action=4,
    tasks=table(each(-0.7, 0.7, 3), each(0.5, 2.0), each(-1.0, 1.0)),
    start=blocks.normal(0.6, 4),
    behaviour=blocks.normal(1.0, 4),
    step=fibre(0.9),
    reward=graded(inherited(_SU2, _JONES, (0, 1, 2)), 3),
    generators=_SU2,
    action_generators=_SU2,
    coordinates=between(_SU2),
)
"""A fibre, before which analysers stand in any frame of two polarisations."""

# Magnifications, lenses and ways to go, on heights and slopes of two rays at once.
_OPTICS = torch.stack(
    [
        torch.block_diag(one, one)
        for one in map(
            tensor, ([[1.0, 0.0], [0.0, -1.0]], [[0.0, 1.0], [0.0, 0.0]], [[0.0, 0.0], [1.0, 0.0]])
        )
    ]
)


def _rays(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """Two rays, each a height and a slope, which mix by the area that they span."""
    one, two = state.chunk(2, -1)
    area = (one[..., :1] * two[..., 1:] - one[..., 1:] * two[..., :1]).tanh()
    kept = 0.85 + 0.04 * random  # noise that optics carry on as they do rays
    first = kept[..., :1] * one + (0.25 * area + 0.04 * random[..., 1:2]) * two
    second = kept[..., 2:3] * two - (0.25 * area + 0.04 * random[..., 3:]) * one
    return torch.cat((first, second), -1) + 0.25 * action


_MOMENT = 1e-3
"""Magnetisation in equilibrium."""


def _pulsed(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """Bloch's equations in steps: a pulse turns, a field turns about the third axis, and decay."""
    axis = torch.nn.functional.pad(0.7 * bound_disc(action, 1.2), (0, 1))
    turned = (lie.exp(lie.hat(axis, CROSS)) @ state[..., None])[..., 0]
    across, along = 0.88 * blocks.turn(turned[..., :2], 0.4), turned[..., 2:]
    relaxed = torch.cat((across, along + 0.15 * (_MOMENT - along)), -1)
    return relaxed + 0.03 * _MOMENT * random


def _echo(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """Magnetisation is wanted across the field, in a phase."""
    wanted = torch.cat((0.6 * unit(task), torch.full_like(task, 0.2)), -1)
    return bell(following / _MOMENT, wanted, 0.6)


BLOCH = replace(
    LIGHT,
    name="bloch",
    cause="axis",
    num_tasks=4,
    dim_action=2,
    tasks=blocks.angles,
    start=blocks.normal(0.5 * _MOMENT, 3),
    behaviour=blocks.normal(1.0, 2),
    step=_pulsed,
    reward=_echo,
    generators=blocks.spin(3, 0),
    action_generators=blocks.spin(2, 0),
    reward_noise=0.02,
)
"""Spins in a field along the third axis, and phases of an echo."""


def grain(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """A dislocation in a crystal, which glides along the first axis, and hardly along the third."""
    ease = state.new_tensor([0.5, 0.3, 0.15])
    kept = state.new_tensor([0.95, 0.85, 0.75])
    return kept * state + ease * bound_disc(action, 1.5) + 0.03 * random


GRAINS = replace(
    LIGHT,
    name="grains",
    cause="heredity",
    num_tasks=6,
    tasks=each(-0.75, 0.75, 3),
    start=blocks.normal(0.6, 3),
    step=bequeathed(grain, CROSS, CROSS, (0, 1, 2)),
    reward=inherited(
        CROSS,
        hills([0.6, 0.3, -0.2], [-0.5, 0.5, 0.3], [0.2, -0.7, 0.4], [-0.3, -0.2, -0.7], width=0.5),
        (0, 1, 2),
    ),
    generators=CROSS,
    action_generators=CROSS,
    coordinates=between(CROSS),
)
"""Grains of one crystal, turned in space with what is wanted of each."""

NOVEL_FIELDS = (
    LASER,
    JONES,
    replace(
        LIGHT,
        name="two_rays",
        cause="noncompact",
        num_tasks=6,
        dim_state=4,
        dim_action=4,
        tasks=each(-0.4, 0.4, 3),
        start=blocks.normal(0.6, 4),
        behaviour=blocks.normal(1.0, 4),
        step=_rays,
        reward=inherited(_OPTICS, _JONES, (0, 1, 2)),
        generators=_OPTICS,
        action_generators=_OPTICS,
        coordinates=between(_OPTICS),
    ),
    BLOCH,
    GRAINS,
)
