"""Negative: rewards turn, or shift, and something in the world or in a motor does not.

Rewards fix the elements on what they see, up to reflections in a goal's axis; each comment says why
nothing linear, with a linear map of actions, lets the dynamics follow.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from hgm.envs.bank import blocks
from hgm.envs.bank.base import NEVER_FOUND, Shape
from hgm.envs.bank.blocks import distance, of_distance, spread, table, turn, unit, walk
from hgm.envs.bank.broken_rewards import ANY_ANGLE
from hgm.envs.bank.goals import CIRCLE
from hgm.envs.bank.machines import BODY, DOT
from hgm.envs.bank.spaces import DUET
from hgm.envs.bank.unseen_surroundings import THERMOSTAT, house

PLACE = replace(
    DOT,
    cause="dynamics",
    verdicts=NEVER_FOUND,
    num_tasks=5,
    start=blocks.normal(0.6, 2),
    reward=of_distance(lambda far: -torch.log(0.1 + far.square())),
    max_steps=25,
)


def _on_top(shape: Shape, generator: torch.Generator) -> Tensor:
    angle = blocks.uniform(math.pi, 1)(shape, generator)
    return torch.cat((unit(angle), blocks.normal(0.6, 1)(shape, generator)), -1)


def pendulum(weight: float) -> blocks.Step:
    """Cosine and sine of an angle, and its rate, which a torque and a weight change."""

    def step(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
        arm, rate = state[..., :2], state[..., 2:]
        faster = 0.9 * rate + 0.3 * action.tanh() - weight * arm[..., 1:] + 0.02 * random[..., 2:]
        return torch.cat((turn(arm, 0.4 * rate), faster), -1)

    return step


def _upright(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """The arm is wanted at the task's angle, at rest."""
    along = (following[..., :2] * unit(task[..., :1])).sum(-1)
    return torch.exp(1.5 * (along - 1)) - 0.1 * following[..., 2].square()


SWING = replace(
    BODY,
    name="swing_up",
    cause="dynamics",
    verdicts=NEVER_FOUND,
    num_tasks=5,
    dim_state=3,
    dim_action=1,
    tasks=blocks.angles,
    start=_on_top,
    behaviour=blocks.normal(1.0, 1),
    step=pendulum(0.15),
    reward=_upright,
    generators=blocks.spin(3, 0),
    action_generators=torch.zeros(1, 1, 1, dtype=torch.float64),
    max_steps=30,
)
"""A pendulum that is to be held at an angle."""


def _late_valve(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """What moves a point along the second axis was asked for a step before."""
    x, last, push = 0.95 * state[..., :2], state[..., 2:], blocks.disc(action)
    moved = x + torch.cat((push[..., :1], last), -1) + 0.02 * random[..., :2]
    return torch.cat((moved, push[..., 1:]), -1)


_RAILS = torch.tensor([[1.0, 0.5], [0.0, math.sqrt(0.75)]], dtype=torch.float64)
"""Columns: directions of two motors, at sixty degrees."""


def _oblique(state: Tensor, action: Tensor, task: Tensor) -> Tensor:
    """Each of two motors has a largest step of its own."""
    return action.clamp(-blocks.MAX_ACTION, blocks.MAX_ACTION) @ _RAILS.T - 0.05 * state


def _chequered(state: Tensor, action: Tensor, task: Tensor) -> Tensor:
    """Squares of half a unit, firm and soft in turns: on soft ones steps are a third as long."""
    x, y = (2 * math.pi * turn(state, -task[..., 2:3])).sin().chunk(2, -1)
    return blocks.disc(action) * (1 / 3 + 2 / 3 * torch.sigmoid(12 * x * y))


_BANK = torch.tensor([0.6, 0.8], dtype=torch.float64)
"""The direction that a ferry goes, and gusts blow."""


def _ferry(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """A point, and how far a ferry is along its cable."""
    x, ferry = state[..., :2], state[..., 2:]
    moved = x + blocks.disc(action) + 0.03 * random[..., :2]
    return torch.cat((moved, 0.5 * ferry + 0.4 * random[..., 2:]), -1)


def _off_ferry(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    missed = distance(following[..., :2] - following[..., 2:] * _BANK, task)
    return torch.exp(-missed.square() / (2 * 0.6**2))


_ROUND_FERRY = blocks.spin(3, 0)
_ROUND_FERRY[0, :2, 2] = -_ROUND_FERRY[0, :2, :2] @ _BANK


def _gusts(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """A point, and the strength of gusts, which are as often one way as the other."""
    x, gust = state[..., :2], state[..., 2:]
    moved = 0.95 * x + blocks.disc(action) + 0.12 * gust * _BANK + 0.02 * random[..., :2]
    return torch.cat((moved, 0.8 * gust + 0.3 * random[..., 2:]), -1)


def _dance(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """Two bodies and a spring between them."""
    (one, two), (first, second) = state.chunk(2, -1), action.chunk(2, -1)
    pull = 0.12 * (two - one)
    moves = torch.cat((blocks.disc(first) + pull, blocks.disc(second) - pull), -1)
    return state + moves + 0.03 * random


def _mismatched(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """The second body's goal goes round twice while that of the first goes round once."""
    one, two = following.chunk(2, -1)
    angle = task[..., :1]
    first, second = (one - unit(angle)).norm(dim=-1), (two - unit(2 * angle)).norm(dim=-1)
    return -first - 0.7 * second


UNSEEN_BREAKS = (
    # A torque by weight is a function of the arm that no action undoes; of reflections, which keep
    # it, only that in the vertical is one, and it carries one task into its mirror image alone.
    SWING,
    # Rewards see the position, whose rows are turns R. Of a turned position the first coordinate
    # then owes something to what was asked for a step ago, which no action knows.
    replace(
        PLACE,
        name="late_valve",
        dim_state=3,
        start=blocks.beside(blocks.normal(0.6, 2), blocks.normal(0.06, 1)),
        step=_late_valve,
        generators=blocks.spin(3, 0),
    ),
    # Steps fill a rhombus, which only half a turn and two reflections keep.
    replace(
        PLACE,
        name="oblique_motors",
        cause="action_set",
        behaviour=blocks.normal(0.2, 2),
        step=walk(0.02, _oblique),
        action_generators=torch.linalg.inv(_RAILS) @ blocks.spin(2, 0) @ _RAILS,
    ),
    # A chequered ground is kept by the eight maps of a square.
    replace(PLACE, name="chequered", tasks=table(CIRCLE, ANY_ANGLE), step=walk(0.02, _chequered)),
    # d = x - y e is what rewards see, and turns: L (x, y) = (A x + b y, c y + d.x) with
    # A - e d' = R and b - c e = -R e. Positions that keep what they have, x' = x + a, want
    # b (y' - y) = 0, so b = 0 and c e = R e: then R has the eigenvector e, and is no turn.
    replace(
        PLACE,
        name="ferry",
        dim_state=3,
        start=blocks.beside(blocks.normal(0.6, 2), blocks.normal(0.5, 1)),
        step=_ferry,
        reward=_off_ferry,
        generators=_ROUND_FERRY,
    ),
    # Rewards see the position, whose rows are turns R of positions alone; then gusts of strength z
    # along e would have to be R e z for turned positions, and are e times a linear function.
    replace(
        PLACE,
        name="gusts",
        dim_state=3,
        start=blocks.beside(blocks.normal(0.6, 2), blocks.normal(0.5, 1)),
        step=_gusts,
        generators=blocks.spin(3, 0),
    ),
    # Rewards turn the second body twice as far as the first (or reflect either in its goal's axis),
    # and a spring is kept by what does to both the same.
    replace(
        DUET,
        name="mismatched_dance",
        cause="dynamics",
        verdicts=NEVER_FOUND,
        half="reported",
        num_tasks=6,
        start=blocks.normal(0.6, 4),
        step=_dance,
        reward=_mismatched,
        generators=blocks.spin(4, 0, 2, rates=(1.0, 2.0)),
        action_generators=blocks.spin(4, 0, 2, rates=(1.0, 2.0)),
        max_steps=20,
    ),
    # A leak knows how warm it is outdoors. A width of rewards leaves shifts and reflections, and
    # one reflection keeps the outdoors.
    replace(
        THERMOSTAT,
        name="leaky_house",
        cause="dynamics",
        verdicts=NEVER_FOUND,
        tasks=spread(14, 24),
        step=lambda state, action, task, random: house(state, action, 0.2, random),
    ),
)
