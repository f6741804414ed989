"""Positive: rates of neurons, memories of colours, and seasons of trade."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from hgm.envs.bank import blocks
from hgm.envs.bank.base import Draw, Shape, Step
from hgm.envs.bank.blocks import angles, each, goal, spread, table, turn, unit
from hgm.envs.bank.fresh_light import graded, still, tensor
from hgm.envs.bank.goals import CIRCLE
from hgm.envs.bank.later_process import sizes
from hgm.envs.bank.later_vehicles import CRAFT, of_state


def _cortex(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """Rates of two groups of neurons, which go with squares of currents, and fatigue."""
    excite, inhibit, tired = state.split(1, -1)
    first, last = action.split(1, -1)
    one, two = excite.sqrt(), inhibit.sqrt()
    up = torch.relu(first + 0.7 * one - 0.5 * two - 0.4 * tired)
    down = torch.relu(last + 0.7 * one - 0.4 * two)
    after = (
        0.5 * excite + 0.5 * up.square(),
        0.4 * inhibit + 0.6 * down.square(),
        0.8 * tired + 0.25 * one,
    )
    return torch.cat(after, -1) * (0.03 * random).exp()


def _awake(shape: Shape, generator: torch.Generator) -> Tensor:
    order, *own = blocks.normal(0.8, 4)(shape, generator).split(1, -1)
    excite, inhibit, tired = (0.5 * one for one in own)
    return torch.cat((order + excite, order + inhibit, 0.5 * order + 0.5 * tired), -1).exp()


def _tuned(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """A rate is wanted, and not too much inhibition for it."""
    excite, inhibit, _ = following.log().unbind(-1)
    missed = (excite - task[..., 0]).abs()
    return 1 / (0.4 + missed) - 0.4 * torch.nn.functional.softplus(inhibit - excite)


_SQUARES = torch.diag(tensor([1.0, 1.0, 0.5]))[None]

CORTEX = replace(
    CRAFT,
    name="cortex",
    cause="units",
    num_tasks=4,
    dim_state=3,
    tasks=table(spread(-0.45, 0.45), each(0.5, 2.0), each(-1.0, 1.0)),
    start=_awake,
    behaviour=lambda shape, generator: sizes(0.4, 2)(shape, generator),
    step=_cortex,
    reward=graded(_tuned, 1),
    generators=_SQUARES,
    action_generators=0.5 * torch.eye(2, dtype=torch.float64)[None],
    max_steps=5,
)
"""A patch of cortex, and stimuli of any contrast."""


def memory(names: float) -> Step:
    """Two remembered colours on a wheel: attention keeps them up, and they repel one another.

    Args:
        names: How strongly colours are drawn to three hues that have a name.
    """

    def step(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
        one, two = state.chunk(2, -1)
        apart = one - two
        pushed = 0.5 * apart * torch.exp(-apart.square().sum(-1, keepdim=True))
        after = [
            1.1 * torch.exp(0.4 * gain.tanh()) * turn(item, pace)
            + sign * pushed
            + names * _named(item)
            for item, gain, pace, sign in (
                (one, action[..., :1], 0.08, 1.0),
                (two, action[..., 1:], -0.12, -0.6),
            )
        ]
        kept = [item / (1 + 0.25 * item.square().sum(-1, keepdim=True)) for item in after]
        return torch.cat(kept, -1) + 0.03 * random

    return step


def _named(item: Tensor) -> Tensor:
    """The square of the conjugate of a complex number, which thirds of a turn keep."""
    x, y = item[..., :1], item[..., 1:]
    return torch.cat((x.square() - y.square(), -2 * x * y), -1)


def _recalled(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """The first item is to be of one hue, the second of another one, and attention is dear."""
    first = torch.sigmoid(4 * ((following[..., :2] * goal(task)).sum(-1) - 0.5))
    last = torch.tanh((following[..., 2:] * unit(task[..., :1] + 1.2)).sum(-1))
    return first + 0.5 * last - 0.1 * action.tanh().sum(-1)


MEMORY = replace(
    CRAFT,
    name="colour_memory",
    cause="product",
    num_tasks=4,
    dim_state=4,
    tasks=CIRCLE,
    start=blocks.normal(0.8, 4),
    step=memory(0.0),
    reward=of_state(_recalled),
    generators=blocks.spin(4, 0, 2),
    action_generators=still(1, 2, 2),
    reward_noise=0.05,
)
"""Colours that are remembered, and reported with any hue."""


def _sold(state: Tensor, action: Tensor, task: Tensor) -> tuple[Tensor, Tensor]:
    """What is made, and what is sold of it and of a stock, ``(..., 1)`` each."""
    made = 0.9 * torch.sigmoid(1.5 * action)
    season = (state[..., :2] * unit(task[..., :1])).sum(-1, keepdim=True)
    return made, torch.minimum(state[..., 2:] + made, torch.exp(0.9 * season - 0.7))


def _traded(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """A day of the year on a circle, and a stock, part of which spoils."""
    made, sold = _sold(state, action, task)
    left = 0.85 * (state[..., 2:] + made - sold) * (0.03 * random[..., 2:]).exp()
    return torch.cat((turn(state[..., :2], 0.4 + 0.1 * random[..., :1]), left), -1)


def stocked(days: float) -> Draw:
    """Stocks on any day within so many radians of one."""

    def draw(shape: Shape, generator: torch.Generator) -> Tensor:
        day = unit(blocks.uniform(days, 1)(shape, generator))
        return torch.cat((day, 0.7 * blocks.normal(0.6, 1)(shape, generator).exp()), -1)

    return draw


def _profit(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """Sales, less work and storage."""
    made, sold = _sold(state, action, task)
    return (sold - 0.4 * made)[..., 0] - 0.15 * following[..., 2]


HEMISPHERES = replace(
    CRAFT,
    name="hemispheres",
    cause="heredity",
    dim_state=3,
    dim_action=1,
    tasks=angles,
    start=stocked(torch.pi),
    behaviour=blocks.normal(1.0, 1),
    step=_traded,
    reward=_profit,
    generators=blocks.spin(3, 0),
    action_generators=still(1, 1, 1),
    max_steps=12,
)
"""Trade in ice cream, in countries where summer is at any time of the year."""

OTHER_MINDS = (CORTEX, MEMORY, HEMISPHERES)
