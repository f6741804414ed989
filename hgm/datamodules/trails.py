"""What copies of environments went through, of which pieces are drawn."""

from __future__ import annotations

from typing import Any

import torch
from tensordict import TensorDict, TensorDictBase


class Trails:
    """The latest steps of environments ``[A, K]`` that never stop, and pieces of them at random.

    Pieces go on through the ends of episodes: what draws them looks at ``done``. TorchRL's
    ``SliceSampler`` draws within episodes, from the global generator; here a resumed run draws
    what it would have drawn.

    Args:
        size: Steps of every copy that are kept.
        device: Where they are.

    Raises:
        ValueError: As it is asked for pieces before there is a step.
    """

    def __init__(self, size: int, device: torch.device) -> None:
        self.size, self._device = size, device
        self._total = 0
        self._rows: TensorDictBase | None = None

    def __len__(self) -> int:
        """Steps of every copy so far, at most :attr:`size`."""
        return min(self._total, self.size)

    def extend(self, steps: TensorDictBase) -> None:
        """Writes steps ``[A, K, T]`` that follow those before."""
        rows = steps.permute(2, 0, 1)
        if self._rows is None:
            self._rows = rows[0].expand(self.size, *rows.shape[1:]).clone()
        num = len(rows)
        places = torch.arange(self._total, self._total + num, device=self._device) % self.size
        self._rows[places[-self.size :]] = rows[-self.size :]
        self._total += num

    def sample(self, num: int, length: int, generator: torch.Generator) -> TensorDictBase:
        """Pieces ``[A, num, length]``, each of a copy; shorter while there are fewer steps."""
        if self._rows is None:
            raise ValueError("Expected steps to draw pieces from, but there are none yet.")
        length, device = min(length, len(self)), generator.device
        agents, copies = self._rows.shape[1:]
        shape = (agents, num, 1)
        start = torch.randint(len(self) - length + 1, shape, generator=generator, device=device)
        copy = torch.randint(copies, shape, generator=generator, device=device)
        oldest = self._total % self.size if self._total > self.size else 0
        time = (oldest + start + torch.arange(length, device=device)) % self.size
        agent = torch.arange(agents, device=device)[:, None, None]
        return self._rows[time, agent, copy]

    def state_dict(self) -> dict[str, Any]:
        """The steps, and how many there were."""
        if self._rows is None:
            return {}
        rows = self._rows[: len(self)].flatten_keys(".").clone()
        return {"rows": rows.to_dict(), "shape": tuple(rows.shape), "total": self._total}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state_dict`."""
        self._rows, self._total = None, 0
        if state:
            rows = TensorDict(state["rows"], state["shape"], self._device).unflatten_keys(".")
            self._rows = rows[0].expand(self.size, *rows.shape[1:]).clone()
            self._rows[: len(rows)] = rows
            self._total = state["total"]
