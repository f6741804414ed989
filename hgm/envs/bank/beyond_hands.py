"""Positive: a soft arm, a probe in gel, and a laser whose light goes round both ways."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from hgm.envs.bank import blocks
from hgm.envs.bank.base import Step
from hgm.envs.bank.blocks import angles, each, goal, relative, shared, spread, table, turn, unit
from hgm.envs.bank.fields import numbers, vectors
from hgm.envs.bank.fresh_light import CROSS, between, graded, hills, inherited
from hgm.envs.bank.goals import CIRCLE
from hgm.envs.bank.later_vehicles import CRAFT, effort
from hgm.envs.point import bound_disc


def soft_arm(hose: float) -> Step:
    """How a hanging tube of silicone is bent, how fast, and how long: chambers under pressure.

    Args:
        hose: Pull of a hose that is fixed to one side; its direction is column 2 of the tasks.
    """

    def step(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
        bent, rate, length = state.split((2, 2, 1), -1)
        square = bent.square().sum(-1, keepdim=True)
        force = 1.8 * turn(bound_disc(action[..., :2], 1.2), 0.3 + 0.2 * length.tanh())
        force = force - bent * (1 + 0.8 * square / (1 + square)) + hose * unit(task[..., 2:3])
        after = (
            bent + 0.3 * rate,
            rate + 0.3 * (force - (0.9 - 0.3 * length.tanh()) * rate),
            length + 0.3 * (action[..., 2:].tanh() - 0.6 * length - 0.4 * square / (1 + square)),
        )
        return torch.cat(after, -1) + 0.02 * random

    return step


def _touched(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """The tip is wanted at a place, slowly."""
    tip = following[..., :2] * torch.exp(0.3 * following[..., 4:])
    return -(tip - goal(task)).norm(dim=-1) - 0.2 * following[..., 2:4].square().sum(-1)


SOFT_ARM = replace(
    CRAFT,
    name="soft_arm",
    num_tasks=5,
    dim_state=5,
    dim_action=3,
    tasks=table(CIRCLE, shared(0.0, 2 * math.pi)),
    start=blocks.normal(0.6, 5),
    behaviour=blocks.normal(1.0, 3),
    step=soft_arm(0.0),
    reward=blocks.plus(_touched, effort(0.03)),
    generators=blocks.spin(5, 0, 2),
    action_generators=blocks.spin(3, 0),
    coordinates=relative(0),
    max_steps=60,
)
"""A soft arm that hangs, and things to touch all round it."""

_GEL = torch.stack([torch.block_diag(one, one) for one in CROSS])


def _pressed(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """A tip in gel, and where the gel has flowed to, which yields to large strains."""
    tip, gel = state.chunk(2, -1)
    strain = tip - gel
    yields = strain.square().sum(-1, keepdim=True)
    after = (
        0.95 * tip + 0.4 * bound_disc(action, 1.5) - 0.5 * strain / (1 + 0.5 * yields),
        0.97 * gel + 0.3 * strain * yields / (0.5 + yields),
    )
    return torch.cat(after, -1) + 0.03 * random


GEL_PROBE = replace(
    CRAFT,
    name="gel_probe",
    cause="sphere",
    num_tasks=6,
    dim_state=6,
    dim_action=3,
    tasks=table(each(-0.8, 0.8, 3), each(0.5, 2.0), each(-1.0, 1.0)),
    start=blocks.normal(0.7, 6),
    behaviour=blocks.normal(1.0, 3),
    step=_pressed,
    reward=graded(
        inherited(
            CROSS,
            hills([0.7, 0.3, -0.2], [-0.5, 0.6, 0.4], [0.1, -0.6, 0.7], width=0.6),
            (0, 1, 2),
            sees=3,
        ),
        3,
    ),
    generators=_GEL,
    action_generators=CROSS,
    coordinates=between(_GEL),
    max_steps=40,
)
"""A probe in a ball of gel, and three lumps that lie in it in any pose."""

_PHASES = torch.cat((blocks.spin(4, 0), blocks.spin(4, 2)))


def ring_laser(scattered: float) -> Step:
    """Fields that go round a ring either way, and take each other's gain; two seeds.

    Args:
        scattered: Share of either that a mirror throws back into the other.
    """

    def step(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
        there, back = numbers(state)
        seeds = numbers(0.35 * torch.cat([bound_disc(x, 1.2) for x in action.chunk(2, -1)], -1))
        power, other = there.abs().square(), back.abs().square()
        first = (0.6 + 0.5 / (1 + power + 1.7 * other)) * torch.exp(0.3j - 0.2j * power.tanh())
        last = (0.6 + 0.4 / (1 + other + 1.7 * power)) * torch.exp(-0.1j - 0.2j * other.tanh())
        after = (
            first * there + seeds[0] + scattered * back,
            last * back + seeds[1] + scattered * there,
        )
        return vectors(*after) + 0.03 * random

    return step


def _beaten(fields: Tensor) -> Tensor:
    """A phase is wanted of either field: of one past a threshold, of the other one near a place."""
    there, back = fields.chunk(2, -1)
    off = (back - fields.new_tensor([0.3, 0.6])).square().sum(-1)
    return torch.sigmoid((there[..., 0] - 0.2) / 0.3) / (0.5 + off) - 0.2 * there[..., 1].square()


RING_LASER = replace(
    CRAFT,
    name="ring_laser",
    cause="product",
    num_tasks=6,
    dim_state=4,
    dim_action=4,
    tasks=table(angles, spread(-1.6, 1.6)),
    start=blocks.normal(0.6, 4),
    behaviour=blocks.normal(1.0, 4),
    step=ring_laser(0.0),
    reward=inherited(_PHASES, _beaten, (0, 1)),
    generators=_PHASES,
    action_generators=_PHASES,
    coordinates=relative(0, 1),
    reward_noise=0.02,
    max_steps=100,
)
"""A ring laser, and two phases that are wanted of it."""

BEYOND_HANDS = (SOFT_ARM, GEL_PROBE, RING_LASER)
