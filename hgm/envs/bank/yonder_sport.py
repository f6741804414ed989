"""Positive: a hammer on its wire, a ball with spin, and sculls on rivers that flow."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from hgm.envs.bank import blocks
from hgm.envs.bank.base import Shape, Step
from hgm.envs.bank.blocks import angles, each, spread, table, turn, unit
from hgm.envs.bank.fresh_light import still, tensor
from hgm.envs.bank.later_vehicles import CRAFT, effort
from hgm.envs.point import bound_disc


def _swung(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """A hammer seen from its thrower, its velocity, and feet seen from the middle of a circle.

    A wire only pulls, and its pull moves the feet.
    """
    hammer, speed, feet = state.split(2, -1)
    length = hammer.norm(dim=-1, keepdim=True).clamp_min(1e-3)
    wire = 3 * torch.nn.functional.softplus((length - 1) / 0.15) * 0.15 * hammer / length
    arms = 1.5 * bound_disc(action, 1.3) + 0.5 * turn(hammer, torch.pi / 2)
    faster = 0.85 * speed + 0.3 * (arms - wire)
    after = (hammer + 0.3 * faster, faster, 0.85 * feet + 0.12 * wire - 0.05 * arms)
    return torch.cat(after, -1) + 0.03 * random


def _released(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """Speed into a sector counts from a mark on, if feet are within; and so does a free swing."""
    hammer, speed, feet = following.split(2, -1)
    along = (speed * unit(task[..., :1])).sum(-1)
    within = torch.sigmoid((0.45 - feet.norm(dim=-1)) / 0.1)
    swing = torch.tanh((hammer * unit(task[..., :1] - 1.3)).sum(-1))
    return (torch.nn.functional.softplus(4 * along - 1) / 4) * within + 0.25 * swing


HAMMER_THROW = replace(
    CRAFT,
    name="hammer_throw",
    num_tasks=5,
    dim_state=6,
    tasks=angles,
    start=blocks.beside(blocks.normal(0.7, 4), blocks.normal(0.3, 2)),
    step=_swung,
    reward=blocks.plus(_released, effort(0.03)),
    generators=blocks.spin(6, 0, 2, 4),
    action_generators=blocks.spin(2, 0),
    reward_noise=0.02,
    max_steps=50,
)
"""Stadiums whose sector lies any way from the circle."""

_WEIGHT = tensor([0.0, 0.0, -0.5])


def _stroked(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """Velocity and spin of a ball above a robot's bat: a push, and how much it brushes upwards.

    Air drags by the square, and spin bends the flight.
    """
    speed, spin = state.chunk(2, -1)
    push, brush = bound_disc(action[..., :3], 1.5), action[..., 3:].tanh()
    bend = torch.linalg.cross(spin, speed) / (1 + 0.2 * spin.square().sum(-1, keepdim=True))
    drag = 0.4 * speed * (0.05 + speed.square().sum(-1, keepdim=True)).sqrt()
    brushed = turn(push[..., :2], torch.pi / 2) * (0.3 + brush)
    after = (
        speed + 0.35 * (push + 0.7 * bend - drag + _WEIGHT),
        0.88 * spin + 0.35 * torch.nn.functional.pad(brushed, (0, 1)),
    )
    side = 0.15 * torch.linalg.cross(speed, push)
    return torch.cat((after[0], after[1] + side), -1) + 0.03 * random


def _rally(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """A ball is wanted towards a corner, the more so with top spin, and as high as a net."""
    speed, spin = following.chunk(2, -1)
    along = (speed[..., :2] * unit(task[..., :1])).sum(-1)
    top = (spin[..., :2] * unit(task[..., :1] + torch.pi / 2)).sum(-1)
    fast = torch.sigmoid(3 * (along - 0.3))
    return fast * (0.5 + torch.sigmoid(3 * top)) - 0.15 * (speed[..., 2] - 0.2).square()


TOPSPIN = replace(
    CRAFT,
    name="topspin",
    cause="axis",
    num_tasks=5,
    dim_state=6,
    dim_action=4,
    tasks=table(angles, each(-0.7, 0.7, 3)),
    start=blocks.normal(0.6, 6),
    behaviour=blocks.normal(1.0, 4),
    step=_stroked,
    reward=_rally,
    generators=blocks.spin(6, 0, 3),
    action_generators=blocks.spin(4, 0),
    reward_noise=0.02,
    max_steps=40,
)
"""A robot that plays balls to corners all round it."""

_STREAM = still(1, 5, 5)
_STREAM[0, 1, 0] = _STREAM[0, 2, 4] = 1.0
"""Whoever drifts with a stream is as much farther on as time has passed, and faster by it."""


def rowed(weir: float) -> Step:
    """Time, metres past a post, speed over the ground, and tired arms; a stroke long or strong.

    Times are in tens of seconds, and places in tens of metres. Water drags by the square of the
    speed through it, and a stream is column 0 of the tasks.

    Args:
        weir: How much water pulls past the post, where there is a weir.
    """

    def step(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
        time, place, speed, tired = state.split(1, -1)
        strong, long = action.tanh().split(1, -1)
        pace = 0.3 * torch.exp(0.5 * long + 0.05 * random[..., :1])
        through = speed - task[..., :1]
        drag = through * (0.05 + through.square()).sqrt()
        force = 1.2 * strong * torch.exp(-0.4 * tired) - drag
        pull = weir * torch.sigmoid((place - 0.3) / 0.2)
        after = (
            time + pace,
            place + pace * speed + 0.04 * random[..., 1:2],
            speed + pace * (force + pull) + 0.04 * random[..., 2:3],
            0.8 * tired + 0.4 * strong / (1 + 0.5 * long) + 0.04 * random[..., 3:],
        )
        return torch.cat(after, -1)

    return step


def _fanned(shape: Shape, generator: torch.Generator) -> Tensor:
    time = 1.5 + blocks.uniform(1.5, 1)(shape, generator)
    place, fan, speed, tired = blocks.normal(1.0, 4)(shape, generator).split(1, -1)
    return torch.cat((time, 0.9 * place + 0.8 * fan * time, 1.0 * speed, 0.6 * tired), -1)


def _buoy(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """A buoy that drifts is to be reached, soon, fast through the water, and not too tired."""
    time, place, speed, tired = following.unbind(-1)
    missed = (place - task[..., 0] * time - 0.4) / 0.9
    soon = 0.3 + torch.sigmoid((2.5 - time) / 0.5)
    fast = 0.3 * torch.tanh(speed - task[..., 0])
    return soon / (1 + missed.square()) + fast - 0.15 * tired.square()


SCULLS = replace(
    CRAFT,
    name="sculls",
    cause="affine",
    group="affine",
    num_tasks=4,
    dim_state=4,
    tasks=spread(-0.6, 0.6),
    start=_fanned,
    step=rowed(0.0),
    reward=_buoy,
    generators=_STREAM,
    action_generators=still(1, 2, 2),
    reward_noise=0.02,
    max_steps=8,
)
"""Sculls that chase a buoy down rivers of other streams, seen from the bank."""

YONDER_SPORT = (HAMMER_THROW, TOPSPIN, SCULLS)
