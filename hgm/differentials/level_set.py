"""Reward differentials from level sets: tangents between neighbours of nearly equal reward."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from hgm.checks import check_real
from hgm.differentials.base import DifferentialEstimator
from hgm.differentials.local import (
    COUNTS,
    Near,
    check_counts,
    chunks,
    gather,
    nearest,
    regress,
    usable,
)
from hgm.numerics.fourier import Jet, whitening
from hgm.numerics.ranks import ALONE, Ranks

_JUDGES = 300
_HELD_OUT = 12
_SHARED = 0.3  # neighbours' estimates share most of their data: averaging them gains this little
_TINY = 1e-12


class LevelSetEstimator(DifferentialEstimator):
    r"""The kernel of ``dr`` from level sets, after Nitschke and Talebi (arXiv 2603.00396).

    At every data point ``p_j``, in whitened coordinates and among its k nearest points, the share
    `band` closest in reward spans a level set. Its tangents :math:`\delta_a - \bar\delta` are
    orthogonal to ``grad r``: the unit direction ``u_j`` is the right singular vector of the
    smallest singular value of their rows, weighted by the tricube. The slope of the reward along
    ``u_j``, over all k neighbours, is the length of the gradient, and its sign the orientation.
    At a query, a local affine regression over the k nearest data points makes a field of the
    ``u_j`` and the lengths; the Hessian is its derivative, made symmetric.

    What differs from the paper: it fits one affine field of unsigned kernel frames to a ball, and
    neighbours are those within tolerances in units of the data. Here gradients are oriented, so
    that no second minimum lies half a turn away, and neighbours go by count: the count of every
    task predicts best the differences between the nearest rewards, held out.

    Args:
        num_tasks: Number ``N`` of tasks.
        dim_state: Dimension ``n`` of the points.
        counts: Candidate neighbourhood sizes; those too large for the data are passed over.
        band: Share of the neighbours that make the level set, above 0 and below 1.

    Raises:
        ValueError: If there are no counts, one is not an int of at least 2, or `band` is not
            inside (0, 1); by :meth:`finish`, if there are too few points.
    """

    def __init__(
        self,
        num_tasks: int,
        dim_state: int,
        counts: Sequence[int] = COUNTS,
        band: float = 0.25,
    ) -> None:
        super().__init__(num_tasks, dim_state)
        self.counts = check_counts(counts)
        self.band = check_real("band", band, 0.0, strict=True)
        if self.band >= 1:
            raise ValueError(f"Expected `band` to be below 1, got {band!r}.")
        self._batches: list[tuple[Tensor, Tensor]] = []

    def resized(self, num_tasks: int, dim_state: int) -> LevelSetEstimator:
        """The same for other sizes, not fitted."""
        return LevelSetEstimator(num_tasks, dim_state, self.counts, self.band)

    def update(self, points: Tensor, rewards: Tensor, ranks: Ranks = ALONE) -> Tensor:
        """Keeps the batch."""
        self._batches.append((points.detach(), rewards.detach()))
        return points.new_zeros(())

    @torch.no_grad()
    def finish(self, ranks: Ranks = ALONE) -> None:
        """Chooses every task's count, and finds the gradients at the data."""
        points, rewards = gather(self._batches, ranks)
        self.whitening = whitening(points)
        self.points, self.rewards = self.whitening(points), rewards
        # A band of the least count must still hold as many points as there are dimensions.
        least = math.ceil((self.dim_state + 1) / self.band)
        counts = usable(self.counts, least, points.shape[1] - _HELD_OUT)
        errors = torch.stack([self._errors(count) for count in counts])
        best = errors.argmin(0)
        self.chosen = [counts[i] for i in best.tolist()]
        self._noise = errors.gather(0, best[None])[0].sqrt()
        self.fields = torch.stack([self._field(task) for task in range(len(points))])

    @property
    def noise(self) -> Tensor:
        """Root mean square error of held-out reward differences, per single reward."""
        return self._noise

    def jet(self, points: Tensor, tasks: Tensor) -> Jet:
        """Values and gradients of the field, its derivative, and its scatter."""
        rows = [self._jet(*row) for row in zip(points, tasks.tolist(), strict=True)]
        return Jet(*(torch.stack(fields) for fields in zip(*rows, strict=True)))

    def _gradients(self, near: Near, rewards: Tensor, own: Tensor) -> Tensor:
        """Unit direction and length of the gradient, in units of the radius, ``(Q, n + 1)``."""
        change = rewards[near.indices] - own[:, None]
        num = max(near.offset.shape[-1] + 1, round(self.band * change.shape[1]))
        apart, level = change.abs().topk(num + 1, largest=False)
        weight = (1 - (apart[:, :-1] / apart[:, -1:].clamp_min(1e-300)) ** 3) ** 3 + 1e-6
        weight = weight * near.weight.gather(1, level[:, :-1])
        tangent = near.offset.gather(1, level[:, :-1, None].expand(-1, -1, near.offset.shape[-1]))
        weight = weight[..., None] / weight.sum(1)[:, None, None]
        # About their own mean: the noise of the point's own reward shifts all of the level set.
        tangent = tangent - (weight * tangent).sum(1, keepdim=True)
        # Right singular vectors are eigenvectors of the small product.
        unit = torch.linalg.eigh((weight * tangent).mT @ tangent).eigenvectors[..., 0]
        along = (near.offset @ unit[..., None])[..., 0]
        share = near.weight / near.weight.sum(1, keepdim=True)
        centred = share * (along - (share * along).sum(1, keepdim=True))
        slope = (centred * change).sum(1) / (centred * along).sum(1).clamp_min(_TINY)
        return torch.cat((unit * torch.sign(slope)[:, None], slope.abs()[:, None]), -1)

    def _field(self, task: int) -> Tensor:
        """Unit directions, lengths in whitened coordinates, and rewards: ``(B, n + 2)``."""
        points, rewards, count = self.points[task], self.rewards[task], self.chosen[task]
        pieces = []
        for judge in chunks(torch.arange(len(points), device=points.device), self._width(count)):
            near = nearest(points[judge], points, count, judge)
            field = self._gradients(near, rewards, rewards[judge])
            field[:, -1] /= near.radius
            pieces.append(field)
        return torch.cat((torch.cat(pieces), rewards[:, None]), -1)

    def _errors(self, count: int) -> Tensor:
        """Mean squared error of rewards of held-out neighbours about their mean, ``(N,)``."""
        num, held = self.points.shape[1], _HELD_OUT
        errors = []
        for points, rewards in zip(self.points, self.rewards, strict=True):
            square = []
            judges = torch.arange(num, device=points.device)[:: max(1, num // _JUDGES)]
            for judge in chunks(judges, self._width(count + held)):
                near = nearest(points[judge], points, count + held, judge)
                # Every other of the nearest: held out, but no less close than those kept.
                order = near.weight.argsort(1, descending=True)
                test = _columns(near, order[:, 1 : 2 * held : 2])
                kept = torch.cat((order[:, : 2 * held : 2], order[:, 2 * held :]), 1)
                field = self._gradients(_columns(near, kept), rewards, rewards[judge])
                change = test.offset @ (field[:, :-1] * field[:, -1:])[..., None]
                square.append((rewards[test.indices] - change[..., 0]).var(1))
            errors.append(torch.cat(square).mean())
        return torch.stack(errors)

    def _jet(self, queries: Tensor, task: int) -> Jet:
        white = self.whitening(queries)
        width = self._width(self.chosen[task])
        pieces = [self._piece(piece, task) for piece in chunks(white, width)]
        return Jet(*(torch.cat(fields) for fields in zip(*pieces, strict=True)))

    def _piece(self, queries: Tensor, task: int) -> Jet:
        n, root = queries.shape[-1], self.whitening.root
        near = nearest(queries, self.points[task], self.chosen[task])
        table = torch.cat((torch.ones_like(near.offset[..., :1]), near.offset), -1)
        targets = self.fields[task][near.indices]
        fit = regress(table, targets, near.weight)
        share = near.weight / near.weight.sum(1, keepdim=True)
        residual = (targets - table @ fit.coefficients).square()
        scatter = (share[..., None] * residual).sum(1)
        level, slope = fit.coefficients[:, 0], fit.coefficients[:, 1:] / near.radius[:, None, None]
        unit = level[:, :n]
        # An extrapolated length may be negative, which would turn the gradient round.
        mean = (share * targets[..., n]).sum(1)
        length = torch.maximum(level[:, n], 0.5 * mean)
        gradient = length[:, None] * unit @ root
        bend = length[:, None, None] * slope[..., :n] + slope[..., n : n + 1] * unit[:, None]
        hessian = root @ (0.5 * (bend + bend.mT)) @ root
        loose = _SHARED + fit.covariance[:, 0, 0]
        beyond = near.emptiness.square()
        size = (unit[:, None] * length[:, None, None] @ root).square().sum((-2, -1))
        scattered = scatter[:, :n].sum(-1) * length.square() * (root @ root).trace() / n
        return Jet(
            level[:, n + 1],
            gradient,
            hessian,
            scatter[:, n + 1] * loose + beyond * targets[..., n + 1].var(-1),
            scattered * loose + beyond * size,
        )

    def _width(self, count: int) -> int:
        return max(self.points.shape[1], count * (2 * self.dim_state + 3))


def _columns(near: Near, columns: Tensor) -> Near:
    """Some of the neighbours of every query."""
    apart = columns[..., None].expand(-1, -1, near.offset.shape[-1])
    return near._replace(
        indices=near.indices.gather(1, columns),
        offset=near.offset.gather(1, apart),
        weight=near.weight.gather(1, columns),
    )
