"""Positive: corrosion, crystals, plasmas and groundwater, on scales of their own."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from hgm.envs.bank import blocks
from hgm.envs.bank.base import Shape, Step
from hgm.envs.bank.blocks import relative, spread, table
from hgm.envs.bank.fresh_light import still, tensor
from hgm.envs.bank.later_process import sizes
from hgm.envs.bank.later_vehicles import CRAFT, effort, shifts

# Potentials of hydrogen fall by 59 millivolts with each step of pH.
_NERNST = tensor([[0.0, 0.0, 1.0], [0.0, 0.0, -59.0], [0.0, 0.0, 0.0]])[None]


def _over(state: Tensor) -> Tensor:
    """Tenths of a volt above hydrogen at this pH."""
    return (state[..., 1:2] + 59 * (state[..., :1] - 7)) / 100


def _corroded(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """pH, and millivolts of a metal in water that has air: a base, and a current."""
    acid, millivolts = state.split(1, -1)
    base, current = action.tanh().split(1, -1)
    above = _over(state)
    rise = 45 * current - 30 * torch.tanh(2 * above) + 15 * torch.sigmoid(-2 * above)
    after = (
        acid + 0.4 * base - 0.2 * torch.tanh(above) + 0.03 * random[..., :1],
        millivolts + rise + 3 * random[..., 1:],
    )
    return torch.cat(after, -1)


def _in_water(shape: Shape, generator: torch.Generator) -> Tensor:
    acid, above = blocks.normal(1.0, 2)(shape, generator).split(1, -1)
    return torch.cat((7 + 1.3 * acid, 90 * above - 77 * acid), -1)


def _passive(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """A pH is wanted, and a metal that neither rusts nor takes up hydrogen."""
    missed = (following[..., 0] - 7 - task[..., 0]).abs()
    above = _over(following)[..., 0]
    return 0.8 * torch.sigmoid(5 * (0.9 - (above - 0.3).abs())) - 0.5 * torch.tanh(missed)


POURBAIX = replace(
    CRAFT,
    name="pourbaix",
    cause="units",
    group="affine",
    num_tasks=4,
    tasks=spread(-1.5, 1.5),
    start=_in_water,
    step=_corroded,
    reward=blocks.plus(_passive, effort(0.03)),
    generators=_NERNST,
    action_generators=still(1, 2, 2),
    reward_noise=0.02,
    max_steps=8,
)
"""A metal in water, which is wanted at any pH."""

# Units of length and of numbers, on three moments of a distribution of sizes.
_MOMENTS = torch.diag_embed(tensor([[0.0, 1.0, 2.0], [1.0, 1.0, 1.0]]))


def _crystallised(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """Number, length and surface of crystals, which grow, less if small; some are taken out."""
    number, length, surface = state.split(1, -1)
    growth, seeds = action.split(1, -1)
    mean = surface / length
    growth = growth * mean / (growth + mean)
    after = (
        0.75 * number + seeds,
        0.75 * (length + growth * number) + 0.2 * growth * seeds,
        0.7 * (surface + 2 * growth * length + growth.square() * number),
    )
    return torch.cat(after, -1) * (0.03 * random).exp()


def _seeded(shape: Shape, generator: torch.Generator) -> Tensor:
    number, mean, *rest = blocks.normal(0.6, 4)(shape, generator).split(1, -1)
    moments = (number, number + mean + 0.5 * rest[0], number + 2 * mean + 0.2 + 0.7 * rest[1])
    return torch.cat(moments, -1).exp()


def batch(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """A mean length is wanted, and a surface, of which more is hardly better."""
    number, length, surface = following.log().unbind(-1)
    long = length - number - task[..., 0]
    wide = surface - 2 * task[..., 0] - task[..., 1]
    return torch.exp(-long.square() / (2 * 0.5**2)) + 0.6 * torch.sigmoid(2 * wide)


CRYSTALS = replace(
    CRAFT,
    name="crystals",
    cause="units",
    num_tasks=6,
    dim_state=3,
    tasks=table(spread(-0.5, 0.5), spread(-0.6, 0.6)),
    start=_seeded,
    behaviour=lambda shape, generator: 0.4 * sizes(0.5, 2)(shape, generator),
    step=_crystallised,
    reward=batch,
    generators=_MOMENTS,
    action_generators=torch.diag_embed(tensor([[1.0, 0.0], [0.0, 1.0]])),
    coordinates=relative(0, 1),
    max_steps=4,
)
"""A crystalliser, and sizes and amounts that are wanted of it."""


def tokamak(cold: float) -> Step:
    """Density, temperature and field of a plasma: gas, heat and coils, in percentages.

    Collisions go with the density over the square of the temperature, pressure is relative to that
    of the field.

    Args:
        cold: Heat that atoms radiate below a temperature of 1.
    """

    def step(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
        density, heat, field = state.log().split(1, -1)
        gas, power, coil = (0.3 * action.tanh()).split(1, -1)
        collisions, pressure = density - 2 * heat, density + heat - 2 * field
        lost = 0.2 * torch.tanh(pressure) + cold * torch.sigmoid(-4 * heat)
        after = (
            density + gas - 0.2 * torch.tanh(collisions) - 0.1 * torch.tanh(pressure),
            heat + power - lost + 0.1 * torch.tanh(collisions),
            field + 0.7 * coil - 0.05 * torch.sigmoid(2 * pressure),
        )
        return torch.exp(torch.cat(after, -1) + 0.02 * random)

    return step


def _ignited(shape: Shape, generator: torch.Generator) -> Tensor:
    order, *own = blocks.normal(0.7, 4)(shape, generator).split(1, -1)
    density, heat, field = (0.5 * one for one in own)
    return torch.cat((order + density, 0.5 * order + heat, 0.75 * order + field), -1).exp()


def _confined(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """A density is wanted; pressures above a limit are dangerous, and collisions are a nuisance."""
    density, heat, field = following.log().unbind(-1)
    missed = density - task[..., 0]
    above = torch.relu(density + heat - 2 * field - 0.2)
    near = torch.exp(-missed.square() / (2 * 0.6**2))
    return near - 0.4 * torch.tanh(above) - 0.2 * torch.sigmoid(2 * (density - 2 * heat))


TOKAMAK = replace(
    CRAFT,
    name="tokamak",
    cause="noncompact",
    num_tasks=5,
    dim_state=3,
    dim_action=3,
    tasks=spread(-0.6, 0.6),
    start=_ignited,
    behaviour=blocks.normal(1.0, 3),
    step=tokamak(0.0),
    reward=_confined,
    generators=torch.diag(tensor([1.0, 0.5, 0.75]))[None],
    action_generators=still(1, 3, 3),
    max_steps=8,
)
"""Plasmas that are alike but for their density, and densities that are wanted."""


def _pumped(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """Feet of water in three wells and a river: it leaks into the first, and two are pumped."""
    one, two, three, river = state.split(1, -1)
    first, last = (5 * torch.sigmoid(1.5 * action)).split(1, -1)
    leaked = 0.35 * (river - one).clamp(-9.0, 5.0)
    after = (
        one + 0.25 * (two - one) + leaked - first,
        two + 0.25 * (one - two) + 0.15 * (three - two) + 1.5,
        three + 0.2 * (two - three) - last + 1,
        river - 0.4 * leaked + 0.8,
    )
    return torch.cat(after, -1) + 0.4 * random


def _water(shape: Shape, generator: torch.Generator) -> Tensor:
    return blocks.normal(10.0, 1)(shape, generator) + blocks.normal(6.0, 4)(shape, generator)


def drained(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """Cellars at the second well are to be dry, and roots at the third one wet; water is sold."""
    cellar = torch.relu(following[..., 1] - task[..., 0])
    roots = torch.relu(task[..., 0] - 4 - following[..., 2])
    return -(cellar + 0.6 * roots) / 10 + 0.3 * torch.sigmoid(1.5 * action).sum(-1)


WELL_FIELD = replace(
    CRAFT,
    name="well_field",
    cause="affine",
    group="affine",
    num_tasks=4,
    dim_state=4,
    tasks=spread(-10.0, 10.0),
    start=_water,
    step=_pumped,
    reward=drained,
    generators=shifts(4, (0, 1, 2, 3)),
    action_generators=still(1, 2, 2),
    reward_noise=0.03,
    max_steps=8,
)
"""Groundwater under towns at any height."""

OTHER_MATTER = (POURBAIX, CRYSTALS, TOKAMAK, WELL_FIELD)
