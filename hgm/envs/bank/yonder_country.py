"""Positive: fish that are many and small or few and large, bees that dance, and islands."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from hgm.envs.bank import blocks
from hgm.envs.bank.base import Shape, Step
from hgm.envs.bank.blocks import angles, relative, spread, table, unit
from hgm.envs.bank.fields import numbers, vectors
from hgm.envs.bank.fresh_light import still, tensor
from hgm.envs.bank.later_process import sizes
from hgm.envs.bank.later_vehicles import CRAFT, effort
from hgm.envs.bank.novel_fields import bequeathed


def pond(birds: float) -> Step:
    """Thousands of fish, kilograms of each, and milligrams of oxygen: feed, stock, and a paddle.

    They breathe, and crowd one another, by the weight of all of them.

    Args:
        birds: Share, in powers of e, of fish below 800 grams that birds take.
    """

    def step(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
        many, heavy, oxygen = state.split(1, -1)
        feed, stock, paddle = action.tanh().split(1, -1)
        all_of_them = many * heavy
        crowd = all_of_them / (2 + all_of_them)
        air = torch.sigmoid((oxygen - 4) / 1.5)
        caught = birds * torch.sigmoid(-(heavy / 0.8).log() / 0.15)
        after = (
            many * torch.exp(0.3 * stock - 0.2 * crowd + 0.1 - caught + 0.04 * random[..., :1]),
            heavy * torch.exp(0.2 * feed + 0.3 * air - 0.3 * crowd + 0.04 * random[..., 1:2]),
            oxygen + 0.35 * (8 - oxygen) - 3 * crowd + paddle - 0.4 * feed + 0.2 * random[..., 2:],
        )
        return torch.cat(after, -1)

    return step


def _stocked(shape: Shape, generator: torch.Generator) -> Tensor:
    heavy, both, oxygen = blocks.normal(1.0, 3)(shape, generator).split(1, -1)
    heavy = (0.65 * heavy).exp()
    return torch.cat(((0.5 * both + 0.4).exp() / heavy, heavy, 5.5 + 1.5 * oxygen), -1)


def _market(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """Fish sell between weights, of which there is to be much, and are not to gasp."""
    many, heavy, oxygen = following.unbind(-1)
    above = heavy.log() - task[..., 0]
    sold = torch.sigmoid(above / 0.15) * torch.sigmoid((1 - above) / 0.3)
    return sold * torch.tanh(many * heavy / 2) - 0.08 * torch.relu(5 - oxygen)


FISH_POND = replace(
    CRAFT,
    name="fish_pond",
    cause="noncompact",
    num_tasks=4,
    dim_state=3,
    dim_action=3,
    tasks=spread(-0.6, 0.6),
    start=_stocked,
    behaviour=blocks.normal(1.0, 3),
    step=pond(0.0),
    reward=blocks.plus(_market, effort(0.01)),
    generators=torch.diag(tensor([-1.0, 1.0, 0.0]))[None],
    action_generators=still(1, 3, 3),
    coordinates=relative(0),
    max_steps=10,
)
"""Ponds for markets that buy fish of other weights."""


def _danced(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """Ways a bee flies, the sun stands, and a dancer on the comb runs: two turn by themselves.

    A dance is to up what a flight is to the sun, for bees that read it, and that dance it.
    """
    flight, sun, dance = numbers(state)
    (up,) = numbers(unit(task[..., 1:2]))
    own, run = action.tanh().unbind(-1)
    noise = 0.05 * random
    read, told = sun * dance * up.conj(), up * flight * sun.conj()
    after = (
        flight * torch.exp(1j * (0.6 * own + 0.4 * (flight.conj() * read).imag + noise[..., 0])),
        sun * torch.exp(1j * (0.3 + noise[..., 2])),
        dance * torch.exp(1j * (0.6 * run + 0.4 * (dance.conj() * told).imag + noise[..., 4])),
    )
    return vectors(*after)


def _in_the_hive(shape: Shape, generator: torch.Generator) -> Tensor:
    return torch.cat([unit(blocks.uniform(math.pi, 1)(shape, generator)) for _ in range(3)], -1)


def _forage(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """Blossoms are wanted, with the sun aside, by a bee whose dancers run a little left of up."""
    flight, sun, dance = following.split(2, -1)
    there = (flight * unit(task[..., :1])).sum(-1)
    aside = (sun * unit(task[..., :1] + 2)).sum(-1)
    runs = (dance * unit(task[..., 1:2] + 0.6)).sum(-1)
    return torch.exp(there) * (1.2 + 0.7 * runs) + 0.5 * torch.relu(aside) + 0.3 * runs


WAGGLE_DANCE = replace(
    CRAFT,
    name="waggle_dance",
    cause="product",
    num_tasks=6,
    dim_state=6,
    tasks=table(angles, angles),
    start=_in_the_hive,
    step=_danced,
    reward=_forage,
    generators=torch.cat((blocks.spin(6, 0, 2), blocks.spin(6, 4))),
    action_generators=still(2, 2, 2),
    coordinates=relative(0, 1),
    reward_noise=0.05,
    max_steps=30,
)
"""Hives whose blossoms lie any way, with a comb that a camera sees at any angle."""

_SIZE = torch.diag(tensor([0.0, 1.0, 1.0, 1.0]))[None]
_ORDER = torch.diag(tensor([1.0, 1.0, 0.0]))[None]


def _balanced(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """Tenths of a hertz, megawatts made and used, and megawatt hours; engine, battery, and price.

    Of an island of one megawatt. Engines have a ramp, and a governor with a dead band.
    """
    hertz, made, used, stored = state.split(1, -1)
    engine, battery, price = action.split(1, -1)
    drawn = 0.6 * torch.tanh(battery / 0.6) * torch.sigmoid(5 * stored)
    lacks = made + drawn - used
    governor = hertz - torch.tanh(hertz)
    after = (
        0.7 * hertz + 1.2 * torch.tanh(1.2 * lacks),
        made + 0.35 * (used - made) + 0.2 * torch.tanh(2 * (engine - made)) - 0.15 * governor,
        used + 0.2 * (1 + 0.1 * hertz - used) - 0.25 * price.tanh(),
        0.95 * stored - 0.3 * drawn + 0.08,
    )
    return torch.cat(after, -1) + tensor([0.1, 0.03, 0.08, 0.02]) * random


def _dispatched(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """Hertz are wanted, engines run best at one load, and batteries are to be full, and wear."""
    own, battery = following[..., 1:] * torch.exp(-task), action[..., 1] * torch.exp(-task[..., 0])
    steady = torch.exp(-following[..., 0].square() / 2)
    full = torch.sigmoid(4 * (own[..., 2] - 0.3))
    best = torch.exp(-(own[..., 0] - 0.9).square() / (2 * 0.25**2))
    return 0.5 * steady + 0.6 * full + best - 0.2 * torch.log1p(battery.square())


def _running(shape: Shape, generator: torch.Generator) -> Tensor:
    hertz, stored = blocks.normal(1.0, 2)(shape, generator).split(1, -1)
    power = sizes(0.5, 3)(shape, generator)
    return torch.cat((hertz, power[..., :2], (0.3 + 0.3 * stored) * power[..., 2:]), -1)


def _ordered(shape: Shape, generator: torch.Generator) -> Tensor:
    power = sizes(0.7, 2)(shape, generator)
    battery, price = blocks.normal(1.0, 2)(shape, generator).split(1, -1)
    return torch.cat((power[..., :1], 0.7 * battery * power[..., 1:], price), -1)


ISLAND_GRIDS = replace(
    CRAFT,
    name="island_grids",
    cause="heredity",
    num_tasks=4,
    dim_state=4,
    dim_action=3,
    tasks=spread(-0.4, 0.4),
    start=_running,
    behaviour=_ordered,
    step=bequeathed(_balanced, _SIZE, _ORDER, (0,)),
    reward=_dispatched,
    generators=_SIZE,
    action_generators=_ORDER,
    coordinates=relative(0),
    reward_noise=0.02,
    max_steps=50,
)
"""Islands of other sizes, each with an engine and a battery to match."""

YONDER_COUNTRY = (FISH_POND, WAGGLE_DANCE, ISLAND_GRIDS)
