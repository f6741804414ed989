"""Rounds of gathering and learning, which can be stopped and resumed anywhere."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from tensordict import TensorDictBase
from torchrl.checkpoint import GlobalRNGState

from hgm.numerics.seeds import derive_seed

_COLLECT, _REPLAY, _GLOBAL = range(3)
"""Purposes of seeds."""


class Source(ABC):
    """What a round gathers, and the batches that it makes of all that was gathered."""

    @abstractmethod
    def collect(self, number: int, seed: int) -> None:
        """Gathers in round ``number``; environments draw from the seed, policies from torch's."""

    @abstractmethod
    def draw(self, generator: torch.Generator) -> Sequence[TensorDictBase]:
        """The batches of a round, the same for the same generator."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """What was gathered, and where it stands."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state_dict`."""

    @abstractmethod
    def close(self) -> None:
        """Closes the environments; what was gathered stays."""


class Rounds:
    """An iterator over batches: every round gathers once, and yields many batches.

    Exploration and losses draw from torch's global generator, which the first step seeds, and
    which is part of the state. Environment and replay draw from seeds of their own every round.

    Args:
        source: Where batches come from.
        num_rounds: Number of rounds.
        num_batches: Number of batches of a round.
        seeds: What all seeds derive from.
        device: Where batches are drawn.
    """

    def __init__(
        self,
        source: Source,
        num_rounds: int,
        num_batches: int,
        seeds: tuple[int, ...],
        device: torch.device,
    ) -> None:
        self.source = source
        self._num_rounds, self._num_batches = num_rounds, num_batches
        self._seeds, self._device = seeds, device
        self._random: dict[str, Any] | None = None
        self.position = 0

    def __iter__(self) -> Iterator[TensorDictBase]:
        if self._random is None:
            torch.manual_seed(derive_seed(*self._seeds, _GLOBAL))
        else:
            GlobalRNGState().load_state_dict(self._random)
        while self.position < self._num_rounds * self._num_batches:
            number, done = divmod(self.position, self._num_batches)
            if done == 0:
                self.source.collect(number, derive_seed(*self._seeds, _COLLECT, number))
            # Every round has its own generator, so that a run resumed within it draws the same.
            generator = torch.Generator(self._device)
            generator.manual_seed(derive_seed(*self._seeds, _REPLAY, number))
            for batch in self.source.draw(generator)[done:]:
                self.position += 1
                yield batch

    def state_dict(self) -> dict[str, Any]:
        """Position, source and random numbers."""
        return {
            "position": self.position,
            "source": self.source.state_dict(),
            "random": GlobalRNGState().state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state_dict`; random numbers are restored when iteration starts."""
        self.position, self._random = state["position"], state["random"]
        self.source.load_state_dict(state["source"])
