"""Transitions that lie on a disk or in memory, read in pieces."""

from __future__ import annotations

import math
from abc import ABC
from collections.abc import Iterator
from typing import final

import torch
from tensordict import TensorDictBase
from torch import Tensor

from hgm.datamodules.base import SHUFFLE, SPLIT, Batches, TransitionData, check_finite
from hgm.numerics.seeds import derive_seed
from hgm.recordings.recording import Recording, TaskCount

PIECE, HELD = 1 << 17, 1 << 16
"""Most transitions, over all tasks and processes, in a batch, and held out."""
BLOCK, _BLOCKS = 256, 8
"""Most transitions of a task that are read in a row, and the fewest blocks of a piece."""


class RecordedTransitions(TransitionData, ABC):
    """Transitions of a :class:`~hgm.recordings.recording.Recording`.

    Nothing is kept: every pass reads anew. Without ``batch_size``, batches are pieces of at most
    131,072 transitions over all tasks, evenly spread over the time, and one if that is enough.
    The split is the same for any number of processes, and so is what all of them read together.

    Args:
        recording: The transitions.
        holdout_fraction: Fraction held out, in (0, 0.5]; at most 65,536 over all tasks.
        batch_size: Transitions per task in a batch, drawn anew in every pass; None: pieces.
        seed: Seed of split and shuffling.

    Attributes:
        counts: How many transitions every task has, and how many of them are used.
    """

    counts: list[TaskCount]

    def __init__(
        self, recording: Recording, holdout_fraction: float, batch_size: int | None, seed: int
    ) -> None:
        super().__init__(recording.num_transitions, holdout_fraction, batch_size, seed)
        self.recording, self.counts = recording, recording.counts
        self.num_tasks = recording.num_tasks
        self.dim_state, self.dim_action = recording.dim_state, recording.dim_action
        self.family, self.tasks = None, None
        num = self.num_transitions
        most = max(1, HELD // self.num_tasks)
        num_held = min(max(1, round(self.holdout_fraction * num)), most)
        # Not the rank's: what is held out does not depend on how many processes there are.
        split = torch.Generator().manual_seed(derive_seed(self.seed, 0, SPLIT))
        held = torch.zeros(num, dtype=torch.bool)
        held[torch.randperm(num, generator=split)[:num_held]] = True
        self._train, self._held = (~held).nonzero()[:, 0], held.nonzero()[:, 0]
        self._passes = 0

    @final
    def train_dataloader(self) -> Batches:
        """Batches ``[N, B]`` of training transitions."""
        if self.batch_size is None:
            return Batches(self._num_pieces, self._pieces)
        # The smallest share counts: ranks that yield unequally often would wait for ever.
        smallest = len(self._train) // self.world_size
        return Batches(math.ceil(smallest / self.batch_size), self._shuffled)

    @final
    def val_dataloader(self) -> Batches:
        """The held-out transitions as one batch ``[N, H]``."""
        return Batches(1, lambda: iter([self._read(self._mine(self._held))]))

    @property
    def _num_pieces(self) -> int:
        if self.num_tasks * len(self._train) <= PIECE:
            return 1
        whole = max(1, PIECE // (self.num_tasks * self._block))
        return math.ceil(math.ceil(len(self._train) / self._block) / whole)

    @property
    def _block(self) -> int:
        return max(1, min(BLOCK, PIECE // self.num_tasks // _BLOCKS))

    def _pieces(self) -> Iterator[TensorDictBase]:
        """Every so manieth block, so that any piece is of the whole stretch of time."""
        count, num = self._num_pieces, len(self._train)
        size = self._block if count > 1 else num
        blocks = torch.arange(math.ceil(num / size))
        for number in range(count):
            places = (blocks[number::count, None] * size + torch.arange(size)).flatten()
            yield self._read(self._mine(self._train[places[places < num]]))

    def _shuffled(self) -> Iterator[TensorDictBase]:
        epoch = self._passes if self.trainer is None else self.trainer.current_epoch
        self._passes += 1
        mine = self._mine(self._train)
        order = torch.randperm(len(mine), generator=self.generator(SHUFFLE, epoch))
        assert self.batch_size is not None, "else there are pieces"
        batches = mine[order].split(self.batch_size)[: len(self.train_dataloader())]
        yield from map(self._read, batches)

    def _mine(self, places: Tensor) -> Tensor:
        """This rank's share, in a row."""
        self.num_local  # noqa: B018 - raises where a rank would hold too few
        share, rest = divmod(len(places), self.world_size)
        start = self.rank * share + min(self.rank, rest)
        return places[start : start + share + (self.rank < rest)]

    def _read(self, places: Tensor) -> TensorDictBase:
        batch = self.recording.read(places)
        check_finite(batch)
        return batch
