"""What rewards may be functions of: one of three points, and terms of the action."""

from __future__ import annotations

import torch
from torch import Tensor

from hgm.numerics.fourier import LINEAR_SCALE, features

SOURCES = ("next_observation", "observation", "change")
"""What a reward may be a function of: s', s, or s' - s."""


def seen_point(state: Tensor, next_state: Tensor, source: str) -> Tensor:
    """The points of transitions, ``(..., n)``."""
    if source == "change":
        return next_state - state
    return next_state if source == "next_observation" else state


def action_table(action: Tensor, frequencies: Tensor, phases: Tensor) -> Tensor:
    """Scaled actions, their squares and products, and waves, ``(..., m) -> (..., k)``."""
    rows, columns = torch.triu_indices(action.shape[-1], action.shape[-1], device=action.device)
    products = (action[..., :, None] * action[..., None, :])[..., rows, columns]
    parts = [LINEAR_SCALE * action, LINEAR_SCALE * products]
    if len(phases):
        # Without its constant and its linear part, which are there already.
        parts.append(features(action, frequencies, phases)[..., : len(phases)])
    return torch.cat(parts, -1)
