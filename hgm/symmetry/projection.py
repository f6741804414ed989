r"""Directions that explain the values of rewards best: regressions on projected points.

Gradients of a regression tell the directions in which rewards change to about half a degree; values
of rewards tell them some hundred times better, where there is no noise.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from hgm.numerics.fourier import (
    LENGTHSCALES,
    draw_frequencies,
    features,
    fit,
    moments,
    slope,
    whitening,
)
from hgm.numerics.gauss_newton import damped_step, normal_equations, shorten, trust

_WAVES = 256
_STEPS, _CHOSEN_AGAIN = 8, 2  # steps, and the one before which a length scale is chosen again
_DAMPING, _FLOOR, _MAX_STEP = 1e-6, 1e-12, 0.3
_SETTLED = 1e-7  # radians
_PRICE = 2.0  # minus twice a log-likelihood, of every entry that is fitted
_TAIL = 9.0  # of the weights of residuals, in squares of their deviation


def turned_by_values(directions: Tensor, points: Tensor, reward: Tensor) -> Tensor:
    r"""Directions that rewards are best explained by, orthonormal ``(p, q)``.

    Gauss-Newton on :math:`r_i(x) = R_i((B + E A) x)`, where the rows of `A` are orthogonal to those
    of `B`. Weights of `R_i`, every task's own regression on Fourier features, are eliminated
    (variable projection in Kaufman's form, as in :mod:`hgm.symmetry.pooling`), so that `E`, which
    all tasks share, is all that is unknown. Residuals have Cauchy weights: features misfit at
    kinks. Where evidence says no more for it than fits to noise gain, directions stay as they are.

    Args:
        directions: Where to start, orthonormal rows `B`, ``(p, q)``.
        points: What rewards are functions of, ``(N, B, q)``.
        reward: Rewards of about unit scale, ``(N, B)``.
    """
    num = len(directions)
    along, across = torch.linalg.svd(directions).Vh.split([num, directions.shape[1] - num])
    projected = _Projected(num, points @ across.mT, reward)
    chosen = projected.chosen(points @ along.mT)
    turn = best = torch.zeros(num, len(across)).to(points)
    least = math.inf
    for taken in range(_STEPS):
        seen = points @ (along + turn @ across).mT
        if taken == _CHOSEN_AGAIN:
            chosen, least = projected.chosen(seen), math.inf
        step, left = projected.step(seen, chosen)
        if left < least:
            best, least = turn, left
        length = step.abs().max()
        if bool(length < _SETTLED):
            break
        turn = turn + shorten(step, length, _MAX_STEP).view_as(turn)
    start, end = (
        projected.chosen(points @ (along + one @ across).mT).cost for one in (0 * best, best)
    )
    if end + _PRICE * best.numel() > start:
        return directions
    return torch.linalg.qr((along + best @ across).mT).Q.mT


class _Regressors(NamedTuple):
    """Frequencies ``(F, p)``, a ridge for each task ``(N,)``, and minus twice the log-evidence."""

    frequencies: Tensor
    ridge: Tensor
    cost: float


class _Projected:
    """Regressions of all tasks on what they see, and how it should change.

    Args:
        dim: How much is seen, ``p``.
        unseen: The rest of the points, ``(N, B, q - p)``.
        reward: Rewards, ``(N, B)``.
    """

    def __init__(self, dim: int, unseen: Tensor, reward: Tensor) -> None:
        self.unseen, self.reward = unseen, reward
        generator = torch.Generator().manual_seed(19)
        drawn, phases = draw_frequencies(dim, _WAVES, generator)
        self._drawn, self._phases = drawn.to(unseen), phases.to(unseen)

    def chosen(self, seen: Tensor) -> _Regressors:
        """Those of largest evidence on what is seen, ``(N, B, p)``."""
        inputs = whitening(seen)(seen)
        found = []
        for scale in LENGTHSCALES:
            frequencies = self._drawn / scale
            table = features(inputs, frequencies, self._phases)
            fitted = fit(moments(table, self.reward[..., None]))
            found.append(_Regressors(frequencies, fitted.ridge, float(fitted.cost.sum())))
        return min(found, key=lambda one: one.cost)

    def step(self, seen: Tensor, chosen: _Regressors) -> tuple[Tensor, float]:
        """The step of ``E``, flat, and the mean square of what is left without it."""
        frequencies, ridge, _ = chosen
        white = whitening(seen)
        inputs = white(seen)
        table = features(inputs, frequencies, self._phases)
        ridges = torch.diag_embed(ridge[:, None].expand(-1, table.shape[-1]))
        root = torch.linalg.cholesky(table.mT @ table + ridges)
        weights = torch.cholesky_solve(table.mT @ self.reward[..., None], root)
        residual = self.reward - (table @ weights)[..., 0]
        slopes = [
            slope(own, frequencies, self._phases, solved)
            for own, solved in zip(inputs, weights[..., 0], strict=True)
        ]
        gradient = torch.stack(slopes) @ white.root.mT
        change = (gradient[..., :, None] * self.unseen[..., None, :]).flatten(2)
        # Off the features: the weights follow a change of what is seen.
        change = change - table @ torch.cholesky_solve(table.mT @ change, root)
        left = residual.square().mean(1, keepdim=True)
        weight = trust(residual.square(), left.clamp_min(1e-300), _TAIL)
        sums = normal_equations(change, weight, residual[..., None])
        normal, pull = (term.sum(0) for term in sums)
        return damped_step(normal, -pull[:, 0], _DAMPING, _FLOOR), float(left.mean())
