"""Positive: more bodies in the plane, by other mechanisms."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from hgm.envs.bank import blocks
from hgm.envs.bank.base import Shape
from hgm.envs.bank.blocks import distance, each, goal, inertia, of_distance, table, turn, unit, walk
from hgm.envs.bank.goals import CIRCLE, CONE
from hgm.envs.bank.inertia import SLIDER
from hgm.envs.point import bound_disc

POINT = replace(CONE, half="reported")
HEAVY = replace(SLIDER, half="reported")


def length(vectors: Tensor) -> Tensor:
    """Norms ``(..., 1)``."""
    return vectors.norm(dim=-1, keepdim=True)


def dragged(x: Tensor, v: Tensor, action: Tensor, task: Tensor) -> Tensor:
    """Forces within a disc, and drag in squares."""
    return bound_disc(action, 1.5) - v * length(v)


def valley(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """A valley that points from the origin to the goal: three times as steep across as along."""
    along, across = turn(following - goal(task), -task[..., :1]).unbind(-1)
    return -torch.hypot(along, 3 * across)


def _bearing(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    return (unit(task[..., :1]) * following).sum(-1) / (following.norm(dim=-1) + 0.1)


def _tired(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    return -0.5 * torch.tanh(5 * action.norm(dim=-1))


def _stride(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    missed = following - state - 0.1 * unit(task[..., :1])
    return torch.exp(-missed.square().sum(-1) / (2 * 0.07**2))


def _storm(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    return 0.9 * state + blocks.disc(action) + (0.02 + 0.15 * length(state)) * random


def _biased(shape: Shape, generator: torch.Generator) -> Tensor:
    return blocks.normal(0.07, 2)(shape, generator) + torch.tensor([0.06, -0.03])


def _cruise(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    return -(following[..., 2:] - goal(task)).norm(dim=-1)


def _work(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    return -0.3 * (action * state[..., 2:]).sum(-1).abs()


def _heavy_ball(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """Momentum in units in which it is fifty times as large as what it moves."""
    x, momentum = state.chunk(2, -1)
    after = 0.85 * momentum + 40 * blocks.disc(action) + 0.4 * random[..., 2:]
    return torch.cat((x + 0.02 * momentum + 0.01 * random[..., :2], after), -1)


def _mailbox(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """An action is carried out one step after it was given, and is in the state until then."""
    x, before = state.chunk(2, -1)
    return torch.cat((x + blocks.disc(before) + 0.02 * random[..., :2], action), -1)


def hat(x: Tensor, v: Tensor, action: Tensor, task: Tensor) -> Tensor:
    """A potential with a hill at the origin and a round moat, and cubic friction."""
    moat = 2 * x * (1 - x.square().sum(-1, keepdim=True))
    return bound_disc(action, 1.5) + moat - v * v.square().sum(-1, keepdim=True)


def _car(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """Position, heading and speed: it steers only as far as it rolls."""
    x, heading, speed = state.split((2, 2, 1), -1)
    throttle, steering = action.tanh().chunk(2, -1)
    moved = x + 0.1 * speed * heading + 0.01 * random[..., :2]
    return torch.cat((moved, turn(heading, 0.5 * speed * steering), _faster(speed, throttle)), -1)


def _faster(speed: Tensor, throttle: Tensor) -> Tensor:
    return 0.9 * speed + 0.1 + 0.2 * throttle


def _parked(shape: Shape, generator: torch.Generator) -> Tensor:
    heading = unit(blocks.uniform(math.pi, 1)(shape, generator))
    others = blocks.normal(0.5, 3)(shape, generator)
    return torch.cat((others[..., :2], heading, others[..., 2:]), -1)


def _formation(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """Two bodies and a spring that has a length of its own; only the first is driven."""
    one, two = state.chunk(2, -1)
    pull = 0.2 * (two - one) * (1 - 0.6 / (length(two - one) + 0.1))
    return torch.cat((one + blocks.disc(action) + pull, two - pull), -1) + 0.03 * random


def _middle(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    return -(following.unflatten(-1, (2, 2)).mean(-2) - goal(task)).norm(dim=-1)


def _train(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """Three bodies in a row; each follows the one before, and hurries no more when far behind."""
    first, second, third = state.chunk(3, -1)
    gaps = [before - after for before, after in ((first, second), (second, third))]
    moves = [0.4 * gap / (1 + length(gap)) for gap in gaps]
    moved = torch.cat((first + blocks.disc(action), second + moves[0], third + moves[1]), -1)
    return moved + 0.02 * random


def _last(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    return -torch.tanh((following[..., 4:] - goal(task)).norm(dim=-1))


def _nematic(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """A crowd of rods that gives way along them: it is seen by twice the rods' angle."""
    x, rods = state.chunk(2, -1)
    push = blocks.disc(action)
    (c, s), (px, py) = rods.unbind(-1), push.unbind(-1)
    along = torch.stack((c * px + s * py, s * px - c * py), -1)
    moved = x + push + 0.6 * along + 0.03 * random[..., :2]
    return torch.cat((moved, 0.9 * rods + 0.3 * random[..., 2:]), -1)


def _moody(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    moved = state[..., :2] + blocks.disc(action) + 0.05 * random[..., :2]
    return torch.cat((moved, 0.7 * state[..., 2:] + 0.4 * random[..., 2:]), -1)


def _mood(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    return -distance(following, task) * torch.exp(0.5 * following[..., 2])


def _clutter(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """A point, a temperature about 20 degrees, a trace of a millionth, and a chaotic dial."""
    x, warmth, trace, dial = state.split((2, 1, 1, 1), -1)
    moved = x + blocks.disc(action) + 0.05 * random[..., :2]
    warmth = 20 + 0.9 * (warmth - 20) + 1.5 * random[..., 2:3]
    trace = 0.8 * trace + 1e-6 * random[..., 3:4]
    return torch.cat((moved, warmth, trace, torch.sin(2 * dial) + 0.3 * random[..., 4:]), -1)


def _cluttered(shape: Shape, generator: torch.Generator) -> Tensor:
    scale = torch.tensor([0.1, 0.1, 3.0, 1e-6, 1.0], dtype=torch.float64)
    middle = torch.tensor([0.0, 0.0, 20.0, 0.0, 0.0], dtype=torch.float64)
    return middle + scale * blocks.normal(1.0, 5)(shape, generator)


def _furrow(x: Tensor, v: Tensor, action: Tensor, task: Tensor) -> Tensor:
    """Friction that is eight times as large along the goal's direction as across."""
    return bound_disc(action, 1.5) - 0.4 * blocks.stretch(v, task[..., :1], 8.0)


_MIXING = torch.tensor(
    [[1.0, 0.3, -0.8, 0.2], [0.5, -1.0, 0.4, 0.9], [-0.6, 0.7, 1.0, 0.4], [0.3, 0.8, -0.2, 1.0]]
)

MORE_PLANE = (
    replace(POINT, name="valley", num_tasks=3, reward=valley),
    replace(
        POINT,
        name="lighthouse",
        start=blocks.normal(0.8, 2),
        reward=of_distance(lambda far: torch.sigmoid((0.4 - far) / 0.08)),
        max_steps=30,
    ),
    replace(POINT, name="bearing", reward=blocks.plus(_bearing, _tired), max_steps=250),
    replace(POINT, name="stride", num_tasks=6, reward=_stride),
    replace(
        POINT,
        name="progress",
        reward=lambda state, action, following, task: (
            distance(state, task) - distance(following, task)
        ),
    ),
    replace(POINT, name="storm", cause="noise", step=_storm),
    replace(
        POINT,
        name="currencies",
        cause="calibration",
        num_tasks=6,
        tasks=table(CIRCLE, each(0.5, 20.0)),
        reward=lambda state, action, following, task: torch.log1p(
            task[..., 2] * torch.exp(-2 * distance(following, task))
        ),
    ),
    replace(
        POINT,
        name="biased",
        cause="coverage",
        start=blocks.normal(0.4, 2),
        behaviour=_biased,
        step=walk(
            motion=lambda state, action, task: blocks.disc(action) - 0.3 * state * length(state)
        ),
        reward=of_distance(lambda far: torch.exp(-3 * far.square())),
        max_steps=12,
    ),
    replace(HEAVY, name="cruise", cause="reward", step=inertia(dragged), reward=_cruise),
    replace(
        HEAVY,
        name="work",
        cause="action_term",
        step=inertia(dragged),
        reward=blocks.plus(blocks.cone, _work),
    ),
    replace(
        HEAVY,
        name="heavy_ball",
        cause="units",
        start=blocks.beside(blocks.normal(0.3, 2), blocks.normal(5.0, 2)),
        behaviour=blocks.normal(0.1, 2),
        step=_heavy_ball,
        reward=of_distance(lambda far: -torch.log(0.05 + far.square())),
    ),
    replace(
        HEAVY,
        name="mailbox",
        start=blocks.beside(blocks.normal(0.3, 2), blocks.normal(0.1, 2)),
        behaviour=blocks.normal(0.1, 2),
        step=_mailbox,
        reward=of_distance(lambda far: -torch.tanh(2 * far)),
    ),
    replace(
        HEAVY,
        name="hat",
        step=inertia(hat),
        reward=of_distance(lambda far: torch.sigmoid((0.6 - far) / 0.15)),
    ),
    replace(
        HEAVY,
        name="car",
        dim_state=5,
        start=_parked,
        step=_car,
        generators=blocks.spin(5, 0, 2),
        action_generators=torch.zeros(1, 2, 2, dtype=torch.float64),
        max_steps=40,
    ),
    replace(
        HEAVY,
        name="formation",
        cause="product",
        behaviour=blocks.normal(0.1, 2),
        step=_formation,
        reward=_middle,
    ),
    replace(
        HEAVY,
        name="train",
        cause="product",
        dim_state=6,
        num_tasks=8,
        start=blocks.normal(0.5, 6),
        behaviour=blocks.normal(0.1, 2),
        step=_train,
        reward=_last,
        generators=blocks.spin(6, 0, 2, 4),
        max_steps=40,
    ),
    replace(
        HEAVY,
        name="nematic",
        cause="product",
        behaviour=blocks.normal(0.1, 2),
        step=_nematic,
        generators=blocks.spin(4, 0, 2, rates=(1.0, 2.0)),
    ),
    replace(
        POINT,
        name="mood",
        cause="irrelevant",
        dim_state=3,
        start=blocks.beside(blocks.normal(0.1, 2), blocks.normal(0.5, 1)),
        step=_moody,
        reward=_mood,
        generators=blocks.spin(3, 0),
    ),
    blocks.in_chart(
        replace(POINT, dim_state=5, start=_cluttered, step=_clutter, generators=blocks.spin(5, 0)),
        torch.eye(5)[[2, 0, 3, 1, 4]],
        name="clutter",
        cause="irrelevant",
    ),
    replace(HEAVY, name="furrow", cause="heredity", num_tasks=5, step=inertia(_furrow)),
    blocks.in_chart(
        replace(
            HEAVY, step=inertia(dragged), reward=of_distance(lambda far: -torch.log1p(far.square()))
        ),
        _MIXING,
        name="mixed",
        cause="units",
    ),
)
