"""Free elements that fit badly, or go the long way round, are looked for again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from hgm.symmetry.phases import Fit
from hgm.symmetry.subgroup import LeftActions, Subgroup
from hgm.symmetry.winding import shortest

if TYPE_CHECKING:
    from hgm.symmetry.phases import Stage
    from hgm.symmetry.within import Within

ALIGNED = 1.5
"""Held-out robust loss, relative to that of residuals as large as predicted."""

SAME_FIT = 0.15
"""Robust loss by which fewer directions may be worse than free elements, and still be enough."""

_ROUNDS, _BETTER = 8, 0.95  # at most; loss, relative to that before, that is worth another round


def settled(within: Within, free: Fit, prior: Tensor, root: Tensor) -> Stage[list[Fit]]:
    """Free elements, the best first, by one or two logarithms.

    The base task alone may not tell an element. So while elements fit badly, each looks for a place
    among all others, from starts all over the group. Then, as a full turn is none, elements go the
    short way: what goes the long way may be on no line with the others.

    Args:
        within: The search.
        free: Elements that are free in their group.
        prior: What the dynamics say of the group's coordinates.
        root: Inverse square root of the points' covariance, ``(q, q)``.
    """
    group, num = free.subgroup.group, within.estimator.num_tasks

    def align(name: str, coords: Tensor) -> Stage[Fit]:
        every = LeftActions(torch.eye(group.dim_algebra).to(coords), coords)
        subgroup = Subgroup(group, every, fixed=True)
        return (yield from within.align(name, "alignment", subgroup, prior))

    for _ in range(_ROUNDS if num > 2 else 0):
        if free.loss < ALIGNED * within.expected:
            break
        coords = yield from within.align_each(group, prior, root, free.coords)
        again = yield from align("left actions, jointly again", coords)
        if again.loss > _BETTER * free.loss:
            break
        free = again
    short = shortest(group, free.coords)
    if torch.equal(short, free.coords):
        return [free]
    nearer = yield from align("left actions, the short way", short)
    return [nearer, free] if nearer.loss < free.loss + SAME_FIT else [free]
