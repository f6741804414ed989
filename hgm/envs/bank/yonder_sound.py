"""Positive: the skin of a kettledrum, as four pickups hear it."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from hgm.envs.bank import blocks
from hgm.envs.bank.base import Specimen, Step
from hgm.envs.bank.blocks import angles, each, table, unit
from hgm.envs.bank.fresh_light import graded, tensor
from hgm.envs.bank.later_vehicles import CRAFT
from hgm.envs.point import bound_disc


def _double(x: Tensor) -> Tensor:
    """Squares of complex numbers."""
    return torch.stack((x[..., 0].square() - x[..., 1].square(), 2 * x[..., 0] * x[..., 1]), -1)


def skin(dent: float) -> Step:
    """Waves of one and of two diameters on a skin, and their velocities; a mallet's place.

    Skins that are bent far are stiffer, and a mallet near the rim drives the second wave more.

    Args:
        dent: How much stiffer the skin is along one diameter than on average.
    """

    def step(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
        once, twice, speed, other = state.split(2, -1)
        mallet = bound_disc(action, 1.3)
        bent = once.square().sum(-1, keepdim=True) + twice.square().sum(-1, keepdim=True)
        stiff, uneven = 1 + bent / (1 + bent), tensor([1 + dent, 1 - dent])
        drawn = 0.9 * _mixed(once, twice) / (1 + bent)
        bulge = 1.2 * _double(once) / (1 + bent)
        speed = 0.85 * speed + 0.3 * (1.4 * mallet + drawn - stiff * uneven * once)
        other = 0.85 * other + 0.3 * (_double(mallet) + bulge - 1.8 * stiff * uneven * twice)
        after = (once + 0.3 * speed, twice + 0.3 * other, speed, other)
        return torch.cat(after, -1) + 0.02 * random

    return step


def _mixed(once: Tensor, twice: Tensor) -> Tensor:
    """The second wave times the conjugate of the first."""
    x, y = once.unbind(-1)
    a, b = twice.unbind(-1)
    return torch.stack((a * x + b * y, b * x - a * y), -1)


def _boom(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """A microphone at the rim wants a crest, from a height on, and that it rises."""
    once, twice, speed, other = following.split(2, -1)
    at, double = unit(task[..., :1]), unit(2 * task[..., :1])
    crest = (once * at).sum(-1) + (twice * double).sum(-1)
    rise = (speed * at).sum(-1) + (other * double).sum(-1)
    return torch.sigmoid(3 * (crest - 0.3)) + 0.4 * torch.tanh(rise)


_AT = tensor([0.2, 1.3, 2.9, 4.4])[:, None]
_HEARD = torch.cat((unit(_AT), unit(2 * _AT)), -1)
"""What pickups hear, which are at uneven angles, of waves of one and of two diameters."""


def heard(specimen: Specimen) -> Specimen:
    """The same skin, heard by pickups."""
    return blocks.in_chart(specimen, torch.block_diag(_HEARD, _HEARD))


SKIN = replace(
    CRAFT,
    name="kettledrum",
    num_tasks=5,
    dim_state=8,
    tasks=table(angles, each(0.5, 2.0), each(-1.0, 1.0)),
    start=blocks.normal(0.6, 8),
    step=skin(0.0),
    reward=graded(_boom, 1),
    generators=blocks.spin(8, 0, 2, 4, 6, rates=(1.0, 2.0, 1.0, 2.0)),
    action_generators=blocks.spin(2, 0),
    reward_noise=0.01,
    max_steps=50,
)
"""A round skin, and microphones anywhere at its rim."""

YONDER_SOUND = (heard(SKIN),)
