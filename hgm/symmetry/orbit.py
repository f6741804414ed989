"""Tasks that one group carries into each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from hgm.symmetry.pooling import PooledModel


class Orbit(NamedTuple):
    """Tasks that the group carries into each other.

    Attributes:
        tasks: Their indices, the base task first: that with which the search met the orbit.
        pool: The one reward model that explains them, if any.
    """

    tasks: list[int]
    pool: PooledModel | None


def bases(orbits: Sequence[Orbit], num: int) -> Tensor:
    """The base task of every task, ``(N,)``; tasks of no orbit are their own."""
    found = torch.arange(num)
    for orbit in orbits:
        found[orbit.tasks] = orbit.tasks[0]
    return found
