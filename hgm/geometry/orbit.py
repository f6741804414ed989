"""One of several orbits: tasks that the group carries into each other, and their reward."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hgm.geometry.reward_model import RewardModel


@dataclass(frozen=True)
class Orbit:
    """Tasks that the group carries into each other, and no others.

    Attributes:
        tasks: Their indices; the first one is the base task, of which the others are images.
        reward: The base task's reward; None if no one model explains the tasks, or rewards are no
            functions of the next state.
    """

    tasks: Sequence[int]
    reward: RewardModel | None

    def state(self) -> dict[str, Any]:
        """Tensors and numbers; :meth:`of_state` reads it back."""
        reward = None if self.reward is None else dict(vars(self.reward))
        return {"tasks": list(self.tasks), "reward": reward}

    @staticmethod
    def of_state(state: dict[str, Any]) -> Orbit:
        """The inverse of :meth:`state`, which is checked already."""
        reward = state["reward"]
        return Orbit(state["tasks"], None if reward is None else RewardModel(**reward))
