"""Negative: wishes that no element carries over, and recordings that tell too little.

Dynamics have the stated groups. Of the last three, rewards have them too.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from hgm.envs.bank import blocks
from hgm.envs.bank.base import NEVER_FOUND, NONE, PARTIAL
from hgm.envs.bank.blocks import goal, shared, spread, table, unit, walk
from hgm.envs.bank.goals import CIRCLE
from hgm.envs.bank.machines import DOT
from hgm.envs.bank.novel_earth import LANDMARKS
from hgm.envs.bank.novel_life import ALLOMETRY, fit
from hgm.envs.bank.novel_machines import AIRSHIP, CHIMNEY

UNSEEN = (PARTIAL, NONE)


def _in_sight(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """The angle between two goalposts, as a striker sees them."""
    post = task[..., 2:3] * unit(task[..., :1] + torch.pi / 2)
    left, right = goal(task) + post - following, goal(task) - post - following
    cross = left[..., 0] * right[..., 1] - left[..., 1] * right[..., 0]
    return torch.atan2(cross.abs(), (left * right).sum(-1))


def _dear_axis(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """Turning about the body's third axis costs, and it is not sensors that turn it."""
    return -0.5 * torch.tanh(action[..., 2].square())


def _prize(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """A prize for one size, which is the same for all kinds."""
    return 0.7 * torch.exp(-(following[..., 0].log() - task[..., 1]).square() / (2 * 0.4**2))


NOVEL_WISHES = (
    # Of goals of other widths, the places that see them under one angle are other circles.
    replace(
        DOT,
        name="goal_mouths",
        cause="reward",
        verdicts=NEVER_FOUND,
        num_tasks=5,
        tasks=table(CIRCLE, spread(0.1, 1.6)),
        start=blocks.normal(0.6, 2),
        step=walk(0.02, lambda state, action, task: blocks.disc(action) - 0.06 * state),
        reward=_in_sight,
        max_steps=25,
    ),
    replace(
        LANDMARKS,
        name="dear_axis",
        cause="action_term",
        verdicts=NEVER_FOUND,
        reward=blocks.plus(LANDMARKS.reward, _dear_axis),
    ),
    replace(
        ALLOMETRY,
        name="prize_pumpkin",
        cause="reward",
        verdicts=NEVER_FOUND,
        num_tasks=5,
        tasks=table(spread(-0.7, 0.7), shared(-0.5, 0.5)),
        reward=blocks.plus(fit, _prize),
    ),
    replace(AIRSHIP, name="two_flights", cause="too_few", verdicts=UNSEEN, num_tasks=2),
    replace(CHIMNEY, name="fog", cause="noise", verdicts=UNSEEN, reward_noise=6.0),
    # Animals of nearly one size: no task has seen what another one has, by its own measure.
    replace(
        ALLOMETRY,
        name="hatchery",
        cause="coverage",
        verdicts=UNSEEN,
        tasks=spread(-1.2, 1.2),
        start=lambda shape, generator: blocks.normal(0.03, 2)(shape, generator).exp(),
        behaviour=blocks.normal(0.3, 2),
        max_steps=2,
    ),
)
