"""Positive: dynamics that differ between tasks, and are inherited as rewards are."""

from __future__ import annotations

from dataclasses import replace

import torch

from hgm.envs.bank import blocks
from hgm.envs.bank.blocks import inertia, turn, unit, walk
from hgm.envs.bank.goals import CONE
from hgm.envs.bank.inertia import SLIDER
from hgm.envs.point import bound_disc

HEREDITY = (
    replace(
        CONE,
        name="turned_motors",
        cause="heredity",
        step=walk(motion=lambda state, action, task: turn(blocks.disc(action), task[..., :1])),
        action_generators=torch.zeros(1, 2, 2, dtype=torch.float64),
    ),
    replace(
        CONE,
        name="turned_back_motors",
        cause="heredity",
        half="reported",
        step=walk(motion=lambda state, action, task: turn(blocks.disc(action), 2 * task[..., :1])),
        action_generators=-blocks.spin(2, 0),
    ),
    replace(
        CONE,
        name="turned_wind",
        cause="heredity",
        half="reported",
        step=walk(
            motion=lambda state, action, task: blocks.disc(action) + 0.04 * unit(task[..., :1])
        ),
    ),
    replace(
        SLIDER,
        name="turned_pull",
        cause="heredity",
        step=inertia(
            lambda x, v, action, task: bound_disc(action, 1.5) - v + 0.5 * unit(task[..., :1])
        ),
    ),
)
