"""How dense data are, by the distances to nearest neighbours."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from scipy.spatial import cKDTree
from torch import Tensor

NEAREST = 8
_TINY = 1e-12


def distances(data: Tensor, points: Tensor, num: int = NEAREST) -> Tensor:
    """From points ``(..., p)`` to the nearest of data ``(B, p)``, ascending, ``(..., num)``.

    Very large where there are too few data, and never 0.
    """
    tree = cKDTree(data.cpu().numpy())
    found = tree.query(points.flatten(0, -2).cpu().numpy(), range(1, num + 1))[0]
    found = torch.from_numpy(found).to(points).clamp(_TINY, 1 / _TINY)
    return found.view(*points.shape[:-1], num)


def dimension(found: Sequence[Tensor], most: int) -> float:
    r"""Of what data fill, from distances ``(..., K)`` to their neighbours: from 1 to `most`.

    The inverse of the mean of :math:`\log(r_K / r_k)` over points and neighbours (Levina and
    Bickel, *NIPS* 17, 2005, averaged as MacKay and Ghahramani propose). A density is then
    :math:`K / r_K^D` up to a factor (Loftsgaarden and Quesenberry, *Ann. Math. Statist.* 36, 1965).
    """
    logs = [(one[..., -1:] / one[..., :-1]).log().flatten() for one in found]
    return min(max(1.0, 1 / max(float(torch.cat(logs).mean()), _TINY)), float(most))
