"""Positive: a game, opinions, a firm and an epidemic, in places and units of their own."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from hgm.envs.bank import blocks
from hgm.envs.bank.base import Shape, Step
from hgm.envs.bank.blocks import relative, spread
from hgm.envs.bank.fresh_light import still, tensor
from hgm.envs.bank.later_process import sizes
from hgm.envs.bank.later_vehicles import CRAFT, effort, shifts


def _platformer(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """Place and speed along a level, height and its rate: one runs, and jumps off the ground."""
    x, v, height, rise = state.split(1, -1)
    run, jump = action.tanh().split(1, -1)
    ground = torch.sigmoid(4 - 20 * height)
    up = rise - 0.3 + ground * torch.relu(1.2 * jump)
    above = height + 0.3 * up
    after = (
        x + 0.3 * v + 0.01 * random[..., :1],
        (0.9 - 0.2 * ground) * v + (0.15 + 0.35 * ground) * run + 0.02 * random[..., 1:2],
        above.clamp_min(0),
        torch.where(above > 0, up, 0.0),
    )
    return torch.cat(after, -1)


def _playing(shape: Shape, generator: torch.Generator) -> Tensor:
    x, v, height, rise = (
        blocks.normal(scale, 1)(shape, generator) for scale in (1.2, 0.5, 0.5, 0.3)
    )
    return torch.cat((x, v, height.clamp_min(0), rise * (height > 0)), -1)


def _flag(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """A flag is wanted, and more for those who touch it further up."""
    missed = (following[..., 0] - task[..., 0]).square()
    return torch.exp(-missed / 2) * (1 + following[..., 2])


def opinions(scale: float | None) -> Step:
    """Opinions of three groups, which listen to those who think nearly alike; two are canvassed.

    Args:
        scale: Largest number that a questionnaire has, of either sign; None: no limit.
    """

    def step(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
        apart = state[..., None, :] - state[..., :, None]
        heard = (apart * torch.exp(-apart.square())).sum(-1)
        told = torch.nn.functional.pad(0.4 * action.tanh(), (0, 1))
        after = state + tensor([0.2, 0.3, 0.4]) * heard + told + 0.02 * random
        return after if scale is None else after.clamp(-scale, scale)

    return step


def polled(shape: Shape, generator: torch.Generator) -> Tensor:
    """Opinions about one that is in the air."""
    return blocks.normal(1.0, 1)(shape, generator) + blocks.normal(0.6, 3)(shape, generator)


def _agreed(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """An opinion is wanted of all, of some groups more, and peace between them."""
    missed = ((following - task).abs() * tensor([0.3, 0.5, 0.2])).sum(-1)
    return -missed - 0.4 * following.var(-1)


OPINIONS = replace(
    CRAFT,
    name="opinions",
    cause="affine",
    group="affine",
    num_tasks=4,
    dim_state=3,
    tasks=spread(-1.2, 1.2),
    start=polled,
    step=opinions(None),
    reward=blocks.plus(_agreed, effort(0.05)),
    generators=shifts(3, (0, 1, 2)),
    action_generators=still(1, 2, 2),
    max_steps=10,
)
"""Campaigns for any opinion on a line."""


def firm(grant: float) -> Step:
    """Cash, debt and capital of a firm, which borrows, and invests what it has.

    Args:
        grant: An amount that everybody is paid.
    """

    def step(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
        cash, debt, capital = state.split(1, -1)
        borrowed, wanted = action.split(1, -1)
        spent = cash * wanted / (cash + wanted)
        returned = 0.3 * cash * debt / (cash + debt)
        after = (
            0.95 * cash + borrowed - 0.7 * spent - 0.7 * returned + 0.15 * capital + grant,
            1.03 * debt + borrowed - 0.7 * returned,
            0.85 * capital + 0.7 * spent,
        )
        return torch.cat(after, -1) * (0.02 * random).exp()

    return step


def _sound(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """A size is wanted, and little debt for it."""
    cash, debt, capital = following.log().unbind(-1)
    return -(capital - task[..., 0]).abs() - 0.4 * torch.nn.functional.softplus(debt - cash)


FIRM = replace(
    CRAFT,
    name="firm",
    cause="units",
    num_tasks=4,
    dim_state=3,
    tasks=spread(-0.5, 0.5),
    start=sizes(0.7, 3),
    behaviour=lambda shape, generator: 0.3 * sizes(0.6, 2)(shape, generator),
    step=firm(0.0),
    reward=_sound,
    generators=torch.eye(3, dtype=torch.float64)[None],
    action_generators=torch.eye(2, dtype=torch.float64)[None],
    max_steps=5,
)
"""Firms in other currencies, and sizes that are wanted of them."""


def epidemic(beds: float | None) -> Step:
    """Those who can fall ill, are ill, and are immune: contacts are cut, and patients cared for.

    Args:
        beds: Number of patients that hospitals can care for; None: as many as there are.
    """

    def step(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
        well, ill, immune = state.split(1, -1)
        contacts, care = action.tanh().split(1, -1)
        caught = (1 - torch.exp(-(1 + 0.8 * contacts) * ill / state.sum(-1, keepdim=True))) * well
        cared = ill if beds is None else ill / (1 + ill / beds)
        healed = 0.4 * (1 + 0.5 * care) * cared
        lost = 0.2 * immune
        after = (well - caught + lost, ill + caught - healed, immune + healed - lost)
        return torch.cat(after, -1) * (0.03 * random).exp()

    return step


def _district(shape: Shape, generator: torch.Generator) -> Tensor:
    people, shares = blocks.normal(0.6, 1)(shape, generator), blocks.normal(0.5, 3)
    return (people + shares(shape, generator)).exp()


def _wards(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """So many patients fill the wards, and more immune people are better."""
    _, ill, immune = (following.log() - task[..., :1]).unbind(-1)
    return -ill.abs() + 0.4 * torch.tanh(immune) - 0.1 * action[..., 0].square()


EPIDEMIC = replace(
    CRAFT,
    name="epidemic",
    cause="noncompact",
    num_tasks=4,
    dim_state=3,
    tasks=spread(-0.7, 0.7),
    start=_district,
    step=epidemic(None),
    reward=_wards,
    generators=torch.eye(3, dtype=torch.float64)[None],
    action_generators=still(1, 2, 2),
    coordinates=relative(0),
    max_steps=10,
)
"""Epidemics in towns and countries of other sizes."""

LATER_SOCIETY = (
    replace(
        CRAFT,
        name="platformer",
        cause="affine",
        group="affine",
        dim_state=4,
        tasks=spread(-1.2, 1.2),
        start=_playing,
        step=_platformer,
        reward=_flag,
        generators=shifts(4, (0,)),
        action_generators=still(1, 2, 2),
        reward_noise=0.02,
        max_steps=20,
    ),
    OPINIONS,
    FIRM,
    EPIDEMIC,
)
