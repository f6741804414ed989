"""Uniform actions: what any agent should beat."""

from __future__ import annotations

import torch
from torch import Tensor

from hgm.agents.base import Agent


class RandomAgent(Agent):
    """Acts uniformly between the bounds, whatever it observes.

    Args:
        low: Least actions, ``(m,)``.
        high: Largest actions, ``(m,)``.
        seed: Seed of the actions.
    """

    def __init__(self, low: Tensor, high: Tensor, seed: int = 0) -> None:
        self.low, self.high = low, high
        self._generator = torch.Generator().manual_seed(seed)

    def begin(self, num_tasks: int) -> None:
        """Nothing to forget."""

    def observe(
        self, state: Tensor, action: Tensor, reward: Tensor, next_observation: Tensor
    ) -> None:
        """Nothing to learn."""

    def act(self, state: Tensor) -> Tensor:
        """Uniform actions ``(T, ..., m)``."""
        uniform = torch.rand(*state.shape[:-1], len(self.low), generator=self._generator)
        return self.low + (self.high - self.low) * uniform.to(self.low)
