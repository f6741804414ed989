"""Positive: maps in the brain, flocks, growth and enzymes."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from hgm.envs.bank import blocks
from hgm.envs.bank.base import Shape
from hgm.envs.bank.blocks import each, goal, relative, spread, table, turn, unit
from hgm.envs.bank.fields import numbers, vectors
from hgm.envs.bank.fresh_light import LIGHT, graded, inherited, still, tensor
from hgm.envs.bank.novel_fields import bequeathed
from hgm.envs.bank.novel_machines import ROBOT
from hgm.envs.point import bound_disc

# Three waves at thirds of a turn, whose phases move when a rat does; they add up to nothing.
_WAVES = unit(2 * math.pi * torch.arange(3, dtype=torch.float64)[:, None] / 3)
_GRID = torch.cat(
    [blocks.spin(6, 0, 2, 4, rates=tuple(_WAVES[:, axis].tolist())) for axis in (0, 1)]
)


def _path(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """Grid cells of a rat that runs; each wave is fed by the product of the other two."""
    one, two, three = numbers(state)
    power = 1 + 0.25 * state.square().sum(-1)
    fed = [(p * q).conj().resolve_conj() for p, q in ((two, three), (one, three), (one, two))]
    run = 0.5 * action.tanh() @ _WAVES.T
    moved = [
        torch.exp(1j * run[..., k]) * (1.15 * wave + 0.25 * fed[k]) / power
        for k, wave in enumerate((one, two, three))
    ]
    return vectors(*moved) + 0.04 * random


def _place_cell(phases: Tensor) -> Tensor:
    """A cell that fires where three waves have a phase each."""
    wanted = phases.new_tensor([1.0, 0.2, 0.7, -0.3, 0.5, 0.4])
    return torch.sigmoid(2 * (phases * wanted).sum(-1) - 1)


def _flock(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """Velocities of three birds, of which the first is led, and each follows the one before."""
    birds = state.chunk(3, -1)
    eager = [
        1.15 * turn(one, 0.06) / (1 + 0.2 * one.square().sum(-1, keepdim=True)) for one in birds
    ]
    ahead = (birds[2], birds[0], birds[1])
    after = [
        mine + 0.25 * (other - one) for mine, other, one in zip(eager, ahead, birds, strict=True)
    ]
    after[0] = after[0] + 0.4 * bound_disc(action, 1.2)
    return torch.cat(after, -1) + 0.03 * random


def _southward(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """The flock as a whole is to fly in a direction, keep together, and not hurry its leader."""
    birds = following.unflatten(-1, (3, 2))
    mean = birds.mean(-2)
    apart = (birds - mean[..., None, :]).square().sum((-1, -2))
    return torch.tanh((mean * goal(task)).sum(-1)) - 0.15 * apart - 0.1 * action.square().sum(-1)


_KLEIBER = torch.diag(tensor([1.0, 0.75]))[None]


def grown(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """Mass, and a metabolic rate that follows its power of three quarters; food, and cold."""
    mass, rate = state.log().unbind(-1)
    lean = rate - 0.75 * mass
    food, cold = action.tanh().unbind(-1)
    gained = 0.2 * food - 0.15 * torch.tanh(2 * lean)
    after = (mass + gained, rate + 0.75 * gained - 0.3 * lean + 0.25 * cold)
    return torch.exp(torch.stack(after, -1) + 0.03 * random)


def _born(shape: Shape, generator: torch.Generator) -> Tensor:
    mass, lean = (blocks.normal(scale, 1)(shape, generator) for scale in (0.6, 0.3))
    return torch.cat((mass, 0.75 * mass + lean), -1).exp()


def fit(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """A mass is wanted, and a rate that is as it should be."""
    mass, rate = following.log().unbind(-1)
    missed = mass - 0.2 - task[..., 0]
    return torch.exp(-missed.square() / (2 * 0.5**2)) - 0.4 * (rate - 0.75 * mass).abs()


ALLOMETRY = replace(
    LIGHT,
    name="allometry",
    cause="noncompact",
    num_tasks=4,
    dim_state=2,
    dim_action=2,
    tasks=spread(-0.7, 0.7),
    start=_born,
    behaviour=blocks.normal(1.0, 2),
    step=grown,
    reward=fit,
    generators=_KLEIBER,
    action_generators=still(1, 2, 2),
    max_steps=15,
)
"""Animals of other sizes, fed to be as large as others of their kind."""

_AMOUNTS = torch.diag_embed(torch.eye(2, dtype=torch.float64))


def enzymes(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """Two substrates that are fed, and an enzyme that binds both: half of it at 1 of either."""
    bound = (state / (1 + state)).prod(-1, keepdim=True)
    used = state.new_tensor([1.2, 0.8]) * bound * state / (1 + state)
    return 0.85 * state - used + action + 0.03 * state * random


def _fed(state: Tensor) -> Tensor:
    """Kinks at the amounts that are wanted."""
    first, second = state.unbind(-1)
    return -(first - 0.6).abs() - 0.7 * (second - 0.8).abs() - 0.4 * first * second


ENZYMES = replace(
    LIGHT,
    name="enzymes",
    cause="heredity",
    num_tasks=6,
    dim_state=2,
    dim_action=2,
    tasks=table(each(-0.4, 0.4, 2), each(0.5, 2.0), each(-1.0, 1.0)),
    start=lambda shape, generator: blocks.normal(0.8, 2)(shape, generator).exp(),
    behaviour=lambda shape, generator: 0.3 * blocks.normal(0.5, 2)(shape, generator).exp(),
    step=bequeathed(enzymes, _AMOUNTS, _AMOUNTS, (0, 1)),
    reward=graded(inherited(_AMOUNTS, _fed, (0, 1)), 2),
    generators=_AMOUNTS,
    action_generators=_AMOUNTS,
    coordinates=relative(0, 1),
    max_steps=4,
)
"""Variants of an enzyme, each with affinities of its own, and feeds that suit them."""


def _herded(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """A dog, and two sheep that flee from it, and keep to each other."""
    dog, *sheep = state.chunk(3, -1)
    fled = []
    for one, other in (sheep, sheep[::-1]):
        off = one - dog
        fear = 0.12 * off / (0.2 + off.square().sum(-1, keepdim=True))
        fled.append(0.96 * one + fear + 0.06 * (other - one))
    moved = 0.95 * dog + 0.3 * bound_disc(action, 1.0)
    return torch.cat((moved, *fled), -1) + 0.02 * random


def _penned(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """The sheep that is further from the pen counts; running costs."""
    missed = following[..., 2:].unflatten(-1, (2, 2)) - goal(task)[..., None, :]
    return -missed.norm(dim=-1).amax(-1) - 0.08 * action.square().sum(-1)


NOVEL_LIFE = (
    replace(
        LIGHT,
        name="grid_cells",
        cause="product",
        num_tasks=6,
        dim_state=6,
        dim_action=2,
        tasks=each(-1.2, 1.2, 2),
        start=blocks.normal(0.6, 6),
        behaviour=blocks.normal(1.0, 2),
        step=_path,
        reward=inherited(_GRID, _place_cell, (0, 1)),
        generators=_GRID,
        action_generators=still(2, 2, 2),
        coordinates=relative(0, 1),
    ),
    replace(
        ROBOT,
        name="migration",
        cause="product",
        num_tasks=6,
        dim_state=6,
        start=blocks.normal(0.7, 6),
        step=_flock,
        reward=_southward,
        generators=blocks.spin(6, 0, 2, 4),
    ),
    ALLOMETRY,
    ENZYMES,
    replace(
        ROBOT,
        name="sheepdog",
        cause="product",
        dim_state=6,
        start=blocks.normal(0.7, 6),
        step=_herded,
        reward=_penned,
        generators=blocks.spin(6, 0, 2, 4),
    ),
)
