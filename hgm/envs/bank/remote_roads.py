"""Positive: motorways of any width, and fires in any wind."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from hgm.envs.bank import blocks
from hgm.envs.bank.base import Step
from hgm.envs.bank.blocks import angles, shared, spread, table, unit
from hgm.envs.bank.fresh_light import tensor
from hgm.envs.bank.later_process import sizes
from hgm.envs.bank.later_vehicles import CRAFT
from hgm.envs.bank.novel_fields import bequeathed
from hgm.envs.bank.novel_machines import bell
from hgm.envs.point import bound_disc


def motorway(booth: float | None) -> Step:
    """Hundreds of cars on three stretches of a road of one lane: a ramp, and a limit of speed.

    Args:
        booth: Most cars that booths at the end of it let through, in hundreds; None: no booths.
    """

    def step(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
        ramp, limit = action.unbind(-1)
        first, second, third = (0.55 * state / (1 + (state / 1.3).square())).unbind(-1)
        room, other = torch.sigmoid(3 * (1.6 - state[..., 1:])).unbind(-1)
        flows = [first * room, second * other * (1 + 0.4 * limit.tanh()), third]
        if booth is not None:
            most = booth * torch.exp(-task[..., 0])
            flows[2] = most * flows[2] / (most + flows[2])
        after = state + torch.stack((ramp, *flows[:2]), -1) - torch.stack(flows, -1)
        return after * (0.02 * random).exp()

    return step


_LANES = torch.eye(3, dtype=torch.float64)[None]
_RAMPS = torch.diag(tensor([1.0, 0.0]))[None]


def _passed(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """Cars are to arrive, none to wait before the ramp, and the first stretch not to be full."""
    lanes, ramp = torch.exp(task[..., 0]), action[..., 0]
    arrived = state.sum(-1) + ramp - following.sum(-1)
    waiting = torch.relu(0.5 * lanes - ramp)
    return arrived - waiting - torch.relu(following[..., 0] - lanes)


MOTORWAY = replace(
    CRAFT,
    name="motorway",
    cause="heredity",
    num_tasks=4,
    dim_state=3,
    tasks=spread(-0.35, 0.35),
    start=sizes(0.7, 3),
    behaviour=lambda shape, generator: torch.cat(
        (0.3 * sizes(0.5, 1)(shape, generator), blocks.normal(1.0, 1)(shape, generator)), -1
    ),
    step=bequeathed(motorway(None), _LANES, _RAMPS, (0,)),
    reward=_passed,
    generators=_LANES,
    action_generators=_RAMPS,
    reward_noise=0.03,
    max_steps=5,
)
"""Motorways of three lanes and of more, with as many lanes at their ramps and exits."""

TOLL_ROAD = replace(MOTORWAY, step=bequeathed(motorway(0.2), _LANES, _RAMPS, (0,)))
"""The same motorways, which end at booths that are as many everywhere."""


def wildfire(river: float) -> Step:
    """Kilometres of a front and of a crew from a village, and how wet it is; hoses.

    The front goes with a wind, whose direction is column 0 of the tasks, and away from the crew.

    Args:
        river: Share of either's way that a river stops, which flows across the direction in column
            1.
    """

    def ease(x: Tensor, task: Tensor) -> Tensor:
        beyond = (x * unit(task[..., 1:2])).sum(-1, keepdim=True) - 0.4
        return 1 - river * torch.exp(-beyond.square() / (2 * 0.3**2))

    def step(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
        fire, crew, wet = state.split((2, 2, 1), -1)
        apart = fire - crew
        near = torch.exp(-apart.square().sum(-1, keepdim=True) / 1.5)
        dry = torch.sigmoid(-1.5 * wet)
        moved = 0.5 * dry * unit(task[..., :1]) - 0.15 * fire + 0.5 * near * apart
        driven = 0.5 * bound_disc(action[..., :2], 1.2) + 0.2 * near * unit(task[..., :1])
        after = (
            fire + moved * ease(fire, task),
            crew + (driven - 0.1 * crew) * ease(crew, task),
            0.7 * wet + 0.5 * action[..., 2:].tanh() - 0.3 * near.square(),
        )
        return torch.cat(after, -1) + 0.03 * random

    return step


def _saved(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """Fire is to keep off a wood beside its way, a crew to stay out of smoke; water is dear."""
    fire, crew, _ = following.split((2, 2, 1), -1)
    smoke = torch.sigmoid(3 * (((crew - fire) * unit(task[..., :1])).sum(-1) - 0.5))
    return -bell(fire, unit(task[..., :1] + 0.9), 0.7) - 0.3 * smoke - 0.1 * action[..., 2].tanh()


WILDFIRE = replace(
    CRAFT,
    name="wildfire",
    cause="heredity",
    num_tasks=5,
    dim_state=5,
    dim_action=3,
    tasks=table(angles, shared(0.0, 2 * math.pi)),
    start=blocks.normal(0.8, 5),
    behaviour=blocks.normal(1.0, 3),
    step=wildfire(0.0),
    reward=_saved,
    generators=blocks.spin(5, 0, 2),
    action_generators=blocks.spin(3, 0),
    max_steps=30,
)
"""Fires on a plain, each with its own wind, and woods to the same side of it."""

REMOTE_ROADS = (MOTORWAY, WILDFIRE)
