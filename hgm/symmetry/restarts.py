"""Free elements that fit badly, or go the long way round, are looked for again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from hgm.symmetry.losses import Invariance
from hgm.symmetry.phases import Fit
from hgm.symmetry.subgroup import free_in
from hgm.symmetry.winding import shortest

if TYPE_CHECKING:
    from hgm.symmetry.phases import Stage
    from hgm.symmetry.within import Within

ALIGNED = 1.5
"""Held-out robust loss, relative to that of residuals as large as predicted."""

SAME_FIT = 0.15
"""Robust loss by which fewer directions may be worse than free elements, and still be enough."""

_ROUNDS, _IN_VAIN = 8, 2  # at most, of which so many in a row may be of no use
_BETTER = 0.95  # loss, relative to that before, that is of use


def resettled(
    within: Within,
    free: Fit,
    prior: Tensor,
    root: Tensor,
    invariance: Invariance,
    expected: float,
) -> Stage[Fit]:
    """Free elements that have looked for places among all others, while they fit badly.

    The base task alone may not tell an element. Starts are all over the group, others each round.

    Args:
        within: The search.
        free: Elements that are free in their group.
        prior: What the dynamics say of the group's coordinates.
        root: Inverse square root of the points' covariance, ``(q, q)``.
        invariance: What is to be alike.
        expected: Loss of residuals as large as predicted.
    """
    group, in_vain = free.subgroup.group, 0
    for number in range(_ROUNDS if within.estimator.num_tasks > 2 else 0):
        if free.loss < ALIGNED * expected or in_vain == _IN_VAIN:
            break
        coords = yield from within.align_each(group, prior, root, free.coords, invariance, number)
        name, subgroup = "left actions, jointly again", free_in(group, coords)
        again = yield from within.align(name, "alignment", subgroup, prior, invariance)
        in_vain = 0 if again.loss < _BETTER * free.loss else in_vain + 1
        free = min(free, again, key=lambda fit: fit.loss)
    return free


def shortened(within: Within, free: Fit, prior: Tensor) -> Stage[list[Fit]]:
    """Free elements, the best first, by one or two logarithms.

    As a full turn is none, elements go the short way: what goes the long way may be on no line with
    the others.

    Args:
        within: The search.
        free: Elements that are free in their group.
        prior: What the dynamics say of the group's coordinates.
    """
    group = free.subgroup.group
    short = shortest(group, free.coords)
    if torch.equal(short, free.coords):
        return [free]
    name, subgroup = "left actions, the short way", free_in(group, short)
    nearer = yield from within.align(name, "alignment", subgroup, prior)
    return [nearer, free] if nearer.loss < free.loss + SAME_FIT else [free]
