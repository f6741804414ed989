"""What parts of the data say of transitions, beside what other parts leave of others nearby."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from hgm.evidence.own import Own
from hgm.evidence.statement import Statement, Tolerance, measure
from hgm.numerics.fourier import whitening
from hgm.symmetry.samples import halves

_NEAREST, _THIN = 2, 16
_MOST_OTHERS = 16
_LEAST_FARTHER = 0.1
_NEAR = 0.98  # quantile of the distances of a part's inputs to each other
_LEAST_KNOWN = 0.1  # share of what there is to explain that other parts have data beside

Both = tuple[Tensor, Tensor]
Compare = Callable[[Both, Both], "Compared | None"]


class Compared(NamedTuple):
    """What parts' own regressions add on held-out transitions, and what it is a share of.

    Attributes:
        own: Of N parts and H transitions.
        total: What there is to explain, ``(N, H)``.
        tolerance: What the deviation is judged by.
    """

    own: Own
    total: Tensor
    tolerance: Tolerance


def judged(
    found: Compared,
    compare: Compare,
    inputs: Both,
    targets: Both,
    in_turn: Callable[[Tensor], Tensor],
    repeated: bool = False,
    beside: int | None = None,
) -> Statement:
    r"""Whether parts know something that the others do not, which neighbours do not contradict.

    Where a function is sharp, what regressions leave of it is not 0, and parts of unlike density
    learn unlike averages of that. So a deviation is looked at again: with the residuals :math:`e`
    of one regression and what a part's own says of them, :math:`h_i`, both of the other half of the
    transitions, it is

    .. math:: \langle h_i(x) (e_i(x) - \bar e(x)) \rangle,

    where :math:`\bar e` is the mean over the nearest transitions of other parts: whatever the
    regressions leave there, they leave to all parts. What the distance to these may add, by those
    of a thinner set, is tolerated. It is believed where it excludes that the deviation is as large
    as it looked. Of places where no other part has data nothing can be said: these count for
    nothing, unless most of the deviation is there.

    Args:
        found: What `compare` says of these inputs and targets.
        compare: Fits near inputs and targets, and judges far ones; None if it cannot tell.
        inputs: Training and held-out inputs, ``(N, B, p)`` and ``(N, H, p)``.
        targets: Training and held-out targets, ``(N, B, q)`` and ``(N, H, q)``.
        in_turn: Units of resampling ``(U,)`` of values of parts ``(N, H)``.
        repeated: Whether all parts have the same transitions, in frames of their own. Then those of
            other times are met: beside itself, a transition cannot contradict anything.
        beside: In how many of the inputs neighbours are near; None: in all.
    """
    plain = measure(in_turn(found.own.product), in_turn(found.total), found.tolerance)
    if not plain.broken:
        return plain
    place, target = (torch.cat(both, 1) for both in (inputs, targets))
    half = halves(place.shape[:2])[0].to(place.device)
    product, blur, unmet, total, whole = (place.new_zeros(place.shape[:2]) for _ in range(5))
    for own in (half == 0, half == 1):
        crossed = compare((place[:, ~own], place[:, own]), (target[:, ~own], target[:, own]))
        if crossed is None:
            return plain
        near = place[:, own, :beside]
        mean, beyond, known = _others(near, crossed.own.left, repeated)
        weighed = (crossed.own.sure * known)[..., None] * crossed.own.known
        product[:, own] = (weighed * (crossed.own.left - mean)).sum(-1)
        blur[:, own] = -(weighed * beyond).sum(-1)
        unmet[:, own] = (1 - known) * crossed.own.product
        total[:, own], whole[:, own] = known * crossed.total, crossed.total
    if total.sum() < _LEAST_KNOWN * whole.sum():
        return plain
    elsewhere = measure(in_turn(unmet), in_turn(whole), found.tolerance)
    if elsewhere.broken and elsewhere.effect > plain.effect / 2:
        return plain
    return believed(plain, in_turn(product), in_turn(blur), in_turn(total))


def believed(plain: Statement, product: Tensor, blur: Tensor, total: Tensor) -> Statement:
    """What is known of a deviation that was looked at again beside other transitions.

    The second look counts where it excludes that the deviation is as large as it looked at first,
    and that the distance to the others adds as much: then it could hide it.

    Args:
        plain: What it looked like at first.
        product: What the second look says, one row per unit of resampling, ``(U,)``.
        blur: What the distance to the others may add to it, ``(U,)``.
        total: What they are shares of, ``(U,)``.
    """
    added = measure(blur, total, plain.tolerance)
    allowed = plain.tolerance._replace(small=plain.tolerance.small + max(0.0, added.effect))
    met = measure(product, total, allowed)
    return met if max(met.high, added.high) < plain.effect else plain


def _others(inputs: Tensor, left: Tensor, repeated: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Mean residuals of the nearest of other parts, what these are off by, and where there are any.

    Shapes ``(N, H, q)``, ``(N, H, q)`` and ``(N, H)``.
    """
    num = len(inputs)
    where = whitening(inputs)(inputs).cpu().numpy()
    beside, beyond = torch.zeros_like(left), torch.zeros_like(left)
    distance, apart = (left.new_zeros(left.shape[:2]) for _ in range(2))
    many = min(num - 1, _MOST_OTHERS)
    time = halves(left.shape[:2])[0].to(left.device)
    turns = [(time == 0, time == 1), (time == 1, time == 0)] if repeated else [(time < 2, time < 2)]
    for part in range(num):
        # Parts in a row may be alike.
        some = [(part + 1 + step * (num - 1) // many) % num for step in range(many)]
        for here, there in turns:
            rows = where[some][:, there.cpu().numpy()].reshape(-1, where.shape[-1])
            theirs = left[some][:, there].flatten(0, 1)
            met = nearest(rows, theirs, where[part, here.cpu().numpy()])
            beside[part, here], beyond[part, here], distance[part, here] = met
        # Itself is the nearest of a part's own.
        apart[part] = _means(where[part], left[part], where[part], _NEAREST + 1)[1]
    known = distance <= apart.flatten().quantile(_NEAR) * (_NEAREST + 1) / _NEAREST
    return beside, beyond, known.to(left)


def nearest(rows: np.ndarray, left: Tensor, where: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
    """Means of what is left of the nearest of others, and what these are off by for their distance.

    Others of a thinner set are farther off: what they differ by, over the share that is added to
    the distance, is what means are off by.

    Args:
        rows: Where the others are, ``(R, p)``.
        left: What is left of them, ``(R, q)``.
        where: Where means are wanted, ``(K, p)``.

    Returns:
        Means and what these are off by, ``(K, q)``, and mean distances, ``(K,)``.
    """
    (near, close), (far, wide) = (
        _means(rows[::thin], left[::thin], where, _NEAREST) for thin in (1, _THIN)
    )
    farther = wide.mean() / close.mean().clamp_min(1e-300) - 1
    return near, (far - near) / farther.clamp_min(_LEAST_FARTHER), close


def _means(rows: np.ndarray, left: Tensor, where: np.ndarray, num: int) -> tuple[Tensor, Tensor]:
    num = min(num, len(rows))
    tree = cKDTree(rows, balanced_tree=False, compact_nodes=False)
    distances, index = tree.query(where, range(1, num + 1))
    chosen = left[torch.from_numpy(index).flatten().to(left.device)]
    return chosen.unflatten(0, index.shape).mean(1), torch.from_numpy(distances.mean(1)).to(left)
