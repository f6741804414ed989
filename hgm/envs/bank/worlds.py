"""Negative: worlds that have their places, and machines that differ from task to task.

As in :mod:`hgm.envs.bank.more_dynamics`, rewards fix the elements on positions, up to reflections
in a goal; each comment says why nothing linear lets the dynamics follow.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from hgm.envs.bank import blocks
from hgm.envs.bank.base import NEVER_FOUND
from hgm.envs.bank.blocks import inertia, shared, spread, table, turn, unit, walk
from hgm.envs.bank.broken_rewards import ANY_ANGLE
from hgm.envs.bank.fields import CYCLOTRON, magnetic
from hgm.envs.bank.goals import CIRCLE
from hgm.envs.bank.machines import BODY, DOT, TURNED_TWICE
from hgm.envs.bank.more_plane import length
from hgm.envs.bank.more_rewards import marks
from hgm.envs.bank.spaces import ROTATIONS, directions, shortest_turn
from hgm.envs.bank.units import NUMERAIRE, REACTOR, prices, reaction
from hgm.envs.point import bound_box, bound_disc

PLACED = replace(
    DOT,
    cause="dynamics",
    verdicts=NEVER_FOUND,
    num_tasks=5,
    tasks=table(CIRCLE, ANY_ANGLE),
    start=blocks.normal(0.6, 2),
    max_steps=25,
)
PLACED_BODY = replace(BODY, cause="dynamics", verdicts=NEVER_FOUND, num_tasks=5, max_steps=40)


def _belt(state: Tensor, action: Tensor, task: Tensor) -> Tensor:
    """A conveyor belt: a strip beside the origin that moves along."""
    on = (turn(state, -task[..., 2:3])[..., :1] - 0.3).abs() < 0.3
    return blocks.disc(action) + 0.1 * on * unit(task[..., 2:3] + math.pi / 2)


def _ramp(state: Tensor, action: Tensor, task: Tensor) -> Tensor:
    """Uphill, steps have a third of their length, on one side of the origin."""
    push = blocks.disc(action)
    uphill = (push * unit(task[..., 2:3])).sum(-1, keepdim=True).clamp_min(0)
    on = (state * unit(task[..., 2:3])).sum(-1, keepdim=True) > 0
    return push - 0.7 * on * uphill * unit(task[..., 2:3])


def _door(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """A straight wall, which lets nobody pass but through a door."""
    moved = state + blocks.disc(action) + 0.05 * random
    before, after = (turn(one, -task[..., 2:3]) for one in (state, moved))
    through = (before[..., :1] - 0.3) * (after[..., :1] - 0.3) < 0
    return torch.where(through & (after[..., 1:].abs() > 0.2), state, moved)


def _pads(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """A round pad that sends whoever steps on it to another place."""
    moved = state + blocks.disc(action) + 0.05 * random
    pad = 0.5 * unit(task[..., 2:3])
    return torch.where(length(moved - pad) < 0.3, moved - 2.2 * pad, moved)


def crossed(x: Tensor, v: Tensor, action: Tensor, task: Tensor) -> Tensor:
    """A magnetic field, and across it an electric one of the strength of column 2."""
    field = torch.cat((unit(task[..., 3:4]), torch.zeros_like(task[..., :1])), -1)
    return magnetic(x, v, action, task) + task[..., 2:3] * field


def _bungee(x: Tensor, v: Tensor, action: Tensor, task: Tensor) -> Tensor:
    """A rope from a post beside the origin, which pulls when it is taut."""
    off = x - 0.6 * unit(task[..., 2:3])
    taut = (length(off) - 0.4).clamp_min(0) / length(off).clamp_min(1e-6)
    return bound_disc(action, 1.5) - 0.5 * v - 3 * taut * off


def _streets(state: Tensor, action: Tensor, task: Tensor) -> Tensor:
    """Steps whose components add up to a length at most, in a city of straight streets."""
    total = action.abs().sum(-1, keepdim=True)
    return action * (0.1 / total.clamp_min(0.1))


def _turns(order: int) -> blocks.Table:
    """Angles that are a common one plus multiples of a turn's share."""

    def draw(num: int, generator: torch.Generator) -> Tensor:
        rest = table(shared(-3.0, 3.0), shared(0.8, 1.2))(num, generator)
        part = torch.arange(num, dtype=rest.dtype)[:, None] * 2 * math.pi / order
        return torch.cat((rest[:, :1] + part, rest[:, 1:]), -1)

    return draw


def _keel(state: Tensor, action: Tensor, task: Tensor) -> Tensor:
    """A boat in a canal: it drifts back along the second axis only."""
    return blocks.disc(action) * action.new_tensor([1.0, 0.4]) - state * state.new_tensor([0, 0.2])


def _own_gears(state: Tensor, action: Tensor, task: Tensor) -> Tensor:
    push = turn(blocks.disc(action), -task[..., :1])
    return turn(
        push * torch.cat((torch.ones_like(task[..., :1]), task[..., 2:3]), -1), task[..., :1]
    )


def _own_delays(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """The last two actions, of which a task carries out the one of column 2."""
    x, last, before = state.chunk(3, -1)
    carried_out = torch.where(task[..., 2:3] > 0, before, last)
    return torch.cat((x + blocks.disc(carried_out) + 0.02 * random[..., :2], action, last), -1)


def _own_pace(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    x, v = state.chunk(2, -1)
    pace = task[..., 2:3]
    faster = v + pace * (bound_disc(action, 1.5) - v)
    return torch.cat((x + pace * v, faster), -1) + 0.01 * random


def _taxed(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """Prices above 1 are taxed, in whatever currency."""
    levied = 0.2 * torch.sigmoid(8 * (state - 1))
    return prices(state, action, task, random) * (1 - levied)


WORLDS = (
    # A strip, a slope, a wall, a pad, a post have a place: no turn about the origin keeps it, and
    # of reflections at most one does.
    replace(PLACED, name="conveyor_belt", step=walk(motion=_belt)),
    replace(PLACED, name="ramp", step=walk(motion=_ramp)),
    replace(PLACED, name="door", step=_door),
    replace(PLACED, name="teleporter", step=_pads),
    replace(PLACED_BODY, name="bungee", tasks=table(CIRCLE, ANY_ANGLE), step=inertia(_bungee)),
    # The electric field has a direction.
    replace(
        CYCLOTRON,
        name="crossed_fields",
        cause="dynamics",
        verdicts=NEVER_FOUND,
        tasks=table(CIRCLE, shared(0.8, 1.2), ANY_ANGLE),
        step=inertia(crossed),
    ),
    # A square of actions is kept by quarter turns only, which are the tasks'; a cube by no turns of
    # the sphere's other than those of its corners.
    replace(
        PLACED,
        name="streets",
        cause="finite_order",
        num_tasks=4,
        tasks=_turns(4),
        behaviour=blocks.normal(0.2, 2),
        step=walk(0.02, _streets),
    ),
    replace(
        PLACED,
        name="opposite_ends",
        cause="finite_order",
        num_tasks=4,
        tasks=_turns(2),
        step=walk(motion=_keel),
    ),
    replace(
        BODY,
        name="thrusters",
        cause="action_set",
        verdicts=NEVER_FOUND,
        num_tasks=8,
        dim_state=6,
        dim_action=3,
        tasks=directions,
        start=blocks.normal(0.5, 6),
        behaviour=blocks.uniform(1.0, 3),
        step=inertia(lambda x, v, action, task: 3 * bound_box(action, 0.4) - v),
        reward=lambda state, action, following, task: -(following[..., :3] - task).norm(dim=-1),
        generators=TURNED_TWICE,
        action_generators=ROTATIONS,
        coordinates=shortest_turn,
        goals=lambda tasks: torch.cat((tasks, torch.zeros_like(tasks)), -1),
        max_steps=40,
    ),
    # Ellipses of steps that are as long in every task, and not as wide.
    replace(
        PLACED,
        name="own_gears",
        cause="actuators",
        tasks=table(CIRCLE, spread(0.2, 1.0)),
        behaviour=blocks.normal(0.2, 2),
        step=walk(0.03, _own_gears),
    ),
    # What moves a body now would have to be what moves another next, which was not given yet.
    replace(
        PLACED_BODY,
        name="own_delays",
        cause="actuators",
        dim_state=6,
        tasks=table(CIRCLE, marks(0.0, 1.0)),
        start=blocks.beside(blocks.normal(0.5, 2), blocks.normal(0.1, 4)),
        behaviour=blocks.normal(0.1, 2),
        step=_own_delays,
        generators=blocks.spin(6, 0, 2, 4),
    ),
    # Velocities fade at rates that differ: no linear map is between such dynamics.
    replace(
        PLACED_BODY,
        name="own_pace",
        cause="actuators",
        tasks=table(CIRCLE, spread(0.05, 0.45)),
        step=_own_pace,
    ),
    # Rewards leave scalings only, and a tax, or a concentration at which a rate saturates, none.
    replace(NUMERAIRE, name="tax", cause="dynamics", verdicts=NEVER_FOUND, step=_taxed),
    replace(
        REACTOR,
        name="fixed_rates",
        cause="dynamics",
        verdicts=NEVER_FOUND,
        tasks=spread(-1.2, 1.2),
        step=lambda state, action, task, random: reaction(
            state, action, torch.ones_like(task[..., :1]), random
        ),
    ),
)
