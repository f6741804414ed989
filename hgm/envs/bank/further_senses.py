"""Positive: hearing aids, loudspeakers all round, and cameras in any light."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from hgm.envs.bank import blocks
from hgm.envs.bank.base import Shape, Step
from hgm.envs.bank.blocks import each, relative, spread, table
from hgm.envs.bank.fresh_light import CROSS, between, hills, inherited, still
from hgm.envs.bank.later_vehicles import CRAFT, effort, shifts
from hgm.envs.point import bound_disc


def hearing(limit: float) -> Step:
    """Decibels above 60 of speech, of a din, and of what an aid puts out: louder, and farther off.

    Args:
        limit: Share of what it puts out above 63 decibels that a limiter takes away.
    """

    def step(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
        speech, din, out = state.split(1, -1)
        louder, nearer = action.tanh().split(1, -1)
        clear = torch.tanh((speech - din) / 8)
        moved = out + 0.5 * (speech + 10 * louder + 5 * clear - out)
        after = (
            speech + 0.2 * (din + 6 - speech) + 1.5 * nearer,
            din + 2.5 * nearer,
            moved - limit * torch.relu(moved - 3),
        )
        return torch.cat(after, -1) + 0.8 * random

    return step


def _loud(shape: Shape, generator: torch.Generator) -> Tensor:
    return blocks.normal(12.0, 1)(shape, generator) + blocks.normal(6.0, 3)(shape, generator)


def _comfortable(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """A level from so many decibels on is wanted, not too much of it, and less of a din."""
    above = (following[..., 2] - task[..., 0]) / 4
    heard = torch.sigmoid(above) * torch.sigmoid(3 - above)
    return heard + 0.3 * torch.tanh((following[..., 2] - following[..., 1]) / 10)


HEARING_AID = replace(
    CRAFT,
    name="hearing_aid",
    cause="affine",
    group="affine",
    num_tasks=4,
    dim_state=3,
    tasks=spread(-13.0, 9.0),
    start=_loud,
    step=hearing(0.0),
    reward=blocks.plus(_comfortable, effort(0.03)),
    generators=shifts(3, (0, 1, 2)),
    action_generators=still(1, 2, 2),
    reward_noise=0.03,
    max_steps=20,
)
"""Ears that are deaf to other levels."""


def surround(floor: bool) -> Step:
    """Velocity of air in the middle of a room, and sound that its walls return.

    Args:
        floor: Whether there are no loudspeakers below.
    """

    def step(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
        air, echo = state.split((3, 1), -1)
        if floor:
            action = torch.cat((action[..., :2], action[..., 2:].clamp_min(0)), -1)
        push = bound_disc(action, 1.6)
        power = air.square().sum(-1, keepdim=True)
        along = (air * push).sum(-1, keepdim=True) / (1 + power)
        after = (
            0.8 * air + 0.3 * push + 0.25 * echo * air / (1 + power),
            0.7 * echo + 0.4 * power / (1 + power) + 0.3 * along,
        )
        return torch.cat(after, -1) + 0.03 * random

    return step


_SOURCES = hills(
    [0.8, 0.1, -0.2], [-0.4, 0.6, 0.4], [0.2, -0.8, 0.3], [-0.3, -0.2, -0.7], width=0.5
)

AMBISONICS = replace(
    CRAFT,
    name="ambisonics",
    cause="sphere",
    num_tasks=7,
    dim_state=4,
    dim_action=3,
    tasks=each(-0.8, 0.8, 3),
    start=blocks.beside(blocks.normal(0.6, 3), blocks.normal(0.4, 1)),
    behaviour=blocks.normal(1.0, 3),
    step=surround(False),
    reward=blocks.plus(
        inherited(CROSS, _SOURCES, (0, 1, 2), sees=3),
        lambda state, action, following, task: -0.2 * following[..., 3].square(),
    ),
    generators=torch.nn.functional.pad(CROSS, (0, 1, 0, 1)),
    action_generators=CROSS,
    coordinates=between(CROSS),
    max_steps=60,
)
"""Listeners who hold their heads their own ways, for whom sound is to come from some sides."""


def _exposed(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """Stops of aperture, of shutter and of light: two rings, a lamp, and an automatic camera."""
    aperture, shutter, light = state.split(1, -1)
    first, second, lamp = action.tanh().split(1, -1)
    over = torch.tanh(light - aperture - shutter)
    after = (
        aperture + 0.4 * first + 0.15 * over,
        shutter + 0.4 * second + 0.3 * over,
        light + 0.5 * lamp - 0.2 * over,
    )
    return torch.cat(after, -1) + 0.08 * random


def _stops(shape: Shape, generator: torch.Generator) -> Tensor:
    aperture, shutter, over = blocks.normal(1.0, 3)(shape, generator).split(1, -1)
    return torch.cat((1.3 * aperture, 1.3 * shutter, 1.3 * (aperture + shutter) + over), -1)


def _picture(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """A depth of field is wanted, a shutter that is fast enough, and the right exposure."""
    aperture, shutter, light = following.unbind(-1)
    deep, fast = aperture - task[..., 0], shutter - task[..., 1]
    sharp = 1 / (1 + deep.square()) + 0.7 * torch.sigmoid(3 * fast)
    return sharp - 0.25 * (light - aperture - shutter).abs() - 0.1 * fast.square()


EXPOSURE = replace(
    CRAFT,
    name="exposure",
    cause="affine",
    group="affine",
    num_tasks=6,
    dim_state=3,
    dim_action=3,
    tasks=table(spread(-1.4, 1.4), spread(-1.4, 1.4)),
    start=_stops,
    behaviour=blocks.normal(1.0, 3),
    step=_exposed,
    reward=_picture,
    generators=shifts(3, (0, 2), (1, 2)),
    action_generators=still(2, 3, 3),
    coordinates=relative(0, 1),
    max_steps=20,
)
"""Portraits, landscapes and races, each with an aperture and a shutter that suit it."""

FURTHER_SENSES = (HEARING_AID, AMBISONICS, EXPOSURE)
