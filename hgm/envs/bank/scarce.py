"""Negative: there may be a group, but what was recorded is no evidence of it."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from hgm.envs.bank import blocks
from hgm.envs.bank.base import NONE, PARTIAL
from hgm.envs.bank.blocks import distance, goal, of_distance, shared, table, walk
from hgm.envs.bank.broken_dynamics import box
from hgm.envs.bank.goals import CIRCLE, CONE
from hgm.envs.bank.spaces import SPACES

SCARCE_VERDICTS = (PARTIAL, NONE)
OPEN = replace(CONE, verdicts=SCARCE_VERDICTS)


def _twice(num: int, generator: torch.Generator) -> Tensor:
    first = CIRCLE((num + 1) // 2, generator)
    return torch.cat((first, first))[:num]


def quarters(num: int, generator: torch.Generator) -> Tensor:
    """Angles that are a common one plus multiples of a right angle, which is also column 2."""
    rest = table(shared(-3.0, 3.0), shared(0.8, 1.2))(num, generator)
    quarter = torch.arange(num, dtype=rest.dtype)[:, None] * torch.pi / 2
    return torch.cat((rest[:, :1] + quarter, rest[:, 1:], rest[:, :1]), -1)


def _fourfold(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """The cone, on ground of four hills and four valleys."""
    x, y = following.unbind(-1)
    angle = torch.atan2(y, x) - task[..., 2]
    return -distance(following, task) + 0.4 * torch.hypot(x, y) * torch.cos(4 * angle)


SCARCE = (
    replace(OPEN, name="two_tasks", cause="too_few", num_tasks=2),
    replace(
        OPEN,
        name="copies",
        cause="too_few",
        half="reported",
        tasks=_twice,
        reward=of_distance(lambda far: -far.square()),
    ),
    replace(OPEN, name="fifty", cause="too_few", half="reported", most=50),
    replace(
        next(one for one in SPACES if one.name == "sphere"),
        name="sphere_of_three",
        cause="too_few",
        verdicts=SCARCE_VERDICTS,
        half="tuned",
        num_tasks=3,
    ),
    replace(OPEN, name="fourfold_ground", cause="finite_order", tasks=quarters, reward=_fourfold),
    replace(
        OPEN,
        name="fourfold_box",
        cause="finite_order",
        half="reported",
        tasks=lambda num, generator: quarters(num, generator) * torch.tensor([1.0, 1.0, 0.0]),
        behaviour=blocks.uniform(0.2, 2),
        step=walk(motion=box),
    ),
    replace(
        OPEN,
        name="narrow",
        cause="coverage",
        start=blocks.sector(0.0, 0.3, 0.8, 1.2),
        step=walk(0.01),
        max_steps=5,
    ),
    replace(
        OPEN,
        name="one_motor",
        cause="coverage",
        half="reported",
        behaviour=blocks.beside(blocks.normal(0.1, 1), blocks.normal(0.0, 1)),
    ),
    replace(OPEN, name="drowned", cause="noise", reward_noise=5.0),
    replace(
        OPEN,
        name="drowned_bowl",
        cause="noise",
        half="reported",
        reward=lambda state, action, following, task: -(following - goal(task)).square().sum(-1),
        reward_noise=15.0,
    ),
)
