"""Borderline: a group that noise nearly hides, and two that are slightly broken."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from hgm.envs.bank import blocks
from hgm.envs.bank.blocks import of_distance, unit, walk
from hgm.envs.bank.faint import SLIGHTLY
from hgm.envs.bank.machines import DOT
from hgm.envs.bank.more_borderline import FAINT
from hgm.envs.bank.unseen_breaks import SWING, pendulum
from hgm.envs.bank.unseen_surroundings import RADAR

_SIDES = unit(torch.arange(8, dtype=torch.float64)[:, None] * math.pi / 4)


def _octagon(state: Tensor, action: Tensor, task: Tensor) -> Tensor:
    """Steps within a regular octagon, whose corners are 8% further out than its sides."""
    longest = (action @ _SIDES.T).amax(-1, keepdim=True)
    return action * (blocks.MAX_ACTION / longest.clamp_min(blocks.MAX_ACTION)) - 0.05 * state


UNSEEN_FAINT = (
    replace(RADAR, name="jammed_radar", verdicts=FAINT, reward_noise=0.4, most=500, num_tasks=4),
    replace(
        DOT,
        name="octagon",
        cause="action_set",
        verdicts=SLIGHTLY,
        num_tasks=5,
        start=blocks.normal(0.6, 2),
        behaviour=blocks.normal(0.2, 2),
        step=walk(0.02, _octagon),
        reward=of_distance(lambda far: -torch.log(0.1 + far.square())),
        max_steps=25,
    ),
    replace(SWING, name="nearly_weightless", verdicts=SLIGHTLY, step=pendulum(0.006)),
)
