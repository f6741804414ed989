"""Reward differentials from local quadratic regression on nearest neighbours."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from hgm.checks import check_int
from hgm.differentials.base import DifferentialEstimator
from hgm.numerics.fourier import Jet, whitening
from hgm.numerics.ranks import ALONE, Ranks

COUNTS = (12, 17, 24, 34, 48, 68, 96, 136, 192, 272, 400)
"""Candidate neighbourhood sizes."""

_RIDGE = 1e-9
_JUDGES = 300  # points of a task that cross-validation leaves out, one by one
_BUDGET = 1 << 18  # numbers in the largest table of a chunk: what a cache holds


class Near(NamedTuple):
    """Neighbours of queries.

    Attributes:
        indices: Which points they are, ``(Q, k)``.
        offset: Where they are from the query, in units of the radius, ``(Q, k, n)``.
        radius: Distance at which the weight vanishes, ``(Q,)``.
        weight: Tricube of the distance, at most 1, ``(Q, k)``.
        emptiness: n-th power of nearest over farthest distance, ``(Q,)``: the part of their ball
            that is empty about its centre. About ``1 / k`` inside the data, towards 1 outside.
    """

    indices: Tensor
    offset: Tensor
    radius: Tensor
    weight: Tensor
    emptiness: Tensor


class LocalFit(NamedTuple):
    """Coefficients ``(Q, M, q)`` and their covariance per unit noise variance ``(Q, M, M)``."""

    coefficients: Tensor
    covariance: Tensor


def nearest(queries: Tensor, points: Tensor, count: int, leave_out: Tensor | None = None) -> Near:
    """The `count` nearest of points ``(B, n)`` to queries ``(Q, n)``.

    Args:
        queries: Where neighbours are sought.
        points: Where they are found.
        count: How many.
        leave_out: For every query the index of a point that is none, ``(Q,)``.
    """
    distance = torch.cdist(queries, points)
    if leave_out is not None:
        distance.scatter_(1, leave_out[:, None], float("inf"))
    # Unsorted: with hundreds of neighbours, sorting would be half of all the time.
    distance, indices = distance.topk(count, largest=False, sorted=False)
    farthest = distance.amax(-1)
    # The farthest neighbour keeps a weight: a count of the unknowns' number still determines them.
    radius = ((1 + 1 / count) * farthest).clamp_min(1e-12)
    offset = (points[indices] - queries[:, None]) / radius[:, None, None]
    weight = (1 - (distance / radius[:, None]) ** 3) ** 3
    emptiness = (distance.amin(-1) / farthest.clamp_min(1e-12)) ** points.shape[-1]
    return Near(indices, offset, radius, weight, emptiness)


def regress(table: Tensor, targets: Tensor, weight: Tensor) -> LocalFit:
    r"""Weighted least squares of targets ``(Q, k, q)`` on a table ``(Q, k, M)``.

    The covariance takes the weights, at most 1, as precisions: no less than the true one inside
    the data, and growing without bound where all neighbours are far and so weigh little.
    """
    weighted = (table * weight[..., None]).mT
    normal = weighted @ table
    diagonal = normal.diagonal(dim1=-2, dim2=-1)
    # Relative to the largest entry: neighbours on a line or a sphere leave terms undetermined.
    diagonal += _RIDGE * diagonal.amax(-1, keepdim=True).clamp_min(1e-200)
    covariance = torch.linalg.inv_ex(normal).inverse
    return LocalFit(covariance @ (weighted @ targets), covariance)


def monomials(offset: Tensor) -> Tensor:
    """Monomials whose coefficients are value, gradient and Hessian, ``(..., n) -> (..., M)``."""
    n = offset.shape[-1]
    rows, columns = torch.triu_indices(n, n, device=offset.device)
    halves = torch.where(rows == columns, 0.5, 1.0).to(offset)
    square = offset[..., rows] * offset[..., columns] * halves
    return torch.cat((torch.ones_like(offset[..., :1]), offset, square), -1)


def chunks(queries: Tensor, width: int) -> Iterator[Tensor]:
    """Chunks of queries whose tables, `width` numbers per query, fit the cache."""
    return iter(queries.split(max(1, _BUDGET // width)))


class LocalEstimator(DifferentialEstimator):
    r"""Quadratic regression on the k nearest neighbours, weighted by the tricube.

    At a query ``q`` with neighbours :math:`p_j` it minimises
    :math:`\sum_j w_j (r_j - c - g^T \delta_j - \frac12 \delta_j^T H \delta_j)^2` with
    :math:`\delta_j = p_j - q` in whitened coordinates and
    :math:`w_j = (1 - |\delta_j|^3 / h^3)^3` (Cleveland and Devlin, *Locally Weighted Regression*,
    1988). The count k of every task has the smallest leave-one-out error of the reward, which is
    also the noise. The gradient's variance is that of least squares, plus
    :math:`|g|^2 \epsilon^2` with the emptiness :math:`\epsilon` of :class:`Near`.

    Args:
        num_tasks: Number ``N`` of tasks.
        dim_state: Dimension ``n`` of the points.
        counts: Candidate neighbourhood sizes. Those that exceed the data, or do not exceed
            the unknowns of a quadratic by half, are passed over.

    Raises:
        ValueError: If there are no counts, or one is not an int of at least 2; by :meth:`finish`,
            if there are too few points for a quadratic.
    """

    def __init__(self, num_tasks: int, dim_state: int, counts: Sequence[int] = COUNTS) -> None:
        super().__init__(num_tasks, dim_state)
        self.counts = check_counts(counts)
        self._batches: list[tuple[Tensor, Tensor]] = []
        self.num_unknowns = (dim_state + 1) * (dim_state + 2) // 2

    def resized(self, num_tasks: int, dim_state: int) -> LocalEstimator:
        """The same for other sizes, not fitted."""
        return LocalEstimator(num_tasks, dim_state, self.counts)

    def update(self, points: Tensor, rewards: Tensor, ranks: Ranks = ALONE) -> Tensor:
        """Keeps the batch."""
        self._batches.append((points.detach(), rewards.detach()))
        return points.new_zeros(())

    @torch.no_grad()
    def finish(self, ranks: Ranks = ALONE) -> None:
        """Chooses every task's count."""
        points, rewards = gather(self._batches, ranks)
        self.whitening = whitening(points)
        self.points, self.rewards = self.whitening(points), rewards
        counts = usable(self.counts, 3 * self.num_unknowns // 2, points.shape[1])
        errors, noises = torch.stack([self._errors(count) for count in counts]).unbind(1)
        best = errors.argmin(0)
        self.chosen = [counts[i] for i in best.tolist()]
        self._noise = noises.gather(0, best[None])[0].sqrt()

    @property
    def noise(self) -> Tensor:
        """Root mean square leave-one-out error, less the part of the fit's own variance."""
        return self._noise

    def jet(self, points: Tensor, tasks: Tensor) -> Jet:
        """Coefficients of the local quadratics."""
        rows = [self._jet(*row) for row in zip(points, tasks.tolist(), strict=True)]
        return Jet(*(torch.stack(fields) for fields in zip(*rows, strict=True)))

    def _errors(self, count: int) -> Tensor:
        """Mean squared leave-one-out errors, and what of them is noise, ``(2, N)``."""
        num = self.points.shape[1]
        errors = []
        for points, rewards in zip(self.points, self.rewards, strict=True):
            square = []
            judges = torch.arange(num, device=points.device)[:: max(1, num // _JUDGES)]
            for judge in chunks(judges, self._width(count)):
                near = nearest(points[judge], points, count, judge)
                targets = rewards[near.indices] - rewards[judge, None]
                table = monomials(near.offset)
                fit = regress(table, targets[..., None], near.weight)
                error = fit.coefficients[:, 0, 0].square()
                shares = near.weight * (table @ fit.covariance[:, :, :1])[..., 0]
                square.append(torch.stack((error, error / (1 + shares.square().sum(-1)))))
            errors.append(torch.cat(square, 1).mean(1))
        return torch.stack(errors, 1)

    def _jet(self, queries: Tensor, task: int) -> Jet:
        points, rewards, count = self.points[task], self.rewards[task], self.chosen[task]
        white = self.whitening(queries)
        pieces = [
            self._piece(piece, points, rewards, count, self._noise[task])
            for piece in chunks(white, self._width(count))
        ]
        return Jet(*(torch.cat(fields) for fields in zip(*pieces, strict=True)))

    def _piece(
        self, queries: Tensor, points: Tensor, rewards: Tensor, count: int, noise: Tensor
    ) -> Jet:
        n, root = queries.shape[-1], self.whitening.root
        near = nearest(queries, points, count)
        targets = rewards[near.indices]
        centre = targets.mean(-1, keepdim=True)
        fit = regress(monomials(near.offset), (targets - centre)[..., None], near.weight)
        coefficients, radius = fit.coefficients[..., 0], near.radius[:, None]
        gradient = coefficients[:, 1 : n + 1] / radius @ root
        rows, columns = torch.triu_indices(n, n, device=queries.device)
        hessian = coefficients.new_empty(len(queries), n, n)
        hessian[:, rows, columns] = hessian[:, columns, rows] = coefficients[:, n + 1 :]
        hessian = root @ (hessian / radius[..., None].square()) @ root
        slopes = fit.covariance[:, 1 : n + 1, 1 : n + 1]
        spread = noise.square() * (slopes * (root @ root)).sum((-2, -1)) / near.radius.square()
        beyond = near.emptiness.square()
        return Jet(
            coefficients[:, 0] + centre[:, 0],
            gradient,
            hessian,
            noise.square() * fit.covariance[:, 0, 0] + beyond * targets.var(-1),
            spread + beyond * gradient.square().sum(-1),
        )

    def _width(self, count: int) -> int:
        return max(self.points.shape[1], count * self.num_unknowns)


def check_counts(counts: Sequence[int]) -> list[int]:
    """Counts as a sorted list of ints, or a ValueError that says what would be right."""
    if not isinstance(counts, Sequence) or isinstance(counts, str):
        raise ValueError(f"Expected `counts` to be a list of ints, got {counts!r}.")
    checked = sorted(check_int("counts", count, 2, 1_000_000) for count in counts)
    if not checked:
        raise ValueError(f"Expected `counts` to hold an int or more, got {counts!r}.")
    return checked


def usable(counts: Sequence[int], least: int, num_points: int) -> list[int]:
    """Counts of at least `least` that leave a point over; `least` itself if there are none.

    Raises:
        ValueError: If not even `least` leaves a point over.
    """
    if num_points <= least:
        raise ValueError(
            f"Expected more than {least} points of every task, got {num_points}. "
            "Give more transitions, or take the FourierEstimator."
        )
    return [count for count in counts if least <= count < num_points] or [least]


def gather(batches: list[tuple[Tensor, Tensor]], ranks: Ranks) -> tuple[Tensor, Tensor]:
    """All points ``(N, B, n)`` and rewards ``(N, B)`` of all batches and processes."""
    points, rewards = (torch.cat(terms, 1) for terms in zip(*batches, strict=True))
    return ranks.cat(points, 1), ranks.cat(rewards, 1)
