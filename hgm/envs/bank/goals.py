"""Positive: a point that walks in the plane, and rewards that turn with their goal."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from hgm.envs.bank import blocks
from hgm.envs.bank.base import FOUND, Specimen
from hgm.envs.bank.blocks import angles, each, goal, of_distance, shared, table, turn, walk

CIRCLE = table(angles, shared(0.8, 1.2))

CONE = Specimen(
    name="cone",
    cause="reward",
    verdicts=(FOUND,),
    half="tuned",
    dim_state=2,
    dim_action=2,
    tasks=CIRCLE,
    start=blocks.normal(0.05, 2),
    behaviour=blocks.normal(0.1, 2),
    step=walk(),
    reward=blocks.cone,
    generators=blocks.spin(2, 0),
    action_generators=blocks.spin(2, 0),
    coordinates=blocks.relative(0),
)
"""The paper's navigation: goals on a circle, actions cut off at a disc."""


def _two_goals(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    other = (following - 0.7 * turn(goal(task), 1.7)).norm(dim=-1)
    return torch.maximum(blocks.cone(state, action, following, task), -0.3 - other)


def _heading(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    return (goal(task) * (following - state)).sum(-1)


def effort(weight: float) -> blocks.Reward:
    """A cost of actions, in squares."""
    return lambda state, action, following, task: -weight * action.square().sum(-1)


def _swirl(state: Tensor, action: Tensor, task: Tensor) -> Tensor:
    round_about = turn(state, math.pi / 2) / (1 + state.square().sum(-1, keepdim=True))
    return blocks.disc(action) + 0.05 * round_about


_UNITS = torch.tensor([1e3, 1e-2], dtype=torch.float64)

GOALS = (
    CONE,
    replace(
        CONE,
        name="bowl",
        half="reported",
        reward=of_distance(lambda far: -far.square()),
        start=blocks.normal(0.7, 2),
        max_steps=25,
    ),
    replace(CONE, name="saturating", reward=of_distance(lambda far: torch.exp(-far.square()))),
    replace(
        CONE, name="plateau", half="reported", reward=of_distance(lambda far: -far.clamp(0.3, 1.5))
    ),
    replace(CONE, name="ring", half="reported", reward=of_distance(lambda far: -(far - 0.5).abs())),
    replace(CONE, name="two_goals", reward=_two_goals),
    replace(CONE, name="reward_noise", cause="noise", reward_noise=0.05),
    replace(CONE, name="state_noise", cause="noise", half="reported", step=walk(0.1)),
    replace(
        CONE,
        name="rescaled",
        cause="calibration",
        tasks=table(CIRCLE, each(0.5, 3.0), each(-2.0, 2.0)),
        reward=lambda state, action, following, task: (
            task[..., 3] - task[..., 2] * blocks.distance(following, task)
        ),
    ),
    replace(
        CONE,
        name="warped",
        cause="calibration",
        half="reported",
        tasks=table(CIRCLE, each(0.5, 2.0)),
        reward=lambda state, action, following, task: (
            -(blocks.distance(following, task) ** task[..., 2])
        ),
    ),
    replace(
        CONE,
        name="control_cost",
        cause="action_term",
        half="reported",
        reward=blocks.plus(blocks.cone, effort(15.0)),
    ),
    replace(
        CONE,
        name="flat_cost",
        cause="action_term",
        reward=blocks.plus(
            of_distance(lambda far: -far.square()),
            lambda state, action, following, task: -3.0 * action.norm(dim=-1),
        ),
    ),
    replace(
        CONE,
        name="half_round",
        cause="coverage",
        start=blocks.sector(0.0, math.pi, 0.0, 1.5),
        max_steps=40,
    ),
    replace(
        CONE,
        name="wide",
        cause="coverage",
        half="reported",
        start=blocks.normal(1.5, 2),
        max_steps=20,
    ),
    replace(
        CONE,
        name="disc_in_box",
        cause="action_set",
        half="reported",
        behaviour=blocks.uniform(0.2, 2),
    ),
    replace(
        CONE,
        name="disc_within",
        cause="action_set",
        behaviour=blocks.sector(0.0, 2 * math.pi, 0.0, 0.1),
    ),
    replace(CONE, name="heading", half="reported", reward=_heading),
    replace(
        CONE,
        name="friction",
        cause="dynamics",
        step=walk(motion=lambda state, action, task: blocks.disc(action) - 0.1 * state),
    ),
    replace(CONE, name="swirl", cause="dynamics", half="reported", step=walk(motion=_swirl)),
    blocks.in_chart(
        CONE, torch.tensor([[1.0, 0.8], [0.0, 0.6]]), name="skewed", cause="units", half="reported"
    ),
    blocks.in_chart(CONE, torch.diag(torch.tensor([1e3, 1e-3])), name="units", cause="units"),
    replace(
        CONE,
        name="units_of_actions",
        cause="units",
        behaviour=lambda shape, generator: _UNITS * blocks.normal(0.1, 2)(shape, generator),
        step=walk(motion=lambda state, action, task: blocks.disc(action / _UNITS)),
        action_generators=torch.diag(_UNITS) @ blocks.spin(2, 0) @ torch.diag(1 / _UNITS),
    ),
)
