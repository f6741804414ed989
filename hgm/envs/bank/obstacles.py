"""Obstacles that few transitions touch: beside the origin they break a rotation, round it not."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from hgm.envs.bank import blocks
from hgm.envs.bank.base import FOUND, NEVER_FOUND
from hgm.envs.bank.blocks import table, turn, unit
from hgm.envs.bank.broken_rewards import ANY_ANGLE
from hgm.envs.bank.goals import CIRCLE, CONE
from hgm.envs.bank.inertia import SLIDER
from hgm.envs.bank.more_plane import length
from hgm.envs.point import bound_disc

BESIDE = replace(
    CONE,
    cause="dynamics",
    verdicts=NEVER_FOUND,
    num_tasks=5,
    tasks=table(CIRCLE, ANY_ANGLE),
    start=blocks.normal(0.6, 2),
    max_steps=25,
)
ROUND = replace(BESIDE, verdicts=(FOUND,), tasks=CIRCLE)


def _walked(state: Tensor, action: Tensor, random: Tensor) -> Tensor:
    return state + blocks.disc(action) + 0.04 * random


def _seen(state: Tensor, task: Tensor) -> tuple[Tensor, Tensor]:
    """How far along the obstacle's direction, and across it."""
    along, across = turn(state, -task[..., 2:3]).chunk(2, -1)
    return along, across


def _on(state: Tensor, task: Tensor, radius: float) -> Tensor:
    return length(state - 0.5 * unit(task[..., 2:3])) < radius


def _turnstile(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """A straight wall that lets nobody back."""
    moved = _walked(state, action, random)
    back = (_seen(state, task)[0] > 0.35) & (_seen(moved, task)[0] < 0.35)
    return torch.where(back, state, moved)


def _fence(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """A straight fence of finite length."""
    moved = _walked(state, action, random)
    (before, _), (after, across) = _seen(state, task), _seen(moved, task)
    through = (before - 0.3) * (after - 0.3) < 0
    return torch.where(through & (across.abs() < 0.5), state, moved)


def _tar(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """A round patch where steps have a fifth of their length."""
    moved = _walked(state, action, random)
    return torch.where(_on(state, task, 0.2), state + 0.2 * (moved - state), moved)


def _black_ice(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """A round patch where steps have twice their length."""
    moved = _walked(state, action, random)
    return torch.where(_on(state, task, 0.2), state + 2 * (moved - state), moved)


def _pit(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """A round pit: whoever steps into it lies in its middle."""
    moved = _walked(state, action, random)
    return torch.where(_on(moved, task, 0.15), 0.5 * unit(task[..., 2:3]) + 0.0 * moved, moved)


def _hatch(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """A small round pad that sends whoever steps on it across."""
    moved = _walked(state, action, random)
    return torch.where(_on(moved, task, 0.1), moved - unit(task[..., 2:3]), moved)


def _draught(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """A narrow stream of air beside the origin."""
    on = (_seen(state, task)[0] - 0.4).abs() < 0.06
    return _walked(state, action, random) + 0.08 * on * turn(unit(task[..., 2:3]), torch.pi / 2)


def _mirrors(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """A round patch where steps go backwards."""
    moved = _walked(state, action, random)
    return torch.where(_on(state, task, 0.15), state - blocks.disc(action), moved)


def _rolled(state: Tensor, action: Tensor, random: Tensor) -> Tensor:
    x, v = state.chunk(2, -1)
    faster = v + 0.1 * (bound_disc(action, 1.5) - v)
    return torch.cat((x + 0.1 * v, faster), -1) + 0.01 * random


def _cushion(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """A straight cushion, off which a ball bounces."""
    moved = _rolled(state, action, random)
    x, v = moved.chunk(2, -1)
    out = (x * unit(task[..., 2:3])).sum(-1, keepdim=True) - 0.6
    speed = (v * unit(task[..., 2:3])).sum(-1, keepdim=True)
    hit = (out > 0) & (speed > 0)
    back = torch.cat((out * unit(task[..., 2:3]), speed * unit(task[..., 2:3])), -1)
    return moved - 2 * hit * back


def _drum(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """A round cushion about the origin."""
    moved = _rolled(state, action, random)
    x, v = moved.chunk(2, -1)
    outward = x / length(x).clamp_min(1e-6)
    speed = (v * outward).sum(-1, keepdim=True)
    hit = (length(x) > 0.8) & (speed > 0)
    return moved - 2 * hit * torch.cat((torch.zeros_like(x), speed * outward), -1)


def _pen(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """A round fence, which lets nobody out or in."""
    moved = _walked(state, action, random)
    return torch.where((length(state) - 0.6) * (length(moved) - 0.6) < 0, state, moved)


def _moat(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """A ring of mud, where steps have a fifth of their length."""
    moved = _walked(state, action, random)
    return torch.where((length(state) - 0.5).abs() < 0.1, state + 0.2 * (moved - state), moved)


def _hub(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """A round pillar in the middle, out of which steps are pushed."""
    moved = _walked(state, action, random)
    return moved * (0.3 / length(moved).clamp_min(1e-6)).clamp_min(1.0)


def _well_shaft(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """A shaft in the middle: whoever steps into it comes out twice as far as its rim."""
    moved = _walked(state, action, random)
    fallen = 0.4 * moved / length(moved).clamp_min(1e-6)
    return torch.where(length(moved) < 0.2, fallen, moved)


OBSTACLES = (
    # No turn about the origin keeps a place beside it.
    replace(BESIDE, name="turnstile", step=_turnstile),
    replace(BESIDE, name="fence", step=_fence),
    replace(BESIDE, name="tar", step=_tar),
    replace(BESIDE, name="black_ice", step=_black_ice),
    replace(BESIDE, name="pit", step=_pit),
    replace(BESIDE, name="hatch", step=_hatch),
    replace(BESIDE, name="draught", step=_draught),
    replace(BESIDE, name="mirrors", step=_mirrors),
    replace(
        SLIDER,
        name="cushion",
        cause="dynamics",
        verdicts=NEVER_FOUND,
        num_tasks=5,
        tasks=table(CIRCLE, ANY_ANGLE),
        step=_cushion,
        max_steps=40,
    ),
    # All turns keep a circle about it.
    replace(ROUND, name="pen", step=_pen),
    replace(ROUND, name="moat", step=_moat),
    replace(ROUND, name="hub", half="reported", step=_hub),
    replace(ROUND, name="shaft", half="reported", step=_well_shaft),
    replace(SLIDER, name="drum", cause="dynamics", num_tasks=5, step=_drum, max_steps=40),
)
