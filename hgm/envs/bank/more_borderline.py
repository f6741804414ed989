"""Borderline, more of it: a true group on little evidence, or one that fails rarely or slightly."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from hgm.envs.bank import blocks
from hgm.envs.bank.base import APPROXIMATE, FOUND, PARTIAL
from hgm.envs.bank.blocks import distance, inertia, of_distance, shared, spread, table, unit, walk
from hgm.envs.bank.broken_rewards import ANY_ANGLE
from hgm.envs.bank.goals import CIRCLE
from hgm.envs.bank.more_plane import HEAVY, POINT, dragged, hat, valley

FAINT = (FOUND, APPROXIMATE, PARTIAL)
"""Verdicts on a group that is there, and hard to see."""


def _neighbours(num: int, generator: torch.Generator) -> Tensor:
    rest = table(shared(-3.0, 3.0), shared(0.8, 1.2))(num, generator)
    return torch.cat((rest[:, :1] + spread(0.0, 0.4)(num, generator), rest[:, 1:]), -1)


def _far_pit(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    square = (following - 1.6 * unit(task[..., 2:3])).square().sum(-1)
    return -1.0 * torch.exp(-square / (2 * 0.25**2))


def _far_mud(state: Tensor, action: Tensor, task: Tensor) -> Tensor:
    """Ground that halves steps, about a point that few episodes reach."""
    square = (state - 1.6 * unit(task[..., 2:3])).square().sum(-1, keepdim=True)
    return blocks.disc(action) * (1 - 0.5 * torch.exp(-square / (2 * 0.25**2)))


def _slope(x: Tensor, v: Tensor, action: Tensor, task: Tensor) -> Tensor:
    return dragged(x, v, action, task) + 0.03 * unit(task[..., 2:3])


MORE_BORDERLINE = (
    replace(
        POINT,
        name="snowfall",
        cause="noise",
        verdicts=FAINT,
        reward=of_distance(lambda far: torch.exp(-far)),
        reward_noise=0.5,
    ),
    replace(POINT, name="three_hundred", cause="too_few", verdicts=FAINT, reward=valley, most=300),
    replace(
        HEAVY, name="five_hundred", cause="too_few", verdicts=FAINT, step=inertia(hat), most=500
    ),
    replace(
        POINT, name="neighbours", cause="coverage", verdicts=FAINT, tasks=_neighbours, reward=valley
    ),
    replace(
        POINT,
        name="far_pit",
        cause="reward",
        verdicts=(APPROXIMATE, FOUND, PARTIAL),
        tasks=table(CIRCLE, ANY_ANGLE),
        reward=blocks.plus(lambda *transition: -distance(*transition[2:]).square(), _far_pit),
    ),
    replace(
        POINT,
        name="far_mud",
        cause="dynamics",
        verdicts=(APPROXIMATE, FOUND),
        tasks=table(CIRCLE, ANY_ANGLE),
        step=walk(motion=_far_mud),
    ),
    replace(
        HEAVY,
        name="slope",
        cause="dynamics",
        verdicts=(APPROXIMATE, FOUND),
        tasks=table(CIRCLE, ANY_ANGLE),
        step=inertia(_slope),
    ),
)
