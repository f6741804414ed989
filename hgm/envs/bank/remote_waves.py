"""Positive: light of three colours, and tastes on a tree."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from hgm import lie
from hgm.envs.bank import blocks
from hgm.envs.bank.base import Draw, Reward, Shape
from hgm.envs.bank.blocks import angles, each, relative, shared, table, unit
from hgm.envs.bank.fields import numbers, vectors
from hgm.envs.bank.fresh_light import between, tensor
from hgm.envs.bank.later_vehicles import CRAFT
from hgm.envs.bank.novel_machines import bell
from hgm.envs.point import bound_disc


def _mixed(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """Fields of a signal, an idler and their pump, which makes both, and two seeds.

    The pump's phase is free; it is the sum of the others' that a crystal sees.
    """
    signal, idler, pump = numbers(state)
    seeds = numbers(0.35 * torch.cat([bound_disc(one, 1.2) for one in action.chunk(2, -1)], -1))
    power = pump.abs().square()
    after = (
        0.8 * signal * torch.exp(0.2j * signal.abs().tanh()) + 0.3 * pump * idler.conj() + seeds[0],
        0.7 * idler + 0.3 * pump * signal.conj() + seeds[1],
        pump * (0.6 + 0.6 / (1 + power)) * torch.exp(0.3j * power.tanh()) - 0.35 * signal * idler,
    )
    bounded = (one / (1 + 0.05 * one.abs().square()) for one in after)
    return vectors(*bounded) + 0.02 * random


def _phased(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """A signal is wanted in a phase, and a pump in one, and an idler that is dark."""
    signal, idler, pump = following.split(2, -1)
    along = (pump * unit(task[..., :1] + task[..., 1:2] + 0.8)).sum(-1)
    near = bell(signal, 0.7 * unit(task[..., :1]), 0.6)
    return near + 0.5 * torch.sigmoid(3 * (along - 0.2)) - 0.15 * idler.square().sum(-1)


_PHASES = torch.cat((blocks.spin(6, 0, 4), blocks.spin(6, 2, 4)))

THREE_WAVES = replace(
    CRAFT,
    name="three_waves",
    cause="product",
    num_tasks=6,
    dim_state=6,
    dim_action=4,
    tasks=table(angles, angles, shared(0.0, 2 * math.pi)),
    start=blocks.normal(0.6, 6),
    behaviour=blocks.normal(1.0, 4),
    step=_mixed,
    reward=_phased,
    generators=_PHASES,
    action_generators=torch.cat((blocks.spin(4, 0), blocks.spin(4, 2))),
    coordinates=relative(0, 1),
    reward_noise=0.02,
    max_steps=50,
)
"""A parametric oscillator, and phases that an experiment further on wants of it."""

# Two boosts and a turn of the hyperbolic plane, whose points are (height, x, y).
_BOOSTS = torch.zeros(3, 3, 3, dtype=torch.float64)
for _axis in (1, 2):
    _BOOSTS[_axis - 1, 0, _axis] = _BOOSTS[_axis - 1, _axis, 0] = 1.0
_BOOSTS[2] = blocks.spin(3, 1)[0]


def _meet(first: Tensor, second: Tensor) -> Tensor:
    """Hyperbolic cosines of distances, ``(..., 1)``: products of height less those of the rest."""
    return (first * second * tensor([1.0, -1.0, -1.0])).sum(-1, keepdim=True)


def _listened(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """A taste in the hyperbolic plane, which is drawn to what is recommended, less if that is far.

    Its size is how sure one is of it, and tends to 1.
    """
    sure = _meet(state, state).clamp_min(0.05)
    far = _meet(state, action)
    drawn = state + 0.5 * action * torch.exp(-0.4 * torch.relu(far - 0.5)) / (1 + 0.2 * sure)
    after = drawn * _meet(drawn, drawn).clamp_min(0.05) ** -0.4
    return after + 0.04 * random


def _tastes(spreads: float, sure: float) -> Draw:
    def draw(shape: Shape, generator: torch.Generator) -> Tensor:
        place, size = blocks.normal(spreads, 2), blocks.normal(sure, 1)
        x = place(shape, generator)
        height = (1 + x.square().sum(-1, keepdim=True)).sqrt()
        return torch.cat((height, x), -1) * size(shape, generator).exp()

    return draw


def _genre(far: float, angle: Tensor | float) -> Tensor:
    """A point so far from the root of a tree of genres, ``(..., 3)``."""
    flat = math.sinh(far) * unit(torch.as_tensor(angle, dtype=torch.float64)[..., None])
    return torch.cat((torch.full_like(flat[..., :1], math.cosh(far)), flat), -1)


def liked(second: Callable[[Tensor], Tensor | float] = lambda task: 2.2) -> Reward:
    """Users like one genre most, another one less, and to be offered what is of the first.

    Args:
        second: Angle of the second genre, of tasks.
    """

    def reward(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
        back = lie.exp(-lie.hat(task[..., 0, :3], _BOOSTS))
        taste, item = (lie.act(back, one) for one in (following, action))
        first, other = _genre(0.8, 0.3), _genre(1.0, second(task))
        near = torch.exp(2 - 2 * _meet(taste, first)) + 0.8 * torch.exp(1 - _meet(taste, other))
        return (near + 0.4 * torch.exp(1 - _meet(item, first)))[..., 0]

    return reward


TASTE_TREE = replace(
    CRAFT,
    name="taste_tree",
    cause="noncompact",
    num_tasks=6,
    dim_state=3,
    dim_action=3,
    tasks=each(-0.5, 0.5, 3),
    start=_tastes(0.8, 0.3),
    behaviour=_tastes(0.8, 0.3),
    step=_listened,
    reward=liked(),
    generators=_BOOSTS,
    action_generators=_BOOSTS,
    coordinates=between(_BOOSTS),
    max_steps=5,
)
"""A tree of genres in the hyperbolic plane, and users who like what lies to other sides of it."""


REMOTE_WAVES = (THREE_WAVES, TASTE_TREE)
