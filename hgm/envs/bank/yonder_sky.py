"""Positive: a parafoil in wind that veers, and coils that turn a satellite in the earth's field."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from hgm import lie
from hgm.envs.bank import blocks
from hgm.envs.bank.base import Shape, Step
from hgm.envs.bank.blocks import angles, each, goal, shared, table, turn
from hgm.envs.bank.fresh_light import CROSS, between, graded, hills, inherited, tensor
from hgm.envs.bank.later_vehicles import CRAFT, effort
from hgm.envs.point import bound_disc


def _glided(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """Hectometres from a beacon, velocity through the air, and wind: one brake more, or both.

    Turns cost height, and are wider in a fast glide.
    """
    place, air, wind = state.split(2, -1)
    both, differ = action.tanh().split(1, -1)
    fast = air.square().sum(-1, keepdim=True)
    level = (1 - fast) / (1 + fast)
    after = (
        place + 0.35 * (air + wind),
        turn(air, 0.9 * differ / (1 + 0.3 * fast)) * (1 + 0.3 * level - 0.25 * both),
        0.88 * turn(wind, 0.6 / (1 + place.square().sum(-1, keepdim=True) / 4)),
    )
    return torch.cat(after, -1) + tensor([0.05, 0.05, 0.05, 0.05, 0.12, 0.12]) * random


def _dropped(shape: Shape, generator: torch.Generator) -> Tensor:
    draws = (blocks.normal(1.6, 2), blocks.normal(0.7, 2), blocks.normal(0.45, 2))
    return blocks.beside(*draws)(shape, generator)


def _landing(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """A meadow is wanted, all of it alike, and that a glide is into the wind; the more so there."""
    place, air, wind = following.split(2, -1)
    over = torch.sigmoid((1.1 - (place - goal(task)).norm(dim=-1)) / 0.35)
    against = torch.sigmoid(-4 * (air * wind).sum(-1))
    return over * (0.4 + against) + 0.15 * against


PARAFOIL = replace(
    CRAFT,
    name="parafoil",
    num_tasks=4,
    dim_state=6,
    tasks=table(angles, shared(1.2, 1.6)),
    start=_dropped,
    step=_glided,
    reward=blocks.plus(_landing, effort(0.01)),
    generators=blocks.spin(6, 0, 2, 4),
    action_generators=torch.zeros(1, 2, 2, dtype=torch.float64),
    reward_noise=0.01,
    max_steps=20,
)
"""A parafoil over flat land, and meadows to any side of a beacon."""

_BODY = torch.stack([torch.block_diag(one, one) for one in CROSS])


def detumbled(inertia: tuple[float, float, float]) -> Step:
    """The earth's field in the axes of a satellite, and rates at which it turns; three coils.

    Args:
        inertia: Moments about its axes, which are equal of a ball.
    """

    def step(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
        field, rate = state.chunk(2, -1)
        moments = tensor([*inertia])
        coils = 0.7 * bound_disc(action, 1.3)
        torque = torch.linalg.cross(coils, field)
        eddies = torch.linalg.cross(field, torch.linalg.cross(field, rate))
        tumble = torch.linalg.cross(moments * rate, rate) / (
            1 + rate.square().sum(-1, keepdim=True)
        )
        turned = lie.exp(lie.hat(-0.4 * rate, CROSS)) @ field[..., None]
        pull = (torque + 0.3 * eddies / (1 + field.square().sum(-1, keepdim=True)) + tumble) * 0.6
        after = torch.cat((0.97 * turned[..., 0], 0.95 * rate + pull / moments), -1)
        return after + tensor([0.1] * 3 + [0.05] * 3) * random

    return step


MAGNETORQUER = replace(
    CRAFT,
    name="magnetorquer",
    cause="sphere",
    num_tasks=6,
    dim_state=6,
    dim_action=3,
    tasks=table(each(-0.8, 0.8, 3), each(0.5, 2.0), each(-1.0, 1.0)),
    start=blocks.normal(0.6, 6),
    behaviour=blocks.normal(1.0, 3),
    step=detumbled((1.0, 1.0, 1.0)),
    reward=graded(
        blocks.plus(
            inherited(
                CROSS,
                hills([0.6, 0.3, -0.3], [-0.5, 0.5, 0.3], [0.2, -0.6, 0.5], width=0.5),
                (0, 1, 2),
                sees=3,
            ),
            lambda state, action, following, task: -0.15 * following[..., 3:].square().sum(-1),
        ),
        3,
    ),
    generators=_BODY,
    action_generators=CROSS,
    coordinates=between(_BODY),
    max_steps=40,
)
"""A ball of a satellite, with antennas in any pose, which the field is to lie along."""

YONDER_SKY = (PARAFOIL, MAGNETORQUER)
