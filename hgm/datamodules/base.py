"""What all sources of transitions share: sizes, ranks, seeds, checks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import final

import torch
from lightning import LightningDataModule
from tensordict import TensorDictBase
from torch import Tensor

from hgm.checks import check_int, check_real
from hgm.envs.base import TaskFamily
from hgm.numerics.seeds import derive_seed
from hgm.recordings.recording import MIN_TRANSITIONS
from hgm.sizes import Sizes

KEYS = (
    "observation",
    "action",
    "task",
    ("next", "observation"),
    ("next", "reward"),
    ("next", "done"),
    ("next", "terminated"),
)
"""Keys of every batch ``[N, B]``."""

SPLIT, SHUFFLE, ENVIRONMENT, BEHAVIOUR = range(4)
"""Purposes of seeds."""

MAX_TRANSITIONS = 10_000_000


class Batches:
    """Iterable of known length: Lightning prefetches, and resumes wrongly, without a length."""

    def __init__(self, length: int, start: Callable[[], Iterator[TensorDictBase]]) -> None:
        self._length = length
        self._start = start

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[TensorDictBase]:
        return self._start()


class TransitionData(LightningDataModule, ABC):
    """Transitions of N tasks as TensorDicts ``[N, B]`` with TorchRL's keys :data:`KEYS`.

    A fixed random fraction is held out and never trained on. Every rank has its own share of the
    transitions of all tasks, and all ranks yield equally many batches. All randomness is private
    and derives from ``seed``, the rank and the epoch, so a resumed run needs no saved state of the
    data.

    Args:
        num_transitions: Transitions per task over all ranks, with the held-out ones.
        holdout_fraction: Fraction held out, in (0, 0.5].
        batch_size: Transitions per task in a batch; None: all that the rank holds.
        seed: Seed of tasks, environments, behaviour and splits.

    Attributes:
        family: The task family, or None where the data come from elsewhere.
        tasks: Hidden task parameters ``(N, k)`` for evaluation, or None.
        num_tasks: Number ``N`` of tasks.
        dim_state: State dimension ``n``.
        dim_action: Action dimension ``m``.

    Raises:
        ValueError: If an argument is out of range, naming it, its value and what would be right.
    """

    family: TaskFamily | None
    tasks: Tensor | None
    num_tasks: int
    dim_state: int
    dim_action: int

    def __init__(
        self, num_transitions: int, holdout_fraction: float, batch_size: int | None, seed: int
    ) -> None:
        super().__init__()
        self.num_transitions = check_int(
            "num_transitions", num_transitions, MIN_TRANSITIONS, MAX_TRANSITIONS
        )
        self.holdout_fraction = check_real("holdout_fraction", holdout_fraction, 0.0, strict=True)
        if self.holdout_fraction > 0.5:
            raise ValueError(
                f"Expected `holdout_fraction` to be in (0, 0.5], got {holdout_fraction!r}."
            )
        self.batch_size = None if batch_size is None else check_int("batch_size", batch_size, 1)
        self.seed = check_int("seed", seed, 0)

    @property
    def sizes(self) -> Sizes:
        """What a model must know of the data."""
        discrete = self.family is not None and self.family.discrete
        sizes = (self.num_tasks, self.dim_state, self.dim_action)
        return Sizes(*sizes, kind="transitions", discrete=discrete)

    @property
    def rank(self) -> int:
        """Rank of this process; 0 without a trainer."""
        return 0 if self.trainer is None else self.trainer.global_rank

    @property
    def world_size(self) -> int:
        """Number of processes; 1 without a trainer."""
        return 1 if self.trainer is None else self.trainer.world_size

    @property
    def num_local(self) -> int:
        """Transitions per task of this rank: shares differ by one at most.

        Raises:
            ValueError: If a rank would hold fewer than 20.
        """
        share, rest = divmod(self.num_transitions, self.world_size)
        if share < MIN_TRANSITIONS:
            raise ValueError(
                f"Expected `num_transitions` to give each of {self.world_size} ranks at least "
                f"{MIN_TRANSITIONS}, got {self.num_transitions}."
            )
        return share + (self.rank < rest)

    @abstractmethod
    def train_dataloader(self) -> Batches:
        """Batches ``[N, B]`` of training transitions."""

    @abstractmethod
    def val_dataloader(self) -> Batches:
        """The held-out transitions as one batch ``[N, H]``."""

    @final
    def test_dataloader(self) -> Batches:
        """The same as :meth:`val_dataloader`."""
        return self.val_dataloader()

    @final
    def generator(self, *purpose: int) -> torch.Generator:
        """A private generator for this seed, this rank and a purpose."""
        return torch.Generator().manual_seed(self.seed_for(*purpose))

    @final
    def seed_for(self, *purpose: int) -> int:
        """A seed for this rank and a purpose, independent of the others."""
        return derive_seed(self.seed, self.rank, *purpose)


def check_finite(batch: TensorDictBase) -> None:
    """Check that transitions ``[N, b]`` are finite.

    Raises:
        ValueError: If an entry is NaN or infinite, naming the key and the first such task.
    """
    for key in KEYS:
        value = batch.get(key)
        bad = (~value.isfinite()).flatten(1).any(1)
        if bad.any():
            raise ValueError(
                f"Expected finite transitions, but `{key}` of task {int(bad.nonzero()[0])} has NaN "
                "or infinite values. Check the environment, or drop these transitions."
            )
