"""What all DataModules share whose batches a policy in training makes: seeds, state, resuming."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, final

import torch
import torch.distributed as dist
from lightning import LightningDataModule
from tensordict import TensorDictBase

from hgm.checks import check_int
from hgm.datamodules.base import Batches
from hgm.datamodules.rounds import Rounds, Source
from hgm.envs.base import TaskFamily
from hgm.sizes import Sizes

NUM_ENVS = 64
"""Environments that run side by side in every process, shared out among the tasks."""


MAX_FRAMES, MAX_BUFFER, MAX_ROUND = 500_000_000, 100_000_000, 10_000_000
"""Most transitions of a training, of a buffer, and of a round."""


class Streamed(LightningDataModule, ABC):
    """Rounds of running the policy in training, and of batches made of what was gathered.

    Frames and batches are counted per process; every process has its own environments and memory.
    Training seeds torch's global generator when it starts, from which exploration and losses draw.
    A resumed run goes on exactly where its checkpoint was written. A subclass sets
    :attr:`sizes` and the numbers of rounds, and writes :meth:`_source`.

    Args:
        family: Where tasks and environments come from.
        seed: Seed of tasks, environments, exploration and replay.

    Attributes:
        sizes: What modules must know of the data.
        tasks: Hidden parameters of the training tasks, ``(N, k)``; row 0 is the base task.
        num_rounds: Number of rounds.
        updates_per_round: Updates that a round is for.
        updates_per_step: Updates that a step of Lightning makes, of one round.
        frames_per_round: Transitions that a round gathers.

    Raises:
        TypeError: If ``family`` is not a TaskFamily.
        ValueError: If ``seed`` is out of range, or actions are not bounded.
    """

    sizes: Sizes
    num_rounds: int
    updates_per_round: int
    updates_per_step: int = 1
    frames_per_round: int

    def __init__(self, family: TaskFamily, seed: int) -> None:
        super().__init__()
        if not isinstance(family, TaskFamily):
            raise TypeError(f"Expected `family` to be a hgm.envs.TaskFamily, got {family!r}.")
        self.family, self.seed = family, check_int("seed", seed, 0)
        self.tasks = family.train_tasks(self.seed)
        family.check_env()
        self._rounds: Rounds | None = None
        self._restored: dict[str, Any] | None = None

    @property
    def num_updates(self) -> int:
        """Updates in all."""
        return self.num_rounds * self.updates_per_round

    @property
    def steps_per_round(self) -> int:
        """Steps of Lightning in a round; the last may make fewer updates than the others."""
        return math.ceil(self.updates_per_round / self.updates_per_step)

    @property
    def num_frames(self) -> int:
        """Transitions in all, in whole rounds."""
        return self.num_rounds * self.frames_per_round

    @abstractmethod
    def _source(self, device: torch.device) -> Source:
        """Hook of :meth:`train_dataloader`: gathers with the module in training."""

    def _measured(self, kind: str) -> Sizes:
        """For :attr:`sizes`, once everything else is set."""
        return Sizes(
            num_tasks=len(self.tasks),
            dim_state=self.family.dim_state,
            dim_action=self.family.dim_action,
            kind=kind,
            action_box=self.family.action_box(),
            num_updates=self.num_updates,
            task_parameters=self.tasks,
            task_goals=self.family.goals(self.tasks),
            discrete=self.family.discrete,
        )

    @property
    def device(self) -> torch.device:
        """Where environments and policies run; the CPU without a trainer."""
        return torch.device("cpu") if self.trainer is None else self.trainer.strategy.root_device

    @final
    def train_dataloader(self) -> Batches:
        """What every step of Lightning is given, :attr:`steps_per_round` times every round."""
        return _Resumable(self.num_rounds * self.steps_per_round, self._train)

    def val_dataloader(self) -> Any:
        """One batch that says nothing, where reports run the agent themselves."""
        return [torch.zeros(1)]

    def test_dataloader(self) -> Any:
        """Like :meth:`val_dataloader`."""
        return self.val_dataloader()

    def transfer_batch_to_device(
        self, batch: TensorDictBase, device: torch.device, dataloader_idx: int
    ) -> TensorDictBase:
        """Nothing to do: what gathers is on the device already, and so is what it gathered."""
        return batch

    def teardown(self, stage: str | None = None) -> None:
        """Closes the environments; the state stays."""
        if self._rounds is not None:
            self._rounds.source.close()

    def state_dict(self) -> dict[str, Any]:
        """What every process needs to go on exactly, or was restored; empty before training."""
        own = self._restored if self._rounds is None else self._rounds.state_dict()
        if own is None:
            return {}
        ranks = [own] * self._world_size
        if self._world_size > 1:  # Lightning writes what the first process returns, and no other
            dist.all_gather_object(ranks, own)
        return {"ranks": ranks}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keeps the state until training starts.

        Raises:
            ValueError: If another number of processes wrote it.
        """
        ranks = state_dict["ranks"]
        if len(ranks) != self._world_size:
            raise ValueError(
                f"Expected a checkpoint of {self._world_size} processes, but {len(ranks)} wrote it."
            )
        self._restored = ranks[self._rank]

    def _train(self) -> Iterator[TensorDictBase]:
        """Starts anew or as restored, when the first batch is asked for: Lightning iterates twice.

        Raises:
            ValueError: If training is resumed without the state of this DataModule.
        """
        step = 0 if self.trainer is None else self.trainer.global_step
        if self._restored is None and step > 0:
            raise ValueError(
                f"Expected a checkpoint with the state of {type(self).__name__}, but it has none: "
                "what was collected before is lost, so that training cannot go on exactly."
            )
        seeds, device = (self.seed, self._rank), self.device
        self._rounds = Rounds(
            self._source(device), self.num_rounds, self.steps_per_round, seeds, device
        )
        if self._restored is not None:
            self._rounds.load_state_dict(self._restored)
            self._restored = None
        yield from self._rounds

    @property
    def _rank(self) -> int:
        return 0 if self.trainer is None else self.trainer.global_rank

    @property
    def _world_size(self) -> int:
        return 1 if self.trainer is None else self.trainer.world_size


class _Resumable(Batches):
    """Tells Lightning that iteration goes on where it was: the DataModule keeps the state."""

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        pass
