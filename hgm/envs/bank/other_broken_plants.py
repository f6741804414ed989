"""Negative: what is wanted turns, shifts or scales, and something else does not.

Comments say what keeps its place, axis or scale; the last one's group is there, and unseen.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from hgm.envs.bank import blocks
from hgm.envs.bank.base import broken
from hgm.envs.bank.blocks import spread
from hgm.envs.bank.novel_wishes import UNSEEN
from hgm.envs.bank.other_circuits import BOOST, MILLING, boost, milling
from hgm.envs.bank.other_matter import CRYSTALS, TOKAMAK, WELL_FIELD, batch, drained, tokamak
from hgm.envs.bank.other_minds import HEMISPHERES, MEMORY, memory, stocked


def _clogged(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """A filter that so many crystals clog."""
    return -0.8 * torch.sigmoid(4 * (following[..., 0].log() - 0.2))


def _lifted(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """What it costs to lift water to the ground at 30 feet."""
    lift = (30 - state[..., [0, 2]]).clamp_min(0) / 30
    return -1.8 * (torch.sigmoid(1.5 * action) * lift).sum(-1)


OTHER_BROKEN_PLANTS = (
    # Silicon takes so many volts, whatever is wanted.
    broken(BOOST, "diode_drop", step=boost(0.7)),
    # Columns of machines are stiffer one way, wherever grooves go.
    broken(MILLING, "stiff_column", step=milling(1.8)),
    # Atoms keep their electrons below one temperature.
    broken(TOKAMAK, "line_radiation", step=tokamak(0.35)),
    # A filter is the same for all batches.
    broken(CRYSTALS, "clogged_filter", "reward", reward=blocks.plus(batch, _clogged)),
    # The ground is at one height, wherever cellars are.
    broken(
        WELL_FIELD,
        "pumping_bill",
        "action_term",
        num_tasks=5,
        tasks=spread(-15.0, 15.0),
        reward=blocks.plus(drained, _lifted),
    ),
    # Red, green and blue are where they are on a wheel.
    broken(MEMORY, "colour_names", num_tasks=5, step=memory(0.12)),
    # All countries were looked at around the same day, which is in other seasons there.
    replace(
        HEMISPHERES,
        name="world_fair",
        cause="coverage",
        verdicts=UNSEEN,
        start=stocked(0.1),
        max_steps=1,
    ),
)
