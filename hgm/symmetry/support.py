"""Quadrics that states are on: a group carries states to where there are states.

An angle that is seen as a cosine and a sine is on a circle, an attitude on a sphere, and currents
that add up to nothing are on a plane. Models are free to say anything of what is off such a set, so
that neither dynamics nor rewards can tell what a map that leaves it does.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hgm import lie

_THIN = 0.02  # deviations of the data: closer to a set than that, all of them are on it
_CLEAR = 0.1  # the same of others, where some are
_POINTS = 1000  # that rates are a mean over
_ENOUGH = 4  # points for every coefficient of a quadric, at least
_SAME = 0.9  # cosine between what either half of the points is on
_FLAT = 1e-3  # deviation, relative to the largest one, that still counts as an extent


def quadrics(points: Tensor) -> Tensor:
    r"""Quadrics :math:`q(p) = h^T Q h` that points are on, with ``h = (p, 1)``.

    Of whitened points, :math:`E |\nabla q|^2` is diagonal in the monomials, so those of which
    :math:`E q^2 / E |\nabla q|^2`, the square of the distance from ``q = 0``, is least are
    eigenvectors of their covariance. Directions in which points hardly differ keep the unit of the
    others, since blown up they would outweigh everything, and have no products. Few slow
    trajectories are on quadrics of their own: so these are looked for among the first half of the
    points and among the second, and what is on both is taken, unless as much would be by chance.

    Args:
        points: Points in order, ``(B, n)``.

    Returns:
        Symmetric matrices ``(r, n + 1, n + 1)`` with :math:`E |\nabla q|^2 = 1` in whitened points;
        none where points are too few to tell.
    """
    n = points.shape[-1]
    mean = points.mean(0)
    values, vectors = torch.linalg.eigh((points - mean).mT @ (points - mean) / len(points))
    most = values[-1].clamp_min(1e-300)
    flat = values <= _FLAT**2 * most
    root = vectors / torch.where(flat, most, values).sqrt()
    row, column = torch.triu_indices(n + 1, n + 1, device=points.device)[:, :-1]
    flat = torch.nn.functional.pad(flat, (0, 1))
    some = (column == n) | ~(flat[row] | flat[column])
    row, column = row[some], column[some]
    if len(points) < _ENOUGH * len(row):
        return points.new_zeros(0, n + 1, n + 1)
    chart = torch.eye(n + 1).to(points)
    chart[:n, :n], chart[:n, n] = root.mT, -(mean @ root)
    white = lie.homogeneous(points, n + 1) @ chart.mT
    # The square of a monomial's gradient: 4 of a square, 2 of another product, 1 of a coordinate.
    size = torch.where(column == n, 1.0, torch.where(row == column, 2.0, 2**0.5)).to(points)
    monomials = white[:, row] * white[:, column] / size
    middle = monomials.mean(0)
    near, far = (_thin(half) for half in (monomials - middle).tensor_split(2))
    turn, alike, other = torch.linalg.svd(near @ far.mT, full_matrices=False)
    same = alike > _SAME
    # Spaces of so many dimensions meet by chance.
    if int(same.sum()) <= 2 * (len(near) + len(far) - len(row)):
        same = torch.zeros_like(same)
    thin = torch.nn.functional.normalize((turn.mT @ near + other @ far)[same])
    found = points.new_zeros(len(thin), n + 1, n + 1)
    found[:, row, column] = thin / size / 2
    found = found + found.mT
    found[:, n, n] = -(thin @ middle)
    return chart.mT @ found @ chart


def _thin(monomials: Tensor) -> Tensor:
    """Combinations of monomials ``(B, c)`` that hardly vary, orthonormal, ``(r, c)``.

    None where others vary little more, as those of few slow trajectories do.
    """
    values, vectors = torch.linalg.eigh(monomials.mT @ monomials / len(monomials))
    some = int((values < _THIN**2).sum())
    return vectors.mT[:some] if some == int((values < _CLEAR**2).sum()) else vectors.mT[:0]


def leaving(points: Tensor, size: int) -> Tensor:
    r"""How fast generators carry points off the quadrics that they are on, ``(n k, n k)``.

    The form :math:`\sum_q E (\nabla q \cdot W p)^2` in the entries of `W`; 0 where points are on
    none.

    Args:
        points: Points, ``(B, n)``.
        size: Matrix size ``k`` of `W`: `n`, or `n + 1` in homogeneous coordinates.
    """
    n = points.shape[-1]
    found = quadrics(points)
    some = points[:: max(1, len(points) // _POINTS)]
    here = lie.homogeneous(some, size)
    form = points.new_zeros(n * size, n * size)
    for quadric in found:
        slope = 2 * lie.homogeneous(some, n + 1) @ quadric[:, :n]
        rows = (slope[:, :, None] * here[:, None, :]).flatten(1)
        form += rows.mT @ rows / len(some)
    return form


def staying(generators: Tensor, points: Tensor) -> Tensor | None:
    """Those combinations of generators that carry points along the quadrics that they are on.

    Args:
        generators: Generators, ``(D, k, k)``.
        points: Points, ``(B, n)``.

    Returns:
        An orthonormal basis, ``(d, k, k)``; None where all of them do, or none.
    """
    basis = lie.orthonormalise(generators)
    n, size = points.shape[-1], basis.shape[-1]
    entries = basis[:, :n].flatten(1)
    values, vectors = torch.linalg.eigh(entries @ leaving(points, size) @ entries.mT)
    inside = vectors.mT[values < _THIN**2]
    return lie.hat(inside, basis) if 0 < len(inside) < len(basis) else None
