"""Positive: an aeroplane in a hurricane, and a balloon that sees its height twice."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from hgm.envs.bank import blocks
from hgm.envs.bank.base import Reward, Shape, Step
from hgm.envs.bank.blocks import spread, turn, unit
from hgm.envs.bank.fresh_light import still, tensor
from hgm.envs.bank.later_vehicles import CRAFT

_PITCH = 0.3
_SPIRAL = tensor([[_PITCH, -1.0], [1.0, _PITCH]])
_ROUND = torch.block_diag(_SPIRAL, torch.zeros(1, 1, dtype=torch.float64))[None]


def _band(x: Tensor, pitch: Tensor | float) -> Tensor:
    """Phase of points of the plane with regard to spiral bands of a pitch."""
    return torch.atan2(x[..., 1], x[..., 0]) - x.norm(dim=-1).log() / pitch


def _flown(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """Place about the eye of a storm, whose winds are those of its rain bands; a cabin, in F."""
    x, cabin = state.split((2, 1), -1)
    phase = _band(x, _PITCH)[..., None]
    carried = turn(x, 0.4 + 0.3 * phase.sin()) * torch.exp(0.25 * phase.cos() - 0.1)
    gusts = 0.04 * x.norm(dim=-1, keepdim=True) * random[..., :2]
    heated = 0.8 * cabin + 14 + 2 * random[..., 2:]
    return torch.cat((carried + 0.35 * action + gusts, heated), -1)


def _about_the_eye(shape: Shape, generator: torch.Generator) -> Tensor:
    far, warm = blocks.normal(0.6, 1)(shape, generator).exp(), blocks.normal(3.0, 1)
    place = far * unit(blocks.uniform(math.pi, 1)(shape, generator))
    return torch.cat((place, 70 + warm(shape, generator)), -1)


def surveyed(column: int | None, rain: float = 0.4) -> Reward:
    """A place is wanted, and rain along the way.

    Args:
        column: Where the pitch of the bands that a radar seeks is; the storm's if None.
        rain: How much rain counts.
    """

    def reward(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
        x, angle = following[..., :2], task[..., :1]
        own = turn(x, -angle) * torch.exp(-_PITCH * angle)
        missed = (own - tensor([1.0, 0.0])).square().sum(-1)
        pitch = _PITCH if column is None else task[..., column]
        return -torch.log(0.3 + missed) + rain * torch.cos(_band(x, pitch))

    return reward


HURRICANE = replace(
    CRAFT,
    name="hurricane_scout",
    cause="noncompact",
    dim_state=3,
    tasks=spread(-1.5, 1.5),
    start=_about_the_eye,
    behaviour=blocks.normal(0.8, 2),
    step=_flown,
    reward=surveyed(None),
    generators=_ROUND,
    action_generators=_SPIRAL[None],
    max_steps=6,
)
"""Places along the bands of one storm, further out the further round."""

_SCALE = 8.0
"""Kilometres over which pressure falls to 1/e."""
_LIFTED = torch.zeros(1, 5, 5, dtype=torch.float64)
_LIFTED[0, 0, 4], _LIFTED[0, 2, 2] = 1.0, -1 / _SCALE


def balloon(inversion: float) -> Step:
    """Height in km, climb in m/s, pressure in kPa by a slow barometer, and excess heat in F.

    Args:
        inversion: Lift that is lost in warm air above 5 km.
    """

    def step(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
        height, climb, pressure, warm = (state / tensor([1.0, 10, 1, 1])).split(1, -1)
        burner, vent = action.split(1, -1)
        lost = inversion * torch.sigmoid(3 * (height - 5))
        force = 0.03 * (warm - 40) - 0.3 * climb - 0.5 * climb * climb.abs() - lost
        barometer = 0.5 * pressure + 50 * torch.exp(-height / _SCALE)
        after = (
            height + 0.6 * climb + 0.02 * random[..., :1],
            10 * (climb + 0.5 * force) + 0.2 * random[..., 1:2],
            barometer * (0.01 * random[..., 2:3]).exp(),
            warm * (0.85 - 0.25 * torch.sigmoid(2 * vent))
            + 20 * torch.sigmoid(2 * burner)
            + random[..., 3:],
        )
        return torch.cat(after, -1)

    return step


def _launched(shape: Shape, generator: torch.Generator) -> Tensor:
    height, climb, lag, warm = (
        blocks.normal(scale, 1)(shape, generator) for scale in (2.2, 5.0, 0.1, 20.0)
    )
    height = 5 + height
    return torch.cat((height, climb, 100 * torch.exp(lag - height / _SCALE), 40 + warm), -1)


def _levelled(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """A pressure is wanted, without much climbing, or much gas."""
    missed = _SCALE * following[..., 2].log() - _SCALE * math.log(100) + task[..., 0]
    burned = torch.sigmoid(2 * action[..., 0])
    return -missed.abs() - 0.005 * following[..., 1].square() - 0.3 * burned


BALLOON = replace(
    CRAFT,
    name="weather_balloon",
    cause="units",
    group="affine",
    num_tasks=4,
    dim_state=4,
    tasks=spread(2.5, 7.5),
    start=_launched,
    step=balloon(0.0),
    reward=_levelled,
    generators=_LIFTED,
    action_generators=still(1, 2, 2),
    max_steps=10,
)
"""A balloon in air of one temperature, and pressures that are wanted."""

OTHER_WEATHER = (HURRICANE, BALLOON)
