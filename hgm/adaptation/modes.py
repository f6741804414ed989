"""Fitted elements of many tasks in one table."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Modes(NamedTuple):
    """Elements fitted to tasks, with additive sums over the tasks' observations."""

    row: Tensor  # the task, (Q,), ascending
    coords: Tensor  # (Q, d)
    extra: Tensor  # log 1/a and b/a, (Q, 2)
    loss: Tensor  # (Q,)
    slope: Tensor  # J^T V^-1 e, (Q, u)
    normal: Tensor  # J^T V^-1 J, (Q, u, u)
    pull: Tensor  # J^T V^-1 times columns of which the squares sum to C, (Q, u, S)

    def at(self, index: Tensor | slice) -> Modes:
        """Some of them."""
        return Modes(*(field[index] for field in self))

    def put(self, index: Tensor, others: Modes) -> Modes:
        """Replaces some, in place."""
        for field, values in zip(self, others, strict=True):
            field[index] = values
        return self


def tabulate(row: Tensor, num: int, width: int | None = None) -> tuple[Tensor, Tensor]:
    """Positions of the modes of `num` tasks, ``(num, width)``, -1 for none; and their columns."""
    index = torch.arange(len(row), device=row.device)
    slot = index - torch.searchsorted(row, row)
    width = int(slot.max()) + 1 if width is None else width
    table = row.new_full((num, width), -1)
    table[row, slot] = index
    return table, slot
