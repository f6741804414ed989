"""Borderline: the symmetry is broken, by so little that transfer still pays."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from hgm.envs.bank import blocks
from hgm.envs.bank.base import APPROXIMATE, FOUND, PARTIAL
from hgm.envs.bank.blocks import angles, shared, stretch, table, walk
from hgm.envs.bank.broken_dynamics import wind
from hgm.envs.bank.broken_rewards import ANY_ANGLE, bump, ellipse
from hgm.envs.bank.goals import CIRCLE, CONE

SMALL = replace(CONE, verdicts=(APPROXIMATE, FOUND))


def _oblong_noise(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    return state + blocks.disc(action) + random * random.new_tensor([0.08, 0.02])


def _radii(num: int, generator: torch.Generator) -> Tensor:
    return 0.5 * (1 + torch.arange(num, dtype=torch.float64)[:, None] % 3)


BORDERLINE = (
    replace(
        SMALL,
        name="bump_of_1_percent",
        cause="reward",
        verdicts=(APPROXIMATE, PARTIAL),
        half="reported",
        tasks=table(CIRCLE, shared(-0.7, 0.7, 2)),
        reward=blocks.plus(blocks.cone, bump(0.01)),
    ),
    replace(
        SMALL,
        name="bump_of_2_percent",
        cause="reward",
        verdicts=(APPROXIMATE, PARTIAL),
        tasks=table(CIRCLE, shared(-0.7, 0.7, 2)),
        reward=blocks.plus(blocks.cone, bump(0.02)),
    ),
    replace(
        SMALL,
        name="nearly_round",
        cause="reward",
        tasks=table(CIRCLE, shared(1.02, 1.02), ANY_ANGLE),
        reward=ellipse,
    ),
    replace(
        SMALL,
        name="breeze",
        cause="dynamics",
        half="reported",
        tasks=table(CIRCLE, shared(0.002, 0.002), ANY_ANGLE),
        step=walk(motion=wind),
    ),
    replace(
        SMALL,
        name="nearly_even_motors",
        cause="dynamics",
        tasks=table(CIRCLE, ANY_ANGLE),
        step=walk(
            motion=lambda state, action, task: stretch(blocks.disc(action), task[..., 2:3], 0.98)
        ),
    ),
    # Three orbits of two tasks each: a rotation, shared by tasks that do not all follow from one.
    replace(
        SMALL,
        name="orbits_of_two",
        cause="orbits",
        verdicts=(FOUND, PARTIAL),
        num_tasks=6,
        tasks=table(angles, _radii),
        coordinates=None,
    ),
    # The means of steps turn with their states, their spread does not. Going straight to the goal
    # is as good with any spread, so a transfer costs next to nothing.
    replace(
        SMALL,
        name="oblong_noise",
        cause="noise",
        verdicts=(FOUND, APPROXIMATE),
        half="reported",
        step=_oblong_noise,
    ),
)
