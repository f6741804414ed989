r"""Increasing maps of tasks' rewards into the units of the first task's, in closed form.

Splines :math:`\psi_i` of the rewards of tasks 1 .. N-1, and one function `R`, that minimise
:math:`\sum_i w_i\,|\psi_i(r_i) - R(p_i)|^2` with :math:`\psi_0` the identity: linear in all
unknowns where `R` is a regression on features. The first task's rewards are what keeps everything
from shrinking to a constant.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from hgm.numerics.ranks import ALONE, Ranks

_DEGREE, _PIECES = 3, 8  # of maps of any shape
_FALL, _STEPS = 0.1, 17  # most of what a map may fall, and points of a piece that tell
_STEADY = 1e-9  # of the largest square of a column: those of pieces without rewards are 0
_FLAT = 1e-3  # least slope, relative to the map's typical one, of which a logarithm is taken


class Splines(NamedTuple):
    """B-splines of tasks' rewards, each between quantiles of its own; linear beyond the ends.

    The recursion of Cox and de Boor (de Boor, *A Practical Guide to Splines*, 2001, ch. IX).

    Attributes:
        knots: In ascending order, the ends ``degree + 1`` times, ``(N, P + degree + 1)``.
        degree: Degree of the pieces.
    """

    knots: Tensor
    degree: int

    def table(self, rewards: Tensor) -> Tensor:
        """All splines at rewards ``(N, B)``, shape ``(N, B, P)``."""
        inner = self._inside(rewards)
        beyond = (rewards - inner)[..., None]
        return self._values(inner, self.degree) + beyond * self.slopes(rewards)

    def slopes(self, rewards: Tensor) -> Tensor:
        """Their derivatives along the rewards, ``(N, B, P)``."""
        lower = self._values(self._inside(rewards), self.degree - 1) * self.degree
        lower = lower * _over(self.knots[:, self.degree :] - self.knots[:, : -self.degree])[:, None]
        return lower[..., :-1] - lower[..., 1:]

    def identity(self) -> Tensor:
        """Coefficients of the maps that change nothing, ``(N, P)``: Greville's abscissae."""
        return self.knots[:, 1:-1].unfold(1, self.degree, 1).mean(-1)

    def _inside(self, rewards: Tensor) -> Tensor:
        # Pieces are half open: the last one would not hold its end.
        last = self.knots[:, -1:] - 1e-9 * (self.knots[:, -1:] - self.knots[:, :1])
        return torch.minimum(torch.maximum(rewards, self.knots[:, :1]), last)

    def _values(self, inside: Tensor, degree: int) -> Tensor:
        knots, place = self.knots[:, None], inside[..., None]
        values = ((knots[..., :-1] <= place) & (place < knots[..., 1:])).to(inside)
        for order in range(1, degree + 1):
            width = _over(knots[..., order:] - knots[..., :-order])
            rising = (place - knots[..., : -order - 1]) * width[..., :-1]
            falling = (knots[..., order + 1 :] - place) * width[..., 1:]
            values = rising * values[..., :-1] + falling * values[..., 1:]
        return values


def _over(width: Tensor) -> Tensor:
    """One over widths of pieces; 0 for those of no width."""
    return torch.where(width > 0, 1 / torch.where(width > 0, width, 1.0), 0.0)


def straight(rewards: Tensor, ranks: Ranks = ALONE) -> Splines:
    """Straight lines in rewards ``(N, B)``, of which every process has some."""
    return _splines(rewards, 1, 1, ranks)


def bent(rewards: Tensor, ranks: Ranks = ALONE) -> Splines:
    """Smooth functions of rewards ``(N, B)``, as fine as the rewards are dense."""
    return _splines(rewards, _DEGREE, _PIECES, ranks)


def _splines(rewards: Tensor, degree: int, pieces: int, ranks: Ranks) -> Splines:
    shares = torch.linspace(0, 1, pieces + 1).to(rewards)
    ends = rewards.amin(1, keepdim=True), rewards.amax(1, keepdim=True)
    even = ends[0] + shares * (ends[1] - ends[0])
    # Pieces where rewards are, but none so short that its rewards are all alike.
    knots = (torch.quantile(rewards, shares, dim=1).mT + even) / 2
    # The mean over processes: they must have the same.
    knots = ranks.sum(knots) / ranks.sum(torch.ones_like(knots))
    sides = (side.expand(-1, degree) for side in (knots[:, :1], knots[:, -1:]))
    return Splines(torch.cat((next(sides), knots, next(sides)), 1), degree)


class Maps(NamedTuple):
    """Maps of the rewards of all tasks, that of task 0 being the identity.

    Attributes:
        splines: What they are sums of.
        coefficients: One row a task, ``(N, P)``.
    """

    splines: Splines
    coefficients: Tensor

    def __call__(self, rewards: Tensor) -> Tensor:
        """Rewards ``(N, B)`` in the units of task 0."""
        return (self.splines.table(rewards) @ self.coefficients[..., None])[..., 0]

    def slopes(self, rewards: Tensor) -> Tensor:
        """Derivatives of the maps at rewards ``(N, B)``."""
        return (self.splines.slopes(rewards) @ self.coefficients[..., None])[..., 0]

    @property
    def increase(self) -> bool:
        """Whether every map falls by next to nothing of what it rises, all ways added."""
        knots = self.splines.knots
        shares = torch.linspace(0, 1, _STEPS).to(knots)
        places = knots[:, :-1, None] + shares * knots.diff()[..., None]
        moves = self(places.flatten(1)).diff()
        rise, fall = moves.clamp_min(0.0).sum(1), (-moves).clamp_min(0.0).sum(1)
        return bool((fall <= _FALL * rise).all())

    def stretch(self, rewards: Tensor, ranks: Ranks = ALONE) -> Tensor:
        """Geometric mean of each map's slope, ``(N,)``.

        Its logarithm is what a change of units adds to the log-likelihood of a reward: residuals in
        units of it cannot be made small by maps that shrink everything.
        """
        slopes = self.slopes(rewards).abs()
        count, total = ranks.sum(torch.stack((torch.ones_like(slopes), slopes)).sum(-1))
        logs = slopes.clamp_min(_FLAT * (total / count)[:, None]).clamp_min(1e-300).log()
        return (ranks.sum(logs.sum(1)) / count).exp()

    def changed(self, unknowns: Tensor) -> Maps:
        """The same with coefficients of tasks 1 .. N-1 as one vector, as in :func:`joint_table`."""
        own = unknowns.view(len(self.coefficients) - 1, -1)
        return self._replace(coefficients=torch.cat((self.coefficients[:1], own)))


def joint_table(waves: Tensor, table: Tensor) -> Tensor:
    r"""Features of `R` and, beside them, splines of tasks 1 .. N-1, each in columns of its own.

    Regressed on the first task's rewards and zeros for all others, these give the weights of `R`
    and the coefficients of the maps: :math:`R(p) = r` there, :math:`R(p) - \psi_i(r) = 0` here.

    Args:
        waves: Features ``(N, B, M)``.
        table: Splines of the rewards ``(N, B, P)``, weighted like the features.

    Returns:
        Shape ``(N B, M + (N - 1) P)``.
    """
    num, rows, size = table.shape
    wide = table.new_zeros(num, rows, num - 1, size)
    for task in range(1, num):
        wide[task, :, task - 1] = -table[task]
    return torch.cat((waves, wide.flatten(-2)), -1).flatten(0, 1)


def ridges(ridge: Tensor, num_waves: int, normal: Tensor) -> Tensor:
    """Ridge of every column of :func:`joint_table`, whose normal matrix is given.

    Shape ``(M + (N - 1) P,)``; splines have next to none.
    """
    diagonal = normal.diagonal()
    steady = _STEADY * diagonal[num_waves:].amax() if len(diagonal) > num_waves else ridge
    return torch.cat((ridge.expand(num_waves), steady.expand(len(diagonal) - num_waves)))
