"""Negative: rewards that curves relate, and worlds that have scales and places.

Rewards of several bells fix an element to what is stated, as nothing linear keeps their places, so
that only the dynamics are left to ask; elsewhere the comment says what rewards leave open.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from hgm.envs.bank import blocks
from hgm.envs.bank.base import NEVER_FOUND
from hgm.envs.bank.blocks import angles, goal, relative, shared, spread, table, unit
from hgm.envs.bank.fields import numbers, vectors
from hgm.envs.bank.fresh_circuits import (
    THERMOSTATS,
    THREE_PHASE,
    WAVES,
    exchanged,
    grid,
    rooms,
)
from hgm.envs.bank.fresh_economy import FOOD_WEBS, PRICE_PATH, ponds, price_level
from hgm.envs.bank.fresh_light import LIGHT, PLATES, hills, inherited, plate, still
from hgm.envs.bank.more_rewards import marks
from hgm.envs.point import bound_box, bound_disc

BROKEN = replace(LIGHT, cause="dynamics", verdicts=NEVER_FOUND)
PLANE = replace(
    BROKEN, dim_state=2, dim_action=2, num_tasks=5, behaviour=blocks.normal(1.0, 2), max_steps=20
)


def _log_ratio(tasks: Tensor) -> Tensor:
    """Logarithms of the base task's column 0 over the others'."""
    return torch.log(tasks[:1, :1] / tasks[:, :1])


_TONES = hills([0.6, 0.2], [-0.6, 0.4], [0.0, -0.7], width=0.4)


def _exposed(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    return state * torch.exp(0.2 * action.tanh() + 0.03 * random)


def _attenuated(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """A reflection coefficient behind an attenuator and a line: a complex number times another."""
    (wave,), (noise,) = numbers(state), numbers(random)
    gain, line = action.tanh().unbind(-1)
    return vectors(wave * torch.exp(0.12 * gain + 0.3j * line) * (1 + 0.02 * noise))


def _matched(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """Reflection, in power and up to an increasing map, that is left with a task's impedance."""
    (wave,), (match,) = numbers(following), numbers(goal(task))
    left = (wave - match).abs().square()
    return -left / (left + (1 - match.conj().resolve_conj() * wave).abs().square())


def _conformal() -> Tensor:
    return torch.cat((blocks.spin(2, 0), torch.eye(2, dtype=torch.float64)[None]))


def _radii_and_angles(tasks: Tensor) -> Tensor:
    return torch.cat((tasks[:, :1] - tasks[:1, :1], -_log_ratio(tasks[:, 1:])), -1)


def _fifths(num: int, generator: torch.Generator) -> Tensor:
    order = torch.randperm(num, generator=generator).double()[:, None]
    return 2 * math.pi * order / 5


def _relays(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """Five rooms, each with a relay that heats it when it is cold, and cools it when it is hot."""
    relays = -0.25 * torch.tanh(6 * state)
    heated = 0.1 * exchanged(state) + relays + 0.5 * bound_disc(action, 1.5)
    return state + heated + 0.05 * random


def _warm_side(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """The wave that goes round the ring once is wanted, with its crest at the task's angle."""
    missed = (following @ WAVES)[..., 1:3] - unit(task[..., :1])
    return torch.exp(-missed.square().sum(-1) / (2 * 0.6**2))


def _outages(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """Steps that mostly fail where they go one way, by a switch that nobody sees; and a meter."""
    x, meter = state[..., :2], state[..., 2:]
    ahead = torch.nn.functional.normalize(action, dim=-1) * unit(task[..., 2:3])
    chance = 0.9 * torch.sigmoid(6 * (ahead.sum(-1, keepdim=True) - 0.2))
    works = torch.special.ndtr(random[..., 2:]) > chance
    moved = 0.95 * x + 0.25 * works * bound_disc(action, 1.0) + 0.03 * random[..., :2]
    return torch.cat((moved, 0.8 * meter + 0.2 * x.square().sum(-1, keepdim=True)), -1)


def _inverter(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    return grid(state, bound_box(action, 0.4), task[..., 1:2], random)


def _premium(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """Expected return, and exposure: what the market pays for it, and what banks call in, ends."""
    gain, exposure = state.chunk(2, -1)
    work, bet = (0.5 * (2 * action).tanh()).chunk(2, -1)
    paid, called = 0.6 * torch.tanh(4 * exposure), 0.3 * torch.tanh(4 * exposure)
    after = (0.6 * gain + paid + work, exposure - called + bet)
    return torch.cat(after, -1) + 0.05 * random


def _averse(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    return following[..., 0] - task[..., 0] * following[..., 1].square()


_SOLID = torch.cat((blocks.spin(4, 0), torch.zeros(1, 4, 4, dtype=torch.float64)))
_SOLID[1, 2, 3] = 1.0


def _gamut(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """Colours, of which dark and bright ones can hardly be dyed."""
    lightness = state[..., 2:]
    dyed = 0.4 * torch.exp(-2 * lightness.square()) * bound_disc(action[..., :2], 1.0)
    after = torch.cat((0.9 * state[..., :2] + dyed, lightness + 0.15 * action[..., 2:].tanh()), -1)
    return after + 0.03 * random


_PHASES = torch.cat((blocks.spin(4, 0), blocks.spin(4, 2)))


def _doubled(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """Light, and light of twice the frequency that a crystal makes of it."""
    one, two = numbers(state)
    (push,) = numbers(0.4 * bound_disc(action, 1.0))
    after = vectors(0.85 * one + push, 0.6 * two + 0.6 * one**2 / (0.5 + one.abs()))
    return after + 0.04 * random


def _chords(num: int, generator: torch.Generator) -> Tensor:
    """Two phases, of which the second is twice the first, and as much as 0.8 rad away."""
    first, away = angles(num, generator), spread(-0.8, 0.8)(num, generator)
    return torch.cat((first, 2 * first + away), -1)


FRESH_BROKEN = (
    # Powers of a signal scale its logarithms. Maps that keep changes by percentages permute and
    # scale coordinates, which shifts logarithms, and leaves places in them as far apart as before.
    replace(
        PLANE,
        name="gamma",
        cause="reward",
        tasks=spread(0.6, 1.7),
        start=lambda shape, generator: blocks.normal(0.6, 2)(shape, generator).exp(),
        step=_exposed,
        reward=lambda state, action, following, task: _TONES(task[..., :1] * following.log()),
        generators=torch.eye(2, dtype=torch.float64)[None],
        action_generators=still(1, 2, 2),
        coordinates=_log_ratio,
    ),
    # Moebius maps of the disc. Level sets are circles, of which each task has other centres, and
    # all have the unit circle: what keeps circles about 0 and that one are turns and reflections.
    replace(
        PLANE,
        name="smith_chart",
        cause="reward",
        num_tasks=7,
        tasks=table(angles, marks(0.2, 0.85, 0.4, 0.7, 0.3, 0.8, 0.55)),
        start=blocks.normal(0.5, 2),
        step=_attenuated,
        reward=_matched,
        generators=_conformal(),
        action_generators=still(2, 2, 2),
        coordinates=_radii_and_angles,
        max_steps=15,
    ),
    # Rewards leave all but the first wave open. Relays are of one room each, and are kept by maps
    # that pass whole rooms on.
    replace(
        THERMOSTATS,
        name="relays",
        cause="finite_order",
        verdicts=NEVER_FOUND,
        num_tasks=5,
        tasks=_fifths,
        step=_relays,
        reward=_warm_side,
    ),
    # A trend that is added would need another anchor.
    replace(
        PRICE_PATH, name="anchored", cause="dynamics", verdicts=NEVER_FOUND, step=price_level(0.1)
    ),
    # What steps come to on average is a disc with a bite: no turn keeps it, and one reflection.
    replace(
        BROKEN,
        name="outages",
        dim_action=2,
        num_tasks=5,
        tasks=table(angles, shared(0.8, 1.2), shared(0.0, 2 * math.pi)),
        start=blocks.normal(0.5, 3),
        behaviour=blocks.normal(1.0, 2),
        step=_outages,
        reward=blocks.cone,
        generators=blocks.spin(3, 0),
        action_generators=blocks.spin(2, 0),
    ),
    # Plates turn backwards where wishes turn forwards. A plate at another angle absorbs something
    # else, and what turns one into the other turns wishes the wrong way.
    replace(
        PLATES,
        name="crossed_plates",
        cause="actuators",
        verdicts=NEVER_FOUND,
        step=plate(-1.0),
    ),
    # One room has a window.
    replace(THERMOSTATS, name="window", cause="dynamics", verdicts=NEVER_FOUND, step=rooms(0.35)),
    # Every phase has its own limit: of voltages, a cube, which only thirds of a turn keep.
    replace(
        THREE_PHASE,
        name="inverter",
        cause="action_set",
        verdicts=NEVER_FOUND,
        behaviour=blocks.uniform(1.0, 3),
        step=_inverter,
    ),
    # Crowds have a size, and exponentials have no other linear maps than the identity.
    replace(FOOD_WEBS, name="crowded", cause="dynamics", verdicts=NEVER_FOUND, step=ponds(0.05)),
    # Rewards leave diag(a, d) with a aversion_0 = d^2 aversion_i; actions and premium saturate, so
    # that dynamics leave a = 1 and d = 1 only.
    replace(
        PLANE,
        name="risk_premium",
        tasks=spread(0.3, 3.0),
        start=blocks.normal(0.8, 2),
        step=_premium,
        reward=_averse,
        generators=torch.eye(2, dtype=torch.float64)[None],
        action_generators=torch.eye(2, dtype=torch.float64)[None],
        coordinates=_log_ratio,
    ),
    # Hues can be turned. Lightness cannot be shifted: how far dyes go depends on it.
    replace(
        BROKEN,
        name="gamut",
        group="affine",
        num_tasks=7,
        tasks=table(angles, spread(-0.8, 0.8)),
        start=blocks.normal(0.6, 3),
        step=_gamut,
        reward=inherited(
            _SOLID,
            hills([0.7, 0.0, 0.2], [-0.4, 0.6, -0.3], [0.1, -0.6, 0.4], [0.3, 0.5, 0.7], width=0.5),
            (0, 1),
        ),
        generators=_SOLID,
        action_generators=torch.cat((blocks.spin(3, 0), still(1, 3, 3))),
        coordinates=relative(0, 1),
    ),
    # The crystal keeps turns at 1 : 2, and phases that are wanted are not at that ratio.
    replace(
        BROKEN,
        name="detuned",
        num_tasks=7,
        dim_state=4,
        dim_action=2,
        tasks=_chords,
        start=blocks.normal(0.6, 4),
        behaviour=blocks.normal(1.0, 2),
        step=_doubled,
        reward=inherited(
            _PHASES,
            hills(
                [0.7, 0.1, 0.2, -0.4],
                [-0.3, 0.6, 0.5, 0.3],
                [0.0, -0.7, -0.3, 0.5],
                [-0.5, -0.2, 0.6, -0.5],
                [0.4, 0.5, -0.7, 0.1],
                width=0.7,
            ),
            (0, 1),
        ),
        generators=_PHASES,
        action_generators=torch.cat((blocks.spin(2, 0), still(1, 2, 2))),
        coordinates=relative(0, 1),
    ),
)
