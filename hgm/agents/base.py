"""What meta-testing asks of any agent."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from hgm.geometry import Geometry


class Agent(ABC):
    """Meets ``T`` unknown tasks at once, each for itself, and knows of each what it has observed.

    Nothing else reaches it: neither task parameters nor training data of other tasks than its own
    training tasks. :func:`hgm.evaluation.meta_test` drives it: :meth:`begin`, then
    :meth:`explore` and :meth:`observe` for the exploration budget, then :meth:`act`.
    """

    @abstractmethod
    def begin(self, num_tasks: int) -> None:
        """Forgets everything observed, and meets ``T`` new tasks."""

    @abstractmethod
    def observe(self, state: Tensor, action: Tensor, reward: Tensor, following: Tensor) -> None:
        """Learns from one transition of every task.

        Args:
            state: States, ``(T, n)``.
            action: Actions, ``(T, m)``.
            reward: Rewards, ``(T,)``; NaN where a task gave no transition, as its episode is over.
            following: Next states, ``(T, n)``.
        """

    @abstractmethod
    def act(self, state: Tensor) -> Tensor:
        """Actions ``(T, ..., m)`` at states ``(T, ..., n)``, by what is known of every task."""

    def told(self, geometry: Geometry, coords: Tensor) -> Callable[[Tensor], Tensor] | None:
        """How the agent would act if it were told the true group and every task's place in it.

        For evaluation only: it tells what of the regret is due to inference. None where an agent
        has no use for a group.

        Args:
            geometry: The true group.
            coords: The tasks' true coordinates, ``(T, d)``.

        Returns:
            States ``(T, ..., n)`` to actions ``(T, ..., m)``, or None.
        """
        return None

    def explore(
        self, state: Tensor, low: Tensor, high: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Actions that gather transitions, ``(T, m)``: uniform between the bounds."""
        return low + (high - low) * torch.rand(
            low.shape, generator=generator, device=low.device, dtype=low.dtype
        )
