"""Transitions that a source delivers one after the other, and that are kept in memory."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import final

import torch
from tensordict import TensorDictBase

from hgm.datamodules.base import SHUFFLE, SPLIT, Batches, TransitionData, check_finite


class GatheredTransitions(TransitionData, ABC):
    """Transitions of which the first pass streams what the source delivers and keeps it.

    Later passes replay it, shuffled anew when ``batch_size`` is given. The arguments are those of
    :class:`~hgm.datamodules.base.TransitionData`.
    """

    def __init__(
        self, num_transitions: int, holdout_fraction: float, batch_size: int | None, seed: int
    ) -> None:
        super().__init__(num_transitions, holdout_fraction, batch_size, seed)
        self._train: list[TensorDictBase] = []
        self._held: list[TensorDictBase] = []
        self._source: Iterator[TensorDictBase] | None = None
        self._received = 0
        self._complete = False
        self._passes = 0

    @abstractmethod
    def deliver(self) -> Iterator[TensorDictBase]:
        """Yield this rank's ``num_local`` transitions in time order, in pieces ``[N, b]``."""

    @final
    def train_dataloader(self) -> Batches:
        """Batches ``[N, B]`` of training transitions."""
        if self.batch_size is None:
            return Batches(1, self._whole_pass)
        # The smallest share counts: ranks that yield unequally often would wait for ever.
        share = self.num_transitions // self.world_size
        smallest = min(n - self._num_held(n) for n in (share, self.num_local))
        return Batches(math.ceil(smallest / self.batch_size), self._split_pass)

    @final
    def val_dataloader(self) -> Batches:
        """The held-out transitions as one batch ``[N, H]``."""
        return Batches(1, self._held_pass)

    def _num_held(self, num: int) -> int:
        return max(1, round(self.holdout_fraction * num))

    def _advance(self) -> bool:
        """Take one delivery from the source, check it, split it. False when there is no more."""
        if self._complete:
            return False
        if self._source is None:
            order = torch.randperm(self.num_local, generator=self.generator(SPLIT))
            self._is_held = torch.zeros(self.num_local, dtype=torch.bool)
            self._is_held[order[: self._num_held(self.num_local)]] = True
            self._source = self.deliver()
        piece = next(self._source, None)
        if piece is None:
            self._complete = True
            return False
        check_finite(piece)
        held = self._is_held[self._received : self._received + piece.shape[1]]
        self._received += piece.shape[1]
        self._train.append(piece[:, ~held])
        self._held.append(piece[:, held])
        return True

    def _all(self, pieces: list[TensorDictBase]) -> TensorDictBase:
        """Everything in ``pieces`` once the source is exhausted, as one TensorDict."""
        while self._advance():
            pass
        if len(pieces) > 1:
            pieces[:] = [torch.cat(pieces, 1)]
        # A shallow copy: a consumer may add keys, and must not add them to the store.
        return pieces[0].clone(recurse=False)

    def _whole_pass(self) -> Iterator[TensorDictBase]:
        yield self._all(self._train)

    def _held_pass(self) -> Iterator[TensorDictBase]:
        yield self._all(self._held)

    def _split_pass(self) -> Iterator[TensorDictBase]:
        epoch = self._passes if self.trainer is None else self.trainer.current_epoch
        self._passes += 1
        generator = self.generator(SHUFFLE, epoch)
        pieces = self._stream() if epoch == 0 else iter([self._all(self._train)])
        left, size = len(self.train_dataloader()), self.batch_size or self.num_local
        pending: TensorDictBase | None = None
        for piece in pieces:
            piece = piece[:, torch.randperm(piece.shape[1], generator=generator)]
            pending = piece if pending is None else torch.cat((pending, piece), 1)
            while left > 0 and pending.shape[1] >= size:
                left -= 1
                yield pending[:, :size]
                pending = pending[:, size:]
        if left > 0 and pending is not None:
            yield pending

    def _stream(self) -> Iterator[TensorDictBase]:
        """Stored pieces first, then new ones as the source delivers them."""
        index = 0
        while index < len(self._train) or self._advance():
            yield self._train[index]
            index += 1
