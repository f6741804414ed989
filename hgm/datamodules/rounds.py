"""Rounds of collecting and replaying, which can be stopped and resumed anywhere."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from tensordict import TensorDictBase
from torchrl.checkpoint import GlobalRNGState
from torchrl.data import LazyTensorStorage, ReplayBuffer

from hgm.datamodules.collection import Collection

_COLLECT, _REPLAY, _GLOBAL = range(3)
"""Purposes of seeds."""


def derive_seed(*numbers: int) -> int:
    """A seed for these numbers, independent of the seeds for others."""
    # NumPy fills up with zeros, so that (1,) and (1, 0) would be the same without their length.
    return int(np.random.SeedSequence([len(numbers), *numbers]).generate_state(1)[0])


class Rounds:
    """An iterator over batches ``[B]``: every round collects once, and replays many times.

    Exploration and losses draw from torch's global generator, which the first step seeds, and
    which is part of the state. Environment and replay draw from seeds of their own every round.

    Args:
        collection: Where transitions come from.
        num_rounds: Number of rounds.
        num_random_rounds: Rounds at the start whose actions are uniform.
        shape: Number of batches of a round, and their size ``B``.
        buffer_size: Transitions that are kept.
        seeds: What all seeds derive from.
        device: Where the buffer is.
    """

    def __init__(
        self,
        collection: Collection,
        num_rounds: int,
        num_random_rounds: int,
        shape: tuple[int, int],
        buffer_size: int,
        seeds: tuple[int, ...],
        device: torch.device,
    ) -> None:
        self._collection, self._shape, self._seeds = collection, shape, seeds
        self._num_rounds, self._num_random_rounds = num_rounds, num_random_rounds
        self._buffer = ReplayBuffer(storage=LazyTensorStorage(buffer_size, device=device))
        self._device = device
        self._random: dict[str, Any] | None = None
        self.position = 0

    def __iter__(self) -> Iterator[TensorDictBase]:
        if self._random is None:
            torch.manual_seed(derive_seed(*self._seeds, _GLOBAL))
        else:
            GlobalRNGState().load_state_dict(self._random)
        num_batches = self._shape[0]
        while self.position < self._num_rounds * num_batches:
            number, done = divmod(self.position, num_batches)
            if done == 0:
                seed = derive_seed(*self._seeds, _COLLECT, number)
                new = self._collection.collect(seed, number < self._num_random_rounds)
                self._buffer.extend(new.exclude("task"))
            # All batches of a round at once: ten times as fast as one by one. Every round has its
            # own generator, so that a run resumed within it draws the same.
            generator = torch.Generator(self._device)
            self._buffer.set_rng(generator.manual_seed(derive_seed(*self._seeds, _REPLAY, number)))
            drawn = self._buffer.sample(math.prod(self._shape)).reshape(self._shape)
            for batch in drawn[done:].unbind(0):
                self.position += 1
                yield batch

    def state_dict(self) -> dict[str, Any]:
        """Position, buffer, running episodes and random numbers."""
        return {
            "position": self.position,
            "buffer": self._buffer.state_dict(),
            "collection": self._collection.state_dict(),
            "random": GlobalRNGState().state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state_dict`; random numbers are restored when iteration starts."""
        self.position, self._random = state["position"], state["random"]
        self._buffer.load_state_dict(state["buffer"])
        self._collection.load_state_dict(state["collection"])

    def close(self) -> None:
        """Closes the environments; what was collected stays."""
        self._collection.close()
