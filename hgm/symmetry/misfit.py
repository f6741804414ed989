"""What a model misses though it is no noise: neighbours have it in common."""

from __future__ import annotations

import torch
from scipy.spatial import cKDTree
from torch import Tensor

from hgm.numerics.ranks import ALONE, Ranks

_SURE, _FAR = 3.0, 3.0  # standard errors, and deviations beyond which residuals count as such


def alike(places: Tensor, residual: Tensor, usual: Tensor, ranks: Ranks = ALONE) -> float:
    """Mean square of what residuals are off that is no noise: nearest neighbours have it alike.

    The mean product of residuals of nearest neighbours, each cut off at three deviations; 0 unless
    that is three standard errors above 0.

    Args:
        places: Where the residuals are, ``(K, q)``, in coordinates of equal weight.
        residual: The residuals, ``(K,)``.
        usual: Their robust standard deviations, ``(K,)``.
        ranks: Collectives; neighbours are looked for among those of one process.
    """
    points = places.cpu().numpy()
    nearest = torch.from_numpy(cKDTree(points).query(points, [2])[1][:, 0]).to(residual.device)
    cut = torch.minimum(torch.maximum(residual, -_FAR * usual), _FAR * usual)
    product = cut * cut[nearest]
    terms = (torch.ones_like(product), product, product.square())
    count, shared, error = ranks.sum(torch.stack(terms).sum(1))
    return float(shared / count) if shared > _SURE * error.sqrt() else 0.0


def variance(values: Tensor, ranks: Ranks = ALONE) -> Tensor:
    """Variance of values ``(..., K)`` over all processes, ``(...)``."""
    sums = torch.stack((torch.ones_like(values), values, values.square())).sum(-1)
    count, total, square = ranks.sum(sums)
    return (square / count - (total / count).square()).clamp_min(1e-300)
