"""Generators that leave rewards alone: elements are known up to them."""

from __future__ import annotations

import torch
from torch import Tensor

from hgm import lie
from hgm.differentials.base import DifferentialEstimator

_STILL = 0.015  # of the change that a typical direction makes
_POINTS = 500


def stabiliser(
    estimator: DifferentialEstimator, generators: Tensor, points: Tensor, elements: Tensor
) -> Tensor:
    r"""Combinations that leave the base task's reward alone, ``(z, k, k)``.

    Eigenvectors of :math:`E[(\nabla r \cdot W_a p)(\nabla r \cdot W_b p)]`. Rotations about a
    goal are such. Of several tasks, a mean: what leaves the base task's reward alone does so,
    carried to them by their elements, to theirs.

    Args:
        estimator: Fitted reward differentials.
        generators: Generators to choose from, ``(p, k, k)``.
        points: Points of the first tasks, the base task first, ``(M, B, q)``.
        elements: Left actions of these, ``(M, k, k)``.
    """
    if not len(generators):
        return generators
    points = points[:, :: max(1, len(points) * points.shape[1] // _POINTS)]
    slope = estimator.jet(points, torch.arange(len(points), device=points.device)).gradient
    there = elements[:, None] @ generators @ torch.linalg.inv(elements)[:, None]
    fields = lie.field(there, points)
    change = (fields @ slope[..., None])[..., 0].flatten(0, 1)
    typical = fields.square().sum(-1).mean() * slope.square().sum(-1).mean() / slope.shape[-1]
    values, vectors = torch.linalg.eigh(change.mT @ change / len(change))
    return lie.hat(vectors.mT[values < _STILL * typical], generators)


def nonzero(generators: Tensor) -> Tensor:
    """Those of generators ``(d, k, k)`` that do anything."""
    return generators[generators.flatten(1).any(1)]
