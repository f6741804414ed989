"""Positive: units of work and of prices, trends, food webs, and magnified worlds."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from hgm.envs.bank import blocks
from hgm.envs.bank.base import Shape, Step
from hgm.envs.bank.blocks import each, relative, spread, table
from hgm.envs.bank.fresh_light import CROSS, LIGHT, between, graded, hills, inherited, still
from hgm.envs.point import bound_disc


def _done(work: Tensor, rate: Tensor) -> Tensor:
    """Nearly the smaller of the two; a little work is always left. Of degree 1 in both."""
    return work * rate / (work**3 + rate**3).clamp_min(1e-12) ** (1 / 3)


def _tandem(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """Work before two servers in a row, and the load that is seen on average.

    Of degree 1 in work, arrivals and what servers can do.
    """
    before, halfway, load = state.chunk(3, -1)
    arrived, first, second = action.chunk(3, -1)
    passed = _done(before + arrived, first)
    left = halfway + passed - _done(halfway + passed, second)
    after = (before + arrived - passed, left, 0.8 * load + 0.1 * (before + halfway))
    return torch.cat(after, -1) * torch.exp(0.03 * random)


def _working(shape: Shape, generator: torch.Generator) -> Tensor:
    rates = blocks.normal(0.6, 3)(shape, generator).exp()
    return rates * rates.new_tensor([0.35, 0.4, 0.4])


# Inflation carries the price level on, and time goes on: levels may be shifted, and trends added.
_TRENDS = torch.zeros(2, 4, 4, dtype=torch.float64)
_TRENDS[0, 0, 3] = _TRENDS[1, 0, 2] = _TRENDS[1, 1, 3] = 1.0


def price_level(anchor: float) -> Step:
    """Logarithm of a price level, inflation, time; inflation is drawn to 0.1 at a rate."""

    def step(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
        level, inflation, time = state.chunk(3, -1)
        rates, taxes = (0.2 * action.tanh()).chunk(2, -1)
        level = level + 0.1 * inflation + taxes + 0.02 * random[..., :1]
        inflation = inflation - anchor * (inflation - 0.1) + rates + 0.02 * random[..., 1:2]
        return torch.cat((level, inflation, time + 0.1), -1)

    return step


def _at_any_time(shape: Shape, generator: torch.Generator) -> Tensor:
    levels = blocks.normal(0.6, 2)(shape, generator)
    return torch.cat((levels, blocks.uniform(1.0, 1)(shape, generator)), -1)


PRICE_PATH = replace(
    LIGHT,
    name="price_path",
    cause="affine",
    group="affine",
    num_tasks=7,
    dim_action=2,
    tasks=each(-0.7, 0.7, 2),
    start=_at_any_time,
    behaviour=blocks.normal(1.0, 2),
    step=price_level(0.0),
    reward=inherited(
        _TRENDS,
        hills([0.3, 0.2, -0.3], [-0.5, 0.6, 0.5], [0.1, -0.7, 1.0], [0.8, 0.3, 1.2], width=0.6),
        (0, 1),
    ),
    generators=_TRENDS,
    action_generators=still(2, 2, 2),
    coordinates=relative(0, 1),
    max_steps=15,
)
"""Paths of prices that are wanted: every task has a level and a trend of its own."""

# Abundance of prey and predators of two ponds, in logarithms: each pond has its own unit.
_PONDS = torch.zeros(2, 5, 5, dtype=torch.float64)
_PONDS[0, :2, 4] = _PONDS[1, 2:4, 4] = 1.0


def ponds(crowding: float) -> Step:
    """Predators take what their ratio to prey allows, and spoil the other pond's prey with it.

    Crowding is at an abundance, not at a ratio.
    """

    def step(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
        first, second = state.chunk(2, -1)
        ratio = torch.cat([pond[..., :1] - pond[..., 1:] for pond in (first, second)], -1)
        prey = 0.1 - 0.2 * torch.sigmoid(-2 * ratio) - 0.1 * torch.tanh(ratio.flip(-1))
        predators = 0.6 * torch.sigmoid(2 * ratio) - 0.3
        grown = torch.stack((prey, predators), -1).flatten(-2)
        crowded = crowding * (1 - state.clamp_max(3.0).exp())
        return state + grown + crowded + 0.2 * action.tanh() + 0.03 * random

    return step


FOOD_WEBS = replace(
    LIGHT,
    name="food_webs",
    cause="affine",
    group="affine",
    num_tasks=7,
    dim_state=4,
    dim_action=4,
    tasks=table(each(-0.7, 0.7, 2), each(0.5, 2.0), each(-1.0, 1.0)),
    start=blocks.normal(0.7, 4),
    behaviour=blocks.normal(1.0, 4),
    step=ponds(0.0),
    reward=graded(
        inherited(
            _PONDS,
            hills(
                [0.5, 0.1, 0.2, -0.4],
                [-0.4, 0.6, 0.5, 0.3],
                [0.1, -0.7, -0.3, 0.5],
                [-0.5, -0.2, 0.6, -0.5],
                [0.4, 0.5, -0.7, 0.1],
                width=1.0,
            ),
            (0, 1),
        ),
        2,
    ),
    generators=_PONDS,
    action_generators=still(2, 4, 4),
    coordinates=relative(0, 1),
    max_steps=15,
)
"""Two ponds, in which only ratios matter."""

_SIMILAR = torch.cat((CROSS, torch.eye(3, dtype=torch.float64)[None]))


def _magnified(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """Steps that are as much longer as one is further away."""
    far = state.norm(dim=-1, keepdim=True)
    return 0.95 * state + 0.2 * far * bound_disc(action, 1.5) + 0.03 * far * random


FRESH_ECONOMY = (
    replace(
        LIGHT,
        name="queues",
        cause="noncompact",
        num_tasks=5,
        tasks=spread(-0.6, 0.6),
        start=lambda shape, generator: blocks.normal(0.8, 3)(shape, generator).abs(),
        behaviour=_working,
        step=_tandem,
        reward=inherited(
            torch.eye(2, dtype=torch.float64)[None],
            hills([0.3, 0.5], [0.9, 0.2], [0.7, 1.2], width=0.4),
            sees=2,
        ),
        generators=torch.eye(3, dtype=torch.float64)[None],
        action_generators=torch.eye(3, dtype=torch.float64)[None],
    ),
    PRICE_PATH,
    FOOD_WEBS,
    replace(
        LIGHT,
        name="magnified",
        cause="noncompact",
        num_tasks=8,
        tasks=table(each(-0.7, 0.7, 3), spread(-0.4, 0.4)),
        start=blocks.normal(0.7, 3),
        step=_magnified,
        reward=inherited(
            _SIMILAR,
            hills(
                [0.7, 0.2, -0.3], [-0.5, 0.6, 0.2], [0.1, -0.7, 0.5], [-0.2, -0.3, -0.8], width=0.5
            ),
            (0, 1, 2, 3),
        ),
        generators=_SIMILAR,
        action_generators=torch.cat((CROSS, still(1, 3, 3))),
        coordinates=between(_SIMILAR),
        max_steps=20,
    ),
)
