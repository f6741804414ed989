"""What a model misses though it is no noise: neighbours have it in common."""

from __future__ import annotations

from typing import NamedTuple

import torch
from scipy.spatial import cKDTree
from torch import Tensor

from hgm.numerics.ranks import ALONE, Ranks

_SURE, _LIKELY = 3.0, 2.0  # standard errors above 0: to claim a misfit; to doubt that it is none
_FAR = 3.0  # deviations, beyond which residuals count as such
_LEAST = 1e-24  # mean square: residuals may be 0


class Shared(NamedTuple):
    """What residuals of nearest neighbours have in common, over all processes.

    Attributes:
        product: Mean product of a residual and its nearest neighbour's, a scalar.
        error: Its standard error, if there is nothing in common.
        square: Mean square of the residuals.
    """

    product: Tensor
    error: Tensor
    square: Tensor

    @property
    def misfit(self) -> float:
        """Mean square of what is off for sure and no noise; 0 where nothing is for sure."""
        return float(self.product) if self.product > _SURE * self.error else 0.0

    @property
    def share(self) -> Tensor:
        """Share of the residuals' variance that is likely to be no noise, a scalar."""
        return ((self.product - _LIKELY * self.error) / self.square).clamp(0.0, 1.0)


def shared(
    places: Tensor, residual: Tensor, usual: Tensor, most: int | None = None, ranks: Ranks = ALONE
) -> Shared:
    """What nearest neighbours have in common; residuals are cut off at three deviations.

    Args:
        places: Where the residuals are, ``(K, q)``, in coordinates of equal weight.
        residual: The residuals, ``(K,)``.
        usual: Their robust standard deviations, ``(K,)``, or that of all.
        most: Of about how many the nearest neighbour is looked for; None: of all.
        ranks: Collectives; neighbours are looked for among those of one process.
    """
    points = places.cpu().numpy()
    every = 1 if most is None else max(1, len(points) // most)
    own = torch.arange(0, len(points), every)
    # Of several at one place, any may come first: the neighbour is who is not the point itself.
    found = torch.from_numpy(cKDTree(points).query(points[::every], min(2, len(points)))[1])
    found = found.view(len(own), -1)
    near = torch.where(found[:, 0] == own, found[:, -1], found[:, 0]).to(residual.device)
    cut = torch.minimum(torch.maximum(residual, -_FAR * usual), _FAR * usual)
    one = cut[own.to(residual.device)]
    # A residual that is alone on its process has no neighbour.
    product = one * cut[near] * (len(points) > 1)
    terms = (torch.ones_like(product), product, product.square(), one.square())
    count, total, scatter, square = ranks.sum(torch.stack(terms).sum(1))
    return Shared(total / count, scatter.sqrt() / count, (square / count).clamp_min(_LEAST))


def variance(values: Tensor, ranks: Ranks = ALONE) -> Tensor:
    """Variance of values ``(..., K)`` over all processes, ``(...)``."""
    sums = torch.stack((torch.ones_like(values), values, values.square())).sum(-1)
    count, total, square = ranks.sum(sums)
    return (square / count - (total / count).square()).clamp_min(1e-300)
