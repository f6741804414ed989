"""What meta-testing asks of any agent."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from hgm.geometry import Geometry


class Agent(ABC):
    """Meets ``T`` unknown tasks at once, each for itself, and knows of each what it has observed.

    Nothing else reaches it: neither task parameters nor training data of other tasks than its own
    training tasks. :func:`hgm.evaluation.meta_test` drives it: :meth:`begin`, then :meth:`started`,
    :meth:`explore` and :meth:`observe` for the exploration budget, then :meth:`act`.

    Attributes:
        oracle: Whether the agent is told the tasks' hidden parameters, by :meth:`reveal` after
            every :meth:`begin`: for upper bounds only, and reports say so.
    """

    oracle = False

    @abstractmethod
    def begin(self, num_tasks: int) -> None:
        """Forgets everything observed, and meets ``T`` new tasks."""

    def reveal(self, tasks: Tensor) -> None:  # noqa: B027 (optional)
        """Tells an oracle the parameters of the tasks that it met, ``(T, k)``."""

    def started(self, where: Tensor) -> None:  # noqa: B027 (optional)
        """Episodes start anew in the tasks ``where (T,)`` is True, before the next action there."""

    @abstractmethod
    def observe(
        self, state: Tensor, action: Tensor, reward: Tensor, next_observation: Tensor
    ) -> None:
        """Learns from one transition of every task.

        Args:
            state: States, ``(T, n)``.
            action: Actions, ``(T, m)``.
            reward: Rewards, ``(T,)``; NaN where a task gave no transition, as its episode is over.
            next_observation: Next states, ``(T, n)``.
        """

    @abstractmethod
    def act(self, state: Tensor) -> Tensor:
        """Actions ``(T, ..., m)`` at states ``(T, ..., n)``, by what is known of every task."""

    def fork(self, copies: int) -> Agent | None:
        """An agent that meets every task ``copies`` times and knows of each what this one knows.

        For agents that go on learning within the episodes that are scored, each copy for itself, as
        recurrent ones must. None where what was explored is all that an agent uses.

        Args:
            copies: Number of copies; those of a task follow each other, ``(T * copies,)``.
        """
        return None

    def told(self, num_tasks: int) -> dict[str, Any]:
        """What else the agent says of the first tasks that it met: plain numbers and lists."""
        return {}

    def oracle_policy(
        self, geometry: Geometry, coords: Tensor
    ) -> Callable[[Tensor], Tensor] | None:
        """How the agent would act if it knew the true group and every task's place in it.

        For evaluation only: it shows what of the regret is due to inference. None where an agent
        has no use for a group.

        Args:
            geometry: The true group.
            coords: The tasks' true coordinates, ``(T, d)``.

        Returns:
            States ``(T, ..., n)`` to actions ``(T, ..., m)``, or None.
        """
        return None

    def untransformed(self) -> Callable[[Tensor], Tensor] | None:
        """What the agent would do everywhere if it carried nothing from task to task.

        States ``(T, ..., n)`` to actions ``(T, ..., m)``; None where an agent carries nothing.
        """
        return None

    def explore(
        self, state: Tensor, low: Tensor, high: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Actions that gather transitions, ``(T, m)``: uniform between the bounds."""
        return low + (high - low) * torch.rand(
            low.shape, generator=generator, device=low.device, dtype=low.dtype
        )
