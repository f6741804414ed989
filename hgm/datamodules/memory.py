"""What was gathered, as much as fits, and its exact state."""

from __future__ import annotations

from typing import Any

import torch
from tensordict import TensorDict, TensorDictBase
from torchrl.data import LazyTensorStorage, ReplayBuffer


class Memory:
    """The latest rows of TensorDicts ``[B, ...]``, in a TorchRL buffer.

    The buffer's own state holds memory that was never written, which differs between equal runs;
    this one's holds what was, and nothing else.

    Args:
        size: Rows that are kept.
        device: Where they are.
    """

    def __init__(self, size: int, device: torch.device) -> None:
        self.size, self._device = size, device
        self._buffer = ReplayBuffer(storage=LazyTensorStorage(size, device=device))

    def __len__(self) -> int:
        """Rows so far, at most :attr:`size`."""
        return len(self._buffer)

    def __getitem__(self, index: Any) -> TensorDictBase:
        """Rows in the order of their places: the next one overwrites the oldest one's."""
        return self._buffer[index]

    def extend(self, rows: TensorDictBase) -> None:
        """Writes rows ``[B, ...]``."""
        self._buffer.extend(rows)

    def sample(self, num: int, generator: torch.Generator) -> TensorDictBase:
        """Rows ``[num, ...]``, each drawn from all."""
        return self._buffer[
            torch.randint(len(self), (num,), generator=generator, device=generator.device)
        ]

    def state_dict(self) -> dict[str, Any]:
        """The rows, and where the next one goes."""
        if len(self) == 0:
            return {}
        rows = self[:].flatten_keys(".").clone()
        return {
            "rows": rows.to_dict(),
            "shape": tuple(rows.shape),
            "writer": self._buffer.writer.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state_dict`."""
        self._buffer = ReplayBuffer(storage=LazyTensorStorage(self.size, device=self._device))
        if state:
            rows = TensorDict(state["rows"], state["shape"], self._device)
            self.extend(rows.unflatten_keys("."))
            self._buffer.writer.load_state_dict(state["writer"])
