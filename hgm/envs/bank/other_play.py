"""Positive: stones on ice, rifles on skis, and tones that rise for ever."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from hgm.envs.bank import blocks
from hgm.envs.bank.base import Shape
from hgm.envs.bank.blocks import distance, each, relative, spread, table, turn, unit
from hgm.envs.bank.fresh_light import still
from hgm.envs.bank.goals import CIRCLE
from hgm.envs.bank.later_vehicles import CRAFT, effort, shifts
from hgm.envs.point import bound_disc


def _curled(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """Place, velocity and spin of a stone on dished ice: nudges, and brooms that spare friction."""
    x, v, spin = state.split((2, 2, 1), -1)
    push, broom = bound_disc(action[..., :2], 1.2), torch.sigmoid(2 * action[..., 2:])
    fast = v.norm(dim=-1, keepdim=True)
    kept = 1 - (0.4 - 0.3 * broom) / (0.5 + fast)
    curl = turn(kept * v, 0.5 * spin / (0.5 + fast)) + 0.35 * push
    across = v[..., :1] * push[..., 1:] - v[..., 1:] * push[..., :1]
    after = (0.96 * x + 0.35 * v, curl, 0.8 * spin + 0.5 * torch.tanh(across))
    scale = torch.cat((torch.full_like(state[..., :4], 0.02), torch.full_like(spin, 0.15)), -1)
    return torch.cat(after, -1) + scale * random


def _rings(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """Rings about the button, each with a slope of its own, and brooms that tire."""
    far = distance(following, task)
    inner, outer = (0.4 - far).clamp_min(0), (1.2 - far).clamp_min(0)
    tired = 0.15 * torch.sigmoid(2 * action[..., 2])
    return 0.8 * inner + outer - 0.15 * far - tired


CURLING = replace(
    CRAFT,
    name="curling",
    dim_state=5,
    dim_action=3,
    tasks=CIRCLE,
    start=blocks.beside(blocks.normal(0.7, 2), blocks.normal(0.6, 3)),
    behaviour=blocks.normal(1.0, 3),
    step=_curled,
    reward=_rings,
    generators=blocks.spin(5, 0, 2),
    action_generators=blocks.spin(3, 0),
    reward_noise=0.03,
    max_steps=15,
)
"""A round rink, and houses on all sides of it."""


def _aimed(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """Aim in millimetres on the target, and pulse: breath lifts the rifle, and calms."""
    aim, pulse = state.split((2, 1), -1)
    moves, breath = action.tanh().split((2, 1), -1)
    steady = torch.sigmoid((150 - pulse) / 12)
    lifted = torch.nn.functional.pad(12 * breath, (1, 0))
    sway = torch.cat((6 * torch.sin(pulse / 8), 4 * torch.cos(pulse / 8)), -1)
    strain = 8 * moves.square().sum(-1, keepdim=True)
    after = (
        aim + 30 * steady * moves + lifted + sway + 0.02 * pulse * random[..., :2],
        140 + 0.8 * (pulse - 140) + strain - 5 - 8 * breath + 3 * random[..., 2:],
    )
    return torch.cat(after, -1)


def _hit(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """A disc is to be hit, nearly or well, with a calm pulse."""
    missed = (following[..., :2] - task[..., :2]).norm(dim=-1)
    calm = 0.01 * (following[..., 2] - 140)
    return torch.sigmoid((35 - missed) / 10) - 0.005 * missed - calm


BIATHLON = replace(
    CRAFT,
    name="biathlon",
    cause="units",
    group="affine",
    dim_state=3,
    dim_action=3,
    tasks=each(-45.0, 45.0, 2),
    start=lambda shape, generator: torch.cat(
        (blocks.normal(50.0, 2)(shape, generator), 140 + blocks.normal(15.0, 1)(shape, generator)),
        -1,
    ),
    behaviour=blocks.normal(1.0, 3),
    step=_aimed,
    reward=_hit,
    generators=shifts(3, (0,), (1,)),
    action_generators=still(2, 3, 3),
    coordinates=relative(0, 1),
    max_steps=8,
)
"""Rifles whose sights are off, each its own way."""

_OCTAVES = 2 * math.pi * blocks.spin(5, 0)
_OCTAVES[0, 2, 4] = 1.0


def _glided(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """Chroma, a point of the plane; height in octaves, which once round raises by one; loudness."""
    chroma, height, loud = state.split((2, 1, 1), -1)
    glide, swell = action.tanh().split(1, -1)
    pitch = 2 * math.pi * height
    ahead = turn(chroma, -pitch)[..., 1:]
    power = chroma.square().sum(-1, keepdim=True)
    heard = turn(chroma, 0.5 * glide) * 1.1 / (1 + 0.3 * power)
    after = (
        heard + 0.3 * torch.sigmoid(2 * loud) * unit(pitch) + 0.03 * random[..., :2],
        height + 0.12 * glide + 0.1 * ahead.tanh() + 0.01 * random[..., 2:3],
        0.8 * loud + 0.4 * swell + 0.03 * random[..., 3:],
    )
    return torch.cat(after, -1)


def _ringing(shape: Shape, generator: torch.Generator) -> Tensor:
    chroma, height, loud = (
        blocks.normal(scale, width)(shape, generator)
        for scale, width in ((0.7, 2), (0.45, 1), (0.6, 1))
    )
    return torch.cat((chroma, height, loud), -1)


def _tuned(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """A chroma is wanted, and a height, and not too loudly."""
    missed = (following[..., :2] - 0.8 * unit(2 * math.pi * task[..., :1])).norm(dim=-1)
    height = (following[..., 2] - task[..., 0]).abs()
    return torch.exp(-missed) - 0.6 * height - 0.1 * torch.exp(following[..., 3])


SHEPARD = replace(
    CRAFT,
    name="shepard_tones",
    cause="affine",
    group="affine",
    dim_state=4,
    tasks=table(spread(-0.42, 0.42)),
    start=_ringing,
    step=_glided,
    reward=blocks.plus(_tuned, effort(0.02)),
    generators=_OCTAVES,
    action_generators=still(1, 2, 2),
    max_steps=10,
)
"""An organ that plays in any key, each of which is also higher than others."""

OTHER_PLAY = (CURLING, BIATHLON, SHEPARD)
