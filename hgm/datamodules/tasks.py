"""Only the tasks: for agents that are tested, not trained."""

from __future__ import annotations

import torch
from lightning import LightningDataModule
from torch import Tensor

from hgm.checks import check_int
from hgm.envs.base import TaskFamily
from hgm.sizes import Sizes


class Tasks(LightningDataModule):
    """A family and its training tasks, as one batch that says nothing.

    Args:
        family: Where tasks and environments come from.
        seed: Seed of the training tasks.

    Attributes:
        sizes: What modules must know of the data.

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
        family.check_env()
        self.sizes = Sizes(
            num_tasks=len(self.tasks),
            dim_state=family.dim_state,
            dim_action=family.dim_action,
            kind="tasks",
            action_box=family.action_box(),
            task_parameters=self.tasks,
            discrete=family.discrete,
        )

    def test_dataloader(self) -> list[Tensor]:
        """The indices of the training tasks, ``(N,)``."""
        return [torch.arange(len(self.tasks))]
