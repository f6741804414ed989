"""Only the tasks: for agents that are tested, not trained."""

from __future__ import annotations

from lightning import LightningDataModule
from torch import Tensor

from hgm.checks import check_int
from hgm.envs.base import TaskFamily


class Tasks(LightningDataModule):
    """A family and its training tasks, as one batch that says nothing.

    Args:
        family: Where tasks and environments come from.
        seed: Seed of the training tasks.

    Raises:
        TypeError: If ``family`` is not a TaskFamily.
        ValueError: If ``seed`` is out of range, or actions are not bounded.
    """

    def __init__(self, family: TaskFamily, seed: int = 0) -> None:
        super().__init__()
        if not isinstance(family, TaskFamily):
            raise TypeError(f"Expected `family` to be a hgm.envs.TaskFamily, got {family!r}.")
        self.family, self.seed = family, check_int("seed", seed, 0)
        self.tasks = family.train_tasks(self.seed)
        self.num_tasks = len(self.tasks)
        self.dim_state, self.dim_action = family.dim_state, family.dim_action
        self.box = family.action_box()

    def test_dataloader(self) -> list[Tensor]:
        """The indices of the training tasks, ``(N,)``."""
        return [self.tasks.new_zeros(self.num_tasks).long()]
