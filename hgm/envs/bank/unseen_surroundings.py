"""Positive: units, sensors, obstacles, supplies, and targets that move."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from hgm.envs.bank import blocks
from hgm.envs.bank.base import Shape
from hgm.envs.bank.blocks import distance, goal, of_distance, spread, turn, walk
from hgm.envs.bank.machines import BODY, DOT
from hgm.envs.bank.more_plane import length
from hgm.envs.bank.unseen_motion import STILL
from hgm.envs.point import bound_disc

# Pixels from the top left, of another width than height, and pixels a tenth of a frame.
_PIXELS = torch.tensor([100.0, -75.0, 10.0, -7.5], dtype=torch.float64)
_MIDDLE = torch.tensor([320.0, 240.0, 0.0, 0.0], dtype=torch.float64)
_ON_SCREEN = torch.diag(torch.cat((_PIXELS, _PIXELS.new_ones(1))))
_ON_SCREEN[:4, 4] = _MIDDLE


def _puck(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """A puck on a shallow bowl, which dry friction brings to rest, as a camera sees it."""
    x, v = ((state - _MIDDLE) / _PIXELS).chunk(2, -1)
    pushed = v + 0.3 * bound_disc(action, 1.0) - 0.15 * x + 0.02 * random[..., 2:]
    sliding = pushed * (1 - 0.1 / length(pushed).clamp_min(0.1))
    moved = x + 0.3 * sliding + 0.01 * random[..., :2]
    return _MIDDLE + _PIXELS * torch.cat((moved, sliding), -1)


def _on_screen(shape: Shape, generator: torch.Generator) -> Tensor:
    return _MIDDLE + _PIXELS * blocks.normal(0.6, 4)(shape, generator)


def _spotted(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    x = (following - _MIDDLE) / _PIXELS
    return -torch.log(0.05 + distance(x, task).square())


_WARMER = torch.zeros(1, 3, 3, dtype=torch.float64)
_WARMER[0, 0, 2], _WARMER[0, 1, 2] = 1.0, 1.8


def house(state: Tensor, action: Tensor, leak: float, random: Tensor) -> Tensor:
    """A room in Celsius and its walls in Fahrenheit, both heated; 8 degrees are outdoors."""
    room, wall = state[..., :1], (state[..., 1:] - 32) / 1.8
    between = (wall - room) / (1 + (wall - room).abs() / 5)
    heat = action.tanh() + 0.1 * random
    warmer = room + 0.3 * between + 1.5 * heat[..., :1] - leak * (room - 8)
    return torch.cat((warmer, 32 + 1.8 * (wall - 0.15 * between + heat[..., 1:])), -1)


def _lived_in(shape: Shape, generator: torch.Generator) -> Tensor:
    room = 20 + blocks.uniform(8, 1)(shape, generator)
    return torch.cat((room, 32 + 1.8 * (room + blocks.normal(3.0, 1)(shape, generator))), -1)


def _cosy(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    return torch.exp(-(following[..., 0] - task[..., 0]).square() / (2 * 3.0**2))


THERMOSTAT = replace(
    DOT,
    name="thermostat",
    cause="units",
    num_tasks=5,
    tasks=spread(15, 25),
    start=_lived_in,
    behaviour=blocks.normal(1.0, 2),
    step=lambda state, action, task, random: house(state, action, 0.0, random),
    reward=_cosy,
    generators=_WARMER,
    action_generators=STILL,
    group="affine",
    max_steps=20,
)
"""Differences of temperature drive heat, wherever the scale begins."""


def _radar(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """A point whose distance from the origin is four times as noisy as its way across."""
    outwards = state / length(state).clamp_min(1e-9)
    ranged = (random * outwards).sum(-1, keepdim=True) * outwards
    return 0.95 * state + blocks.disc(action) + 0.08 * ranged + 0.02 * (random - ranged)


def _corridor(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """The further out the better, in a corridor with soft walls."""
    along, across = turn(following, -task[..., :1]).unbind(-1)
    return torch.sigmoid((0.35 - across.abs()) / 0.1) * torch.tanh(1.5 * along)


RADAR = replace(
    DOT,
    name="radar",
    cause="noise",
    num_tasks=5,
    start=blocks.normal(0.6, 2),
    step=_radar,
    reward=_corridor,
    max_steps=25,
)
"""Noise that has a direction, which turns with the place."""


def _island(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """Water round an island: who runs aground slides along the shore."""
    moved = 0.95 * state + blocks.disc(action) + 0.03 * random
    return moved * (0.4 / length(moved).clamp(1e-9, 0.4))


def _at_sea(shape: Shape, generator: torch.Generator) -> Tensor:
    x = blocks.normal(0.7, 2)(shape, generator)
    return x * (0.4 / length(x).clamp(1e-9, 0.4))


def _rings(far: Tensor) -> Tensor:
    """Scores of a target, whose edges are worn."""
    return torch.sigmoid((far.new_tensor([0.3, 0.6, 0.9, 1.2]) - far[..., None]) / 0.06).sum(-1)


_FULL = torch.tensor([0.0, 0.0, 0.0, 0.0, 12.0, 300.0], dtype=torch.float64)


def _battery(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """Position, velocity, volts that thrust uses up and depends on, and a motor's warmth."""
    (x, v), extra = state[..., :4].chunk(2, -1), (state - _FULL)[..., 4:]
    thrust = bound_disc(action, 1.5)
    force = thrust * torch.sigmoid(2 * extra[..., :1]) - 0.5 * v
    volts = 0.9 * extra[..., :1] + 0.2 * (1 - length(thrust)) + 0.05 * random[..., 4:5]
    warmth = 0.8 * extra[..., 1:] + 4 * v.square().sum(-1, keepdim=True) + random[..., 5:]
    moved = torch.cat((x + 0.2 * v, v + 0.3 * force), -1) + 0.01 * random[..., :4]
    return torch.cat((moved, torch.cat((volts, warmth), -1) + _FULL[4:]), -1)


def _charged(shape: Shape, generator: torch.Generator) -> Tensor:
    scale = torch.tensor([0.6, 0.6, 0.6, 0.6, 0.6, 5.0], dtype=torch.float64)
    return _FULL + scale * blocks.normal(1.0, 6)(shape, generator)


def _fuel(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """A well, less fuel, which is proportional to thrust asked for and not to its square."""
    well = torch.exp(-distance(following, task).square() / (2 * 0.6**2))
    return well - 0.2 * action.norm(dim=-1)


def _moon(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """A point, and a target that goes round the origin."""
    x, target = state.chunk(2, -1)
    moved = x + blocks.disc(action) + 0.05 * (target - x) + 0.03 * random[..., :2]
    return torch.cat((moved, turn(target, 0.2) * 0.98 + 0.05 * random[..., 2:]), -1)


def _beside_moon(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """A place beside the target, and no haste: steps above a soft threshold cost."""
    missed = following[..., :2] - following[..., 2:] - goal(task)
    haste = torch.sigmoid((action.norm(dim=-1) - 0.12) / 0.02)
    return torch.exp(-missed.square().sum(-1) / (2 * 0.6**2)) - 0.2 * haste


def _guarded(state: Tensor, action: Tensor, task: Tensor) -> Tensor:
    """A guard stands beside the way to the goal, and pushes whoever comes near."""
    off = state - 0.5 * turn(goal(task), 0.8)
    push = torch.exp(-off.square().sum(-1, keepdim=True) / (2 * 0.3**2))
    return blocks.disc(action) - 0.05 * state + 0.5 * push * off


UNSEEN_SURROUNDINGS = (
    replace(
        BODY,
        name="screen",
        cause="units",
        num_tasks=5,
        start=_on_screen,
        step=_puck,
        reward=_spotted,
        generators=_ON_SCREEN @ blocks.spin(5, 0, 2) @ torch.linalg.inv(_ON_SCREEN),
        group="affine",
        max_steps=30,
    ),
    THERMOSTAT,
    RADAR,
    replace(
        DOT,
        name="island",
        cause="dynamics",
        num_tasks=5,
        start=_at_sea,
        step=_island,
        reward=of_distance(_rings),
        max_steps=30,
    ),
    replace(
        BODY,
        name="battery",
        cause="units",
        num_tasks=5,
        dim_state=6,
        start=_charged,
        step=_battery,
        reward=_fuel,
        generators=blocks.spin(6, 0, 2),
        max_steps=30,
    ),
    replace(
        BODY,
        name="moon",
        cause="product",
        num_tasks=5,
        start=blocks.normal(0.6, 4),
        behaviour=blocks.normal(0.1, 2),
        step=_moon,
        reward=_beside_moon,
        max_steps=30,
    ),
    replace(
        DOT,
        name="guarded",
        cause="heredity",
        num_tasks=6,
        start=blocks.normal(0.6, 2),
        step=walk(0.03, _guarded),
        reward=of_distance(lambda far: torch.exp(-far.square() / (2 * 0.3**2))),
        max_steps=25,
    ),
)
