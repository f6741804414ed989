r"""Directions in which rewards change, where these are not coordinates.

Rewards may be functions of :math:`y = B s` with fewer rows than there are coordinates that matter:
of the middle of two bodies, say, or in coordinates that somebody mixed.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hgm.numerics.fourier import LENGTHSCALES, FourierRegression
from hgm.numerics.tails import long_tails
from hgm.symmetry.projection import turned_by_values
from hgm.symmetry.samples import thin

_WAVES, _ROWS, _TASKS = 192, 1500, 8
_MOST_ROWS = 4000  # of the regressions that turn directions
_MIDDLE = 0.75  # of every task's transitions, where coordinates have long tails
_STRAIGHT = 0.999  # slope of what is not bent
_ROUNDS = 3
FEWEST = 3
"""Coordinates of which there may be fewer directions: of two, nothing is won."""

_GONE = (0.05, 1e-3)  # shares of the gradients' square: of others that may be dropped; that are
_TINY = 1e-12  # of the metric
_AS_WELL, _ROUNDING = 1.2, 2e-6  # relative to what all directions leave; share of the variance


def seen_directions(points: Tensor, reward: Tensor) -> Tensor | None:
    r"""The directions that rewards see, orthonormal ``(p, q)``; None if they see everything.

    The matrix :math:`\sum_i E[\nabla r_i \nabla r_i^T]` of all tasks' regressions is the metric of
    the next ones, in which directions that matter little matter less (Radhakrishnan et al.,
    *Mechanism for feature learning in neural networks*, Science 383, 2024). Eigenvectors of small
    share are dropped, as many as can be while the others, turned to where they explain values best
    (:func:`~hgm.symmetry.projection.turned_by_values`), explain rewards as well as all did in any
    metric.

    Where coordinates have long tails, far points are left out: waves describe these badly, and a
    gradient that errs has any direction.

    Args:
        points: What rewards are functions of, ``(N, B, q)``, of about unit scale.
        reward: Rewards, ``(N, B)``.
    """
    dim = points.shape[-1]
    if dim < FEWEST:
        return None
    tasks = slice(None, None, max(1, len(points) // _TASKS))
    points, reward = _middle(points[tasks], reward[tasks])
    points, reward = thin(points, _MOST_ROWS), thin(reward, _MOST_ROWS)
    points = points - points.flatten(0, 1).mean(0)
    reward = reward - reward.mean(1, keepdim=True)
    reward = reward / reward.std(1, keepdim=True).clamp_min(1e-12)
    few, their = thin(points, _ROWS), thin(reward, _ROWS)
    root, least = torch.eye(dim).to(points), math.inf
    for _ in range(_ROUNDS):
        left, slope = _fitted(few @ root, their)
        # Off a set that points are on, slopes are anything: a metric by them may be a bad one.
        least = min(least, left)
        slope = slope @ root.mT
        values, vectors = torch.linalg.eigh((slope.mT @ slope).mean(0))
        values, vectors = values.flip(0), vectors.flip(1)
        root = vectors * (values / values[0].clamp_min(1e-300)).clamp_min(0.0).sqrt()
    rest = values.flip(0).cumsum(0).flip(0) / values.sum()
    fewest, most = (int((rest > share).sum()) for share in _GONE)
    for num in range(fewest, min(most + 1, dim)):
        found = turned_by_values(vectors[:, :num].mT, points, reward)
        metric = found @ root @ root.mT @ found.mT + _TINY * torch.eye(num).to(found)
        left, _ = _fitted(few @ found.mT @ torch.linalg.cholesky(metric), their)
        # Without what has a share, they are to explain all: noise would hide what is missing.
        if left < (_AS_WELL if num == most else 1.0) * least + _ROUNDING:
            return found
    return None


def _middle(points: Tensor, reward: Tensor) -> tuple[Tensor, Tensor]:
    """Points ``(N, B', q)`` that are not far out along long tails, and their rewards."""
    tails = long_tails(points.flatten(0, 1))
    if tails is None:
        return points, reward
    long = (tails.slope(points) < _STRAIGHT).flatten(0, 1).any(0)
    bent = tails(points)[..., long]
    flat = bent.flatten(0, 1)
    far = ((bent - flat.median(0).values) / flat.std(0).clamp_min(1e-300)).abs().amax(-1)
    num = max(1, int(_MIDDLE * points.shape[1]))
    near = far.topk(num, 1, largest=False).indices.sort(1).values
    index = near[..., None].expand(-1, -1, points.shape[-1])
    return points.gather(1, index), reward.gather(1, near)


def _fitted(points: Tensor, reward: Tensor) -> tuple[float, Tensor]:
    """What every task's own regression leaves, and its gradients, ``(N, B, p)``."""
    dim = points.shape[-1]
    # As they are: whitening would undo the metric.
    model = FourierRegression(len(points), dim, 1, _WAVES, LENGTHSCALES, seed=19, whiten=False)
    model.accumulate(points, reward[..., None])
    model.solve()
    return float(model.noise.square().mean()), model.predict(points)[1][:, :, 0]


def turned_towards_axes(directions: Tensor) -> tuple[Tensor, list[int]]:
    """An orthogonal chart ``(q, q)``, and which of its rows span given directions ``(p, q)``.

    Rows are as near to coordinates as can be, so that a figure over coordinates shows about them.
    """
    num, dim = directions.shape
    rows, rest = [], directions
    for _ in range(num):  # pivots: the coordinate that is seen best, then the next
        best = int(rest.square().sum(0).argmax())
        rows.append(best)
        axis = rest[:, best] / rest[:, best].norm()
        rest = rest - axis[:, None] * (axis @ rest)
    rows = sorted(rows)
    others = [column for column in range(dim) if column not in rows]
    across = torch.linalg.svd(directions).Vh[num:]
    chart = torch.zeros(dim, dim).to(directions)
    for own, columns in ((directions, rows), (across, others)):
        left, _, right = torch.linalg.svd(own[:, columns])
        chart[columns] = (left @ right).mT @ own
    return chart, rows
