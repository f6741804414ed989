"""Positive: images and radio signals, zoomed, rolled and out of phase."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from hgm.envs.bank import blocks
from hgm.envs.bank.base import Step
from hgm.envs.bank.blocks import goal, spread, turn
from hgm.envs.bank.fresh_light import inherited, still, tensor
from hgm.envs.bank.goals import CIRCLE
from hgm.envs.bank.later_vehicles import CRAFT


def lens(bent: float) -> Step:
    """Images of a near and of a far point in a camera that pans, which moves near ones more.

    Args:
        bent: How much a wide angle draws in what is far from the middle.
    """

    def step(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
        near, far = state.chunk(2, -1)
        share = near.norm(dim=-1, keepdim=True)
        share = share / (share + far.norm(dim=-1, keepdim=True))
        first = 0.85 * near + 0.4 * action + 0.3 * share * turn(far, 0.7)
        last = 0.85 * far + 0.2 * action - 0.2 * share * turn(near, 0.4)
        seen = [one / (1 + bent * one.square().sum(-1, keepdim=True)) for one in (first, last)]
        return torch.cat(seen, -1) + 0.02 * random

    return step


_HELIX = tensor([[0.45, -1.0], [1.0, 0.45]])
_BARREL = torch.block_diag(_HELIX, _HELIX)[None]

LENS = replace(
    CRAFT,
    name="helical_lens",
    cause="noncompact",
    dim_state=4,
    tasks=spread(-1.0, 1.0),
    start=blocks.normal(0.7, 4),
    behaviour=blocks.normal(0.7, 2),
    step=lens(0.0),
    reward=inherited(
        _BARREL,
        lambda x: (
            -(x[..., :2] - tensor([0.5, 0.2])).norm(dim=-1)
            - 0.6 * (x[..., 2:] - tensor([-0.4, 0.3])).norm(dim=-1)
        ),
    ),
    generators=_BARREL,
    action_generators=_HELIX[None],
    max_steps=10,
)
"""A camera whose barrel zooms as it rolls, in other positions of the barrel."""


def carrier(sliced: float) -> Step:
    """A symbol of a radio, in two quadratures, and how fast its phase drifts; gain is held.

    Args:
        sliced: Share of the nearest of four symbols that a receiver puts in its place.
    """

    def step(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
        symbol, drift = state[..., :2], state[..., 2:]
        tune, gain = action.tanh().split(1, -1)
        power = symbol.square().sum(-1, keepdim=True)
        turned = turn(symbol, 0.5 * drift) * torch.exp(0.3 * gain) * 1.3 / (1 + 0.4 * power)
        nearest = torch.tanh(4 * turned)
        after = ((1 - sliced) * turned + sliced * nearest, 0.8 * drift + 0.5 * tune)
        return torch.cat(after, -1) + 0.03 * random

    return step


def _symbol(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    return -torch.log(0.2 + (following[..., :2] - goal(task)).square().sum(-1))


CARRIER = replace(
    CRAFT,
    name="carrier",
    cause="axis",
    num_tasks=4,
    dim_state=3,
    tasks=CIRCLE,
    start=blocks.normal(0.8, 3),
    step=carrier(0.0),
    reward=_symbol,
    generators=blocks.spin(3, 0),
    action_generators=still(1, 2, 2),
)
"""A receiver, and pilots of other phases."""

LATER_SIGNALS = (LENS, CARRIER)
