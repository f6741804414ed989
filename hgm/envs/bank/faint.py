"""Borderline: groups that are true and hard to see, or slightly false."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from hgm.envs.bank import blocks
from hgm.envs.bank.base import APPROXIMATE, FOUND
from hgm.envs.bank.blocks import inertia, of_distance, shared, spread, table, walk
from hgm.envs.bank.broken_rewards import ANY_ANGLE
from hgm.envs.bank.fields import CYCLOTRON, LANDAU
from hgm.envs.bank.goals import CIRCLE
from hgm.envs.bank.machines import BODY, DOT, TRACKED
from hgm.envs.bank.more_borderline import FAINT
from hgm.envs.bank.worlds import crossed
from hgm.envs.point import bound_disc

SLIGHTLY = (APPROXIMATE, FOUND)


def _nearly_equal_springs(x: Tensor, v: Tensor, action: Tensor, task: Tensor) -> Tensor:
    return bound_disc(action, 1.5) - blocks.stretch(x, task[..., 2:3], 1.03) - 0.5 * v


FAINT_GROUPS = (
    replace(LANDAU, name="landau_of_300", cause="too_few", verdicts=FAINT, most=300),
    replace(TRACKED, name="hazy_tracker", cause="noise", verdicts=FAINT, reward_noise=4.0),
    # Rewards are whole numbers of stars, which is an increasing map that forgets.
    replace(
        DOT,
        name="stars",
        cause="calibration",
        verdicts=FAINT,
        start=blocks.normal(0.6, 2),
        reward=of_distance(lambda far: torch.floor(5 * torch.exp(-far))),
        reward_noise=0.02,
        max_steps=25,
    ),
    replace(
        CYCLOTRON,
        name="stray_field",
        cause="dynamics",
        verdicts=SLIGHTLY,
        tasks=table(CIRCLE, shared(0.03, 0.03), ANY_ANGLE),
        step=inertia(crossed),
    ),
    replace(
        BODY,
        name="nearly_equal_springs",
        cause="dynamics",
        verdicts=SLIGHTLY,
        tasks=table(CIRCLE, ANY_ANGLE),
        step=inertia(_nearly_equal_springs),
        max_steps=40,
    ),
    replace(
        DOT,
        name="nearly_equal_gains",
        cause="actuators",
        verdicts=SLIGHTLY,
        tasks=table(CIRCLE, spread(0.98, 1.02)),
        step=walk(motion=lambda state, action, task: blocks.disc(action) * task[..., 2:3]),
    ),
)
