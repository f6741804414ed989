r"""Group coordinates of many new tasks at once, from a few transitions each.

A new task is the base task carried by one group element :math:`g`, so its rewards are those of the
base task at the points carried back, and an element's loss is

.. math:: r_k = a\,\bigl(R(L_g^{-1} s'_k) + e_k\bigr) + b, \qquad
          \sum_k \tfrac12 \nu \log(1 + e_k^2 / \nu v_k) + \tfrac12 \log v_k, \quad \nu = 9,

with :math:`v_k = \sigma^2 + \mathrm{var}\,R(L_g^{-1} s'_k) + f^2`: errors are normal up to three
deviations and have Cauchy tails beyond, as in :mod:`hgm.symmetry.pooling`, for a smooth `R` misfits
at kinks. The logarithm makes it cost to carry points out of the data.

Candidates all over the group are compared first; Gauss-Newton starts from the likeliest. Steps,
covariances and distances are in the tangent space of the current element,
:math:`L_g \exp(\hat\delta)`: nothing wraps there, and the symmetries of the base task, which no
observation tells, are the same :math:`\hat\delta` for all tasks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.quasirandom import SobolEngine

from hgm import lie
from hgm.checks import check_int, check_real
from hgm.fourier import _LINEAR_SCALE
from hgm.geometry import Geometry
from hgm.reward_model import RewardModel

_FLOOR = 1e-3  # f, relative to the spread of R: about the misfit of 256 waves away from kinks
_TAIL = 9.0  # nu; loses 3% of efficiency on Gaussian noise
_MARGIN = 1.6  # 99% of normal points are within sqrt(n) + 1.6 deviations
_INSENSITIVE = 0.01  # squared effect on rewards, relative to that of the strongest direction
_CONVERGED = 1e-4  # square of a step in standard deviations
_STALE = 0.01  # the same, from which sums are taken anew
_FAR = 9.0  # the same, from which modes are fitted roughly first
_MAX_STEP = 0.3  # relative to the reach
_SAME = 4.0  # square of a distance in standard deviations, below which two modes are one
_HOPELESS = 10.0  # log-likelihood below the best
_NUM_ERRORS = 32  # samples of the errors of R: they tell variances to 25%
_NUM_LANDMARKS = 48
_CHUNK = 1024  # rows whose features stay in the cache
_MAX_ROWS = 2**19  # rows in memory at a time

Data = tuple[Tensor, Tensor, Tensor]
"""Points ``(T, B, n)``, rewards ``(T, B)`` and which of them exist, ``(T, B)``."""


@dataclass(frozen=True)
class Posterior:
    r"""What the transitions of `T` tasks tell: a mixture of `M` Gaussians on the group per task.

    Mode m is :math:`L = L_m \exp(\hat\epsilon) \exp(\hat\psi)` where :math:`\psi` is the part of
    :math:`\delta \sim N(0, \Sigma_m)` along the symmetries, and :math:`\epsilon` the rest. Of what
    nothing is known, the variance is that of the uniform distribution, ``reach^2 / 3``.

    Attributes:
        geometry: The group.
        modes: Coordinates, likeliest first, ``(T, M, d)``; modes of weight 0 repeat the first. They
            may exceed the reach: a learned generator's full turn is not quite the identity.
        mode_covariances: The :math:`\Sigma_m`, ``(T, M, d, d)``.
        weights: Probabilities of the modes, descending, ``(T, M)``.
        calibration: Factor `a` and shift `b` of the rewards, ``(T, 2)``.
        symmetries: Orthonormal basis of the directions that change the base task's rewards less
            than a tenth as much as the strongest does, ``(d, s)``.
    """

    geometry: Geometry
    modes: Tensor
    mode_covariances: Tensor
    weights: Tensor
    calibration: Tensor
    symmetries: Tensor

    @property
    def coords(self) -> Tensor:
        """Coordinates of the likeliest mode, ``(T, d)``."""
        return self.modes[:, 0]

    @property
    def covariance(self) -> Tensor:
        """Covariance of the likeliest mode, ``(T, d, d)``."""
        return self.mode_covariances[:, 0]

    @property
    def deviation(self) -> Tensor:
        """Predicted rms error of the likeliest mode, symmetries aside, in radians for rotations."""
        told = self.covariance - self.covariance @ self.symmetries @ self.symmetries.mT
        return told.diagonal(dim1=1, dim2=2).sum(-1).clamp_min(0.0).sqrt()

    @property
    def num_modes(self) -> Tensor:
        """Number of modes of weight above 0.05, ``(T,)``."""
        return (self.weights > 0.05).sum(-1)

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """Draws coordinates, ``(T, d)``; `generator` is one of the CPU."""
        chosen = torch.multinomial(self.weights.cpu(), 1, generator=generator)[:, 0]
        index = torch.arange(len(chosen)), chosen
        root = torch.linalg.cholesky(self.mode_covariances[index])
        white = torch.randn(root.shape[:2], generator=generator, dtype=root.dtype).to(root)
        step = (root @ white[..., None])[..., 0]
        along = step @ self.symmetries @ self.symmetries.mT
        steps = self.geometry.element(torch.stack((self.modes[index], step - along, along)))
        return _log(steps[0] @ steps[1] @ steps[2], self.geometry.generators)

    def contains(self, coords: Tensor, level: float = 0.95) -> Tensor:
        r"""Whether coordinates ``(T, d)`` are in the region of highest density, ``(T,)`` bool.

        The region is the union of the ellipses :math:`\delta^T \Sigma_m^{-1} \delta \le \rho_m^2`
        in which a mode's weighted density exceeds a threshold, the one for which
        :math:`\sum_m w_m P(\chi^2_d \le \rho_m^2)` is the level; exact where they do not overlap.

        Raises:
            ValueError: If `coords` are not ``(T, d)``, or `level` is not between 0 and 1.
        """
        _check_shape("coords", coords, self.coords.shape)
        if check_real("level", level, 0.0, strict=True) >= 1:
            raise ValueError(f"Expected `level` to be below 1, got {level!r}.")
        relative = self.geometry.element(-self.modes) @ self.geometry.element(coords)[:, None]
        step = _difference(relative, self.geometry.generators, self.symmetries)
        square = (step * torch.linalg.solve(self.mode_covariances, step)).sum(-1)
        height = 2 * self.weights.log() - torch.linalg.slogdet(self.mode_covariances).logabsdet
        half = torch.full_like(height, step.shape[-1] / 2)
        high = height.amax(-1, keepdim=True)
        low = high - 200
        for _ in range(60):
            middle = (low + high) / 2
            mass = torch.special.gammainc(half, (height - middle).clamp_min(0.0) / 2)
            wide = (self.weights * mass).sum(-1, keepdim=True) >= level
            low, high = torch.where(wide, middle, low), torch.where(wide, high, middle)
        return (square <= height - low).any(-1)


def adapt(
    geometry: Geometry,
    points: Tensor,
    rewards: Tensor,
    *,
    mask: Tensor | None = None,
    calibrate: bool | None = None,
    num_candidates: int | None = None,
    num_modes: int = 4,
    num_steps: int = 15,
    seed: int = 0,
) -> Posterior:
    r"""Maximum-likelihood coordinates of `T` tasks, from `K` transitions each, in one batch.

    Args:
        geometry: The group, with its reward model.
        points: States reached, ``(T, K, n)``; `K` may be 0.
        rewards: Rewards, ``(T, K)``.
        mask: Which entries exist, ``(T, K)`` bool; all by default. The others' values are ignored.
        calibrate: See :class:`OnlineAdaptation`, as for the arguments that follow.
        num_candidates: Number of candidates.
        num_modes: Most modes per task.
        num_steps: Most Gauss-Newton steps at a time.
        seed: Seed of the candidates.

    Raises:
        ValueError: If the geometry has no reward model or no dimension, a shape is wrong, an entry
            that exists is not finite, or a number is out of range.

    Example:
        >>> model = RewardModel(  # R(p) = p_0
        ...     torch.zeros(2), torch.eye(2), torch.zeros(1, 2), torch.zeros(1),
        ...     torch.tensor([0.0, 1 / 3, 0.0, 0.0]), torch.zeros(4, 1), torch.tensor(0.01)
        ... )
        >>> plane = lie.so_generators(2)
        >>> geometry = Geometry(
        ...     plane, plane, torch.zeros(1, 1), 2, "found", "so(2)", reward=model
        ... )
        >>> points = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
        >>> posterior = adapt(geometry, points, torch.tensor([[0.0, 1.0]]))
        >>> posterior.coords
        tensor([[1.5708]], dtype=torch.float64)
    """
    if points.dim() != 3:
        n = geometry.dim_state
        raise ValueError(f"Expected `points` of shape (T, K, {n}), but got {tuple(points.shape)}.")
    online = OnlineAdaptation(
        geometry,
        len(points),
        calibrate,
        num_candidates=num_candidates,
        num_modes=num_modes,
        num_steps=num_steps,
        seed=seed,
    )
    online.observe(points, rewards, mask)
    return online.posterior


class OnlineAdaptation:
    r"""The same for transitions that arrive one by one.

    Every observation is compared with all candidates once, and added to sums at the modes. A mode
    is fitted to all observations again when they ask it to move by more than a tenth of a standard
    deviation; what is less, the Newton step of its sums does. Computed in float64 on the device of
    the geometry, without gradients.

    Covariances are :math:`H^{-1} + H^{-1} J^T V^{-1} C V^{-1} J H^{-1}`, :math:`H = J^T V^{-1} J`,
    where `C` is the covariance of the errors of `R`: a smooth model is wrong at neighbouring points
    alike, which no number of observations averages out (the sandwich of Huber, 1967; White,
    *Econometrica* 50, 1982).

    Args:
        geometry: The group, with its reward model.
        num_tasks: Number of tasks ``T``.
        calibrate: Whether `a` and `b` are unknown, with flat priors on ``log a`` and `b`; None: if
            they were for the training tasks.
        num_candidates: Candidates beside 0 and the training tasks' coordinates; None: 48 in one
            dimension, 512 in two, 1024 in more.
        num_modes: Most modes per task.
        num_steps: Most Gauss-Newton steps at a time.
        seed: Seed of the candidates.

    Raises:
        ValueError: If the geometry has no reward model or no dimension or reaches nowhere, or a
            number is out of range.
    """

    def __init__(
        self,
        geometry: Geometry,
        num_tasks: int,
        calibrate: bool | None = None,
        *,
        num_candidates: int | None = None,
        num_modes: int = 4,
        num_steps: int = 15,
        seed: int = 0,
    ) -> None:
        if geometry.dim_algebra == 0:
            raise ValueError(
                "Expected `geometry` of dimension 1 or more, but it is trivial: no element carries "
                "the base task into another one."
            )
        if geometry.reward is None:
            raise ValueError(
                "Expected `geometry` with a reward model, but its `reward` is None: no one model "
                "explained the training tasks."
            )
        self.geometry, self._d = geometry, geometry.dim_algebra
        self._reach = geometry.reach.double()
        if not (self._reach > 0).all():
            raise ValueError(
                "Expected `geometry` to reach out in every direction, but the training tasks' "
                f"coordinates bound those that are not compact to {self._reach.tolist()}."
            )
        self.calibrate = geometry.calibration is not None if calibrate is None else calibrate
        self.num_modes = check_int("num_modes", num_modes, 1)
        self.num_steps = check_int("num_steps", num_steps, 1)
        default = {1: 48, 2: 512}.get(self._d, 1024)
        num = default if num_candidates is None else check_int("num_candidates", num_candidates, 2)
        model = RewardModel(
            **{name: value.double() for name, value in vars(geometry.reward).items()}
        )
        self._candidates = _Candidates(geometry, model, num, check_int("seed", seed, 0))
        self._model = _Reward(model, torch.float64, _NUM_ERRORS)
        self._generators = geometry.generators.double()
        self._brackets = lie.structure_constants(self._generators)
        base, span = self._model.base, self._model.span
        effect = _along(self._generators, base, self._model(base)[3])
        values, vectors = torch.linalg.eigh(effect.mT @ effect)
        self._symmetries = vectors[:, values < _INSENSITIVE * values[-1]]
        # That of the uniform distribution; of a factor e^3 and of 10 spans for the calibration.
        self._prior = 3 / self._reach.square()
        if self.calibrate:
            more = torch.stack((torch.full_like(span, 1 / 9), 0.01 / span.square()))
            self._prior = torch.cat((self._prior, more))
        new, num_tasks = self._generators.new_zeros, check_int("num_tasks", num_tasks, 1)
        self._points, self._rewards = new(num_tasks, 0, geometry.dim_state), new(num_tasks, 0)
        self._mask = new(num_tasks, 0, dtype=torch.bool)
        self._sums = new(7, num_tasks, len(self._candidates.coords))
        self._keep(self._starts())

    @torch.no_grad()
    def observe(self, points: Tensor, rewards: Tensor, mask: Tensor | None = None) -> None:
        """Adds transitions: one per task, or `B` per task.

        Args:
            points: States reached, ``(T, n)`` or ``(T, B, n)``.
            rewards: Rewards, ``(T,)`` or ``(T, B)``.
            mask: Which exist, bool of the same shape; all by default. Others' values are ignored.

        Raises:
            ValueError: If a shape is wrong, or an entry that exists is not finite.
        """
        some = self._checked(points, rewards, mask)
        known = self._modes if self._mask.any() else self._modes.at(slice(0))
        pairs = zip(self._data, some, strict=True)
        self._points, self._rewards, self._mask = (torch.cat(pair, 1) for pair in pairs)
        self._sums += self._candidates.compare(*some)
        added, _, _ = self._sum(*known[:3], some)
        known = _Modes(*known[:3], *(a + b for a, b in zip(known[3:], added[3:], strict=True)))
        move, _, asked, loss = self._solve(known)
        best = loss.new_full((len(self._mask),), torch.inf)
        best = best.scatter_reduce(0, known.row, loss, "amin")[known.row]
        stale = (asked > _STALE) & (loss < best + _HOPELESS)
        # One step is enough for most of them.
        near = (stale & (asked < _FAR)).nonzero()[:, 0]
        moved = self._moved(known.at(near), move[near])
        renewed, _, _ = self._sum(known.row[near], *moved, self._data)
        asked[near] = self._solve(renewed)[2]
        stale &= asked > _STALE
        fresh = self._starts(known.put(near, renewed))
        new = torch.ones_like(fresh.row, dtype=torch.bool)
        modes = _Modes(*(torch.cat(pair) for pair in zip(known, fresh, strict=True)))
        # Roughly first, with the variance of candidates: far off, all observations look like tails.
        cell = self._candidates.cell
        if cell > self._model.noise:
            index = torch.cat((stale & (asked > _FAR), new)).nonzero()[:, 0]
            modes.put(index, self._fit(modes.at(index), cell, _STALE))
        index = torch.cat((stale, new)).nonzero()[:, 0]
        self._keep(modes.put(index, self._fit(modes.at(index), 0.0, _CONVERGED)))

    @property
    @torch.no_grad()
    def posterior(self) -> Posterior:
        """What all transitions so far tell; before the first, the uniform distribution about 0."""
        d = self._d
        move, spread, _, loss = self._solve(self._modes)
        coords, extra = self._moved(self._modes, move)
        table, _ = _tabulate(self._modes.row, len(self._mask), self.num_modes)
        index = table.where(table >= 0, table[:, :1])
        factor, shift = extra[table[:, 0], 0].neg().exp(), extra[table[:, 0], 1]
        return Posterior(
            self.geometry,
            coords[index],
            spread[index][..., :d, :d],
            torch.softmax(-loss[index].where(table >= 0, torch.inf), 1),
            torch.stack((factor, factor * shift), -1),
            self._symmetries,
        )

    @property
    def _data(self) -> Data:
        return self._points, self._rewards, self._mask

    def _checked(self, points: Tensor, rewards: Tensor, mask: Tensor | None) -> Data:
        """All as ``(T, B, ...)``, zero where they do not exist."""
        num, _, n = self._points.shape
        shape = points.shape[:-1]
        if points.dim() not in (2, 3) or (points.shape[0], points.shape[-1]) != (num, n):
            raise ValueError(
                f"Expected `points` of shape ({num}, {n}) or ({num}, B, {n}), but got "
                f"{tuple(points.shape)}."
            )
        _check_shape("rewards", rewards, shape)
        mask = torch.ones(shape, dtype=torch.bool) if mask is None else mask
        _check_shape("mask", mask, shape)
        if mask.dtype != torch.bool:
            raise ValueError(f"Expected `mask` of dtype torch.bool, but got {mask.dtype}.")
        size = (num, shape[1:].numel())
        points, rewards = points.to(self._points).reshape(*size, n), rewards.to(self._points)
        rewards, mask = rewards.reshape(size), mask.to(self._mask.device).reshape(size)
        for name, value in (("points", points), ("rewards", rewards[..., None])):
            wrong = mask & ~value.isfinite().all(-1)
            if wrong.any():
                raise ValueError(
                    f"Expected `{name}` to be finite where `mask` is true, but "
                    f"{int(wrong.sum())} of {mask.numel()} are not."
                )
        return points.where(mask[..., None], 0.0), rewards.where(mask, 0.0), mask

    def _starts(self, known: _Modes | None = None) -> _Modes:
        """Likely candidates next to which there is neither a better one nor a known mode."""
        loss, extra = self._score()
        places = self._candidates
        score = -loss - 1e-6 * places.extent  # of equals, the one that moves least
        # A candidate half a cell off loses up to half a nat per observation.
        enough = score.amax(1, keepdim=True) - _HOPELESS - self._mask.sum(1, keepdim=True) / 2
        peak = (score >= score[:, places.near].amax(-1)) & (score > enough)
        if known is not None:
            near = places.near[places.nearest(self._inverse(known.coords))]
            peak[known.row[:, None], near] = False
        best = score.where(peak, -torch.inf).topk(min(self.num_modes, score.shape[1]))
        row, slot = (best.values > -torch.inf).nonzero(as_tuple=True)
        index = best.indices[row, slot]
        num, u, new = len(row), len(self._prior), extra.new_zeros
        sums = (new(num), new(num, u), new(num, u, u), new(num, u, self._model.num_errors))
        return _Modes(row, places.coords[index], extra[row, index], *sums)

    def _score(self) -> tuple[Tensor, Tensor]:
        """Losses of the candidates, ``(T, G)``, and their best ``log 1/a`` and ``b/a``."""
        w, v, vv, r, vr, rr, logs = self._sums
        factor, shift = torch.ones_like(w), torch.zeros_like(w)
        power = self._power(self._mask.sum(1)[:, None])
        if self.calibrate:
            total = w.clamp_min(1e-300)
            cross = vr - v * r / total
            square = (rr - r.square() / total).maximum(1e-12 * rr).clamp_min(1e-300)
            # Of 1/2 square factor^2 - cross factor - power log factor.
            best = (cross + (cross.square() + 4 * power * square).sqrt()) / (2 * square)
            factor = torch.where(power > 0, best, factor)
            shift = (factor * r - v) / total
        loss = factor.square() * rr + vv + shift.square() * w + logs
        loss = loss / 2 - factor * (vr + shift * r) + shift * v - power * factor.log()
        return loss, torch.stack((factor.log(), shift), -1)

    def _power(self, count: Tensor) -> Tensor:
        """Of ``1/a`` in the likelihood of `count` observations; the flat prior of `b` takes one."""
        return (count - 1).clamp_min(0) * self.calibrate

    def _inverse(self, coords: Tensor) -> Tensor:
        return lie.exp(-lie.hat(coords, self._generators))

    def _moved(self, modes: _Modes, move: Tensor) -> tuple[Tensor, Tensor]:
        r"""Coordinates of :math:`L \exp(\hat\delta)` to first order in the step, and calibrations.

        :math:`c + J^{-1} \delta`, where :math:`J = \sum_k (-\mathrm{ad}_c)^k / (k + 1)!` is a block
        of an exponential. Products of elements instead would leave the group if learned generators
        do not quite close.
        """
        d, coords = self._d, modes.coords
        block = coords.new_zeros(len(coords), 2 * d, 2 * d)
        block[:, :d, :d] = -torch.einsum("qi,ijk->qkj", coords, self._brackets)
        block[:, :d, d:] = torch.eye(d).to(block)
        step = torch.linalg.solve_ex(lie.exp(block)[:, :d, d:], move[:, :d]).result
        return coords + step, modes.extra + move[:, d:] if self.calibrate else modes.extra

    def _sum(
        self, row: Tensor, coords: Tensor, extra: Tensor, data: Data, slack: Tensor | float = 0.0
    ) -> tuple[_Modes, Tensor, Tensor]:
        """Sums over observations, with their residuals and variances, ``(Q, B)``."""
        points, rewards, exists = (field[row] for field in data)
        carried = _carry(self._inverse(coords), points)
        value, error, variance, gradient = self._model(carried)
        scaled = extra[:, :1].exp() * rewards
        residual, variance = (scaled - extra[:, 1:] - value) * exists, variance + slack
        jacobian = _along(self._generators, carried, gradient)
        jacobian = jacobian - jacobian @ self._symmetries @ self._symmetries.mT
        if self.calibrate:
            columns = torch.stack((scaled, -torch.ones_like(scaled)), -1)
            jacobian = torch.cat((jacobian, columns), -1)
        jacobian = jacobian * exists[..., None]
        weighted = (jacobian / (variance + residual.square() / _TAIL)[..., None]).mT
        loss = (_misfit(residual, variance) + exists * variance.log() / 2).sum(-1)
        slope = (weighted @ residual[..., None])[..., 0]
        sums = (loss, slope, weighted @ jacobian, weighted @ error)
        return _Modes(row, coords, extra, *sums), residual, variance

    def _solve(
        self, modes: _Modes, damping: Tensor | float = 0.0
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Newton steps, covariances, squares of the steps in deviations, and Laplace's losses."""
        d, power = self._d, self._power(self._mask.sum(1)[modes.row])
        slopes, diagonal = modes.slope.clone(), damping * modes.normal.diagonal(dim1=1, dim2=2)
        slopes[:, d : d + 1] -= power[:, None]
        diagonal[:, d : d + 1] += power[:, None]
        root = torch.linalg.cholesky(modes.normal + torch.diag_embed(diagonal + self._prior))
        move = -torch.cholesky_solve(slopes[..., None], root)[..., 0]
        asked = -(slopes * move).sum(-1)
        error = torch.cholesky_solve(modes.pull, root)
        volume = root.diagonal(dim1=1, dim2=2).log().sum(-1)
        loss = modes.loss - power * modes.extra[:, 0] - asked / 2 + volume
        length = (move[:, :d] / self._reach).norm(dim=-1, keepdim=True)
        move = move * (_MAX_STEP / length.clamp_min(_MAX_STEP))
        return move, torch.cholesky_inverse(root) + error @ error.mT, asked, loss

    def _fit(self, modes: _Modes, slack: Tensor | float, tolerance: float) -> _Modes:
        """Damped Gauss-Newton on all observations; variances are frozen within a step."""
        modes, residual, variance = self._sum(*modes[:3], self._data, slack)
        damping = torch.full_like(modes.loss[:, None], 1e-3)
        for _ in range(self.num_steps):
            move, _, asked, _ = self._solve(modes, damping)
            todo = (asked > tolerance).nonzero()[:, 0]
            if not len(todo):
                break
            old = modes.at(todo)
            tried, new, wide = self._sum(old.row, *self._moved(old, move[todo]), self._data, slack)
            gain = _misfit(residual[todo], variance[todo]) - _misfit(new, variance[todo])
            power = self._power(self._mask.sum(1)[old.row])
            better = gain.sum(-1) + power * (tried.extra - old.extra)[:, 0] > 0
            damping[todo] *= torch.where(better, 0.2, 10.0)[:, None]
            modes.put(todo[better], tried.at(better))
            residual[todo[better]], variance[todo[better]] = new[better], wide[better]
        return modes

    def _keep(self, modes: _Modes) -> None:
        """Sorts modes by task and weight; drops repetitions, and those beyond `num_modes`."""
        move, _, _, loss = self._solve(modes)
        coords, _ = self._moved(modes, move)
        order = loss.argsort(stable=True)
        order = order[modes.row[order].argsort(stable=True)]
        modes, coords, num_tasks = modes.at(order), coords[order], len(self._mask)
        table, _ = _tabulate(modes.row, num_tasks)
        pairs = torch.combinations(torch.arange(table.shape[1], device=table.device))
        better, worse = table[:, pairs].flatten(0, 1).unbind(1)
        better, worse = better[worse >= 0], worse[worse >= 0]
        relative = self._inverse(coords[better]) @ self._inverse(-coords[worse])
        step = _difference(relative, self._generators, self._symmetries)
        normal = modes.normal[better][:, : self._d, : self._d]
        same = ((step[:, None] @ normal)[:, 0] * step).sum(-1) < _SAME
        kept = torch.ones_like(order, dtype=torch.bool)
        kept[worse[same]] = False
        modes = modes.at(kept)
        _, slot = _tabulate(modes.row, num_tasks)
        self._modes = modes.at(slot < self.num_modes)


class _Modes(NamedTuple):
    """Elements fitted to tasks, with additive sums over the tasks' observations."""

    row: Tensor  # the task, (Q,), ascending
    coords: Tensor  # (Q, d)
    extra: Tensor  # log 1/a and b/a, (Q, 2)
    loss: Tensor  # (Q,)
    slope: Tensor  # J^T V^-1 e, (Q, u)
    normal: Tensor  # J^T V^-1 J, (Q, u, u)
    pull: Tensor  # J^T V^-1 times columns of which the squares sum to C, (Q, u, S)

    def at(self, index: Tensor | slice) -> _Modes:
        return _Modes(*(field[index] for field in self))

    def put(self, index: Tensor, others: _Modes) -> _Modes:
        """Replaces some, in place."""
        for field, values in zip(self, others, strict=True):
            field[index] = values
        return self


class _Reward:
    """A reward model with its constants multiplied out.

    Attributes:
        base: Points like those that it was fitted to, ``(P, n)``.
        span: Standard deviation of its values there, ``()``.
        noise: Variance of an observation where the model is sure, ``()``.
        num_errors: Number ``S`` of columns whose squares sum to the variance of the model.
    """

    def __init__(self, model: RewardModel, dtype: torch.dtype, most_errors: int) -> None:
        generator = torch.Generator().manual_seed(0)

        def randn(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator, dtype=torch.float64).to(model.mean)

        spread, num, root = model.spread, len(model.phases), model.root
        if spread.shape[1] > most_errors:  # mixtures have the same sum of squares, on average
            spread = spread @ randn(spread.shape[1], most_errors) / most_errors**0.5
        self.num_errors = spread.shape[1]
        weights = torch.cat((model.weights[:, None], spread), 1)
        linear, omega = _LINEAR_SCALE * root @ weights[num:-1], root @ model.frequencies.mT
        self.base = randn(_NUM_LANDMARKS, len(root)).to(root) @ torch.linalg.inv(root) + model.mean
        rewards = model(self.base).value
        self.span, self._centre = rewards.std(), rewards.mean()
        self.noise = model.noise.square() + (_FLOOR * self.span).square()
        self._mean, self._root = model.mean.to(dtype), root.to(dtype)
        self._omega, self._linear = omega.to(dtype), linear.to(dtype)
        self._phases = (model.phases - model.mean @ omega).to(dtype)
        self._waves = (math.sqrt(2 / num) * weights[:num]).to(dtype)
        self._constant = (_LINEAR_SCALE * weights[-1] - model.mean @ linear).to(dtype)

    def __call__(self, points: Tensor, slope: bool = True) -> tuple[Tensor, ...]:
        """Values ``(...)``, errors ``(..., S)``, variances ``(...)`` and gradients ``(..., n)``.

        Variances are those of observations, and count what the model does not know of itself: with
        every standard deviation beyond the data it errs by its span, or by as much as it claims.
        Gradients only if asked for.
        """
        rows = points.to(self._mean).flatten(0, -2).split(_CHUNK)
        fields = zip(*(self._predict(some, slope) for some in rows), strict=True)
        return tuple(
            torch.cat(field).view(*points.shape[:-1], *field[0].shape[1:]) for field in fields
        )

    def _predict(self, points: Tensor, slope: bool) -> tuple[Tensor, ...]:
        angle = torch.addmm(self._phases, points, self._omega)
        waves = angle.sin().mul_(-self._waves[:, 0]) if slope else None
        found = torch.addmm(self._constant, angle.cos_(), self._waves).addmm_(points, self._linear)
        radius = ((points - self._mean) @ self._root).norm(dim=-1)
        beyond = (radius - len(self._mean) ** 0.5 - _MARGIN).clamp_min(0.0)
        doubt = beyond * (self.span + (found[:, 0] - self._centre).abs())
        error = found[:, 1:]
        variance = self.noise + doubt.square() + error.square().sum(-1)
        known = (found[:, 0], error, variance)
        if waves is None:
            return known
        return (*known, torch.addmm(self._linear[:, 0], waves, self._omega.mT))


class _Candidates:
    """Elements all over the group, told apart by the rewards that they predict.

    Attributes:
        coords: Their coordinates, 0 first, ``(G, d)``.
        extent: How far they are from 0, ``(G,)``.
        near: Each one and its nearest, by predicted rewards: elements that differ by a symmetry of
            the base task are the same, ``(G, q)``.
        cell: Mean square of the change of a reward over half a cell, ``()``.
    """

    def __init__(self, geometry: Geometry, model: RewardModel, num: int, seed: int) -> None:
        d, reach = geometry.dim_algebra, geometry.reach.double()
        if d == 1:
            unit = (torch.arange(num, dtype=torch.float64)[:, None] + 0.5) / num
        else:
            unit = SobolEngine(d, scramble=True, seed=seed).draw(num, dtype=torch.float64)
        spaced = (2 * unit.to(reach) - 1) * reach
        self.coords = torch.cat((torch.zeros_like(spaced[:1]), geometry.coords.to(reach), spaced))
        self.extent = (self.coords / reach).square().sum(-1)
        self._inverse = lie.exp(-lie.hat(self.coords, geometry.generators.double()))
        # Float32 is twice as fast, and tells which candidates are better.
        self._model = _Reward(model, torch.float32, _NUM_ERRORS // 2)
        # Points as in the training data of tasks all over the group.
        spread = torch.arange(_NUM_LANDMARKS, device=reach.device) * len(self.coords)
        away = torch.linalg.inv(self._inverse[spread // _NUM_LANDMARKS])
        self._landmarks = _carry(away, self._model.base[:, None])[:, 0]
        self._landed = self._land(self._inverse)
        rewards = self._model(self._landed, slope=False)[0].double()
        num_near = min(4 * d + 1, len(self.coords))
        distance, self.near = torch.cdist(rewards, rewards).topk(num_near, largest=False)
        self.cell = distance[:, num_near // 2].median().square() / (4 * _NUM_LANDMARKS)

    def _land(self, inverse: Tensor) -> Tensor:
        return _carry(inverse, self._landmarks.expand(len(inverse), -1, -1))

    def nearest(self, inverse: Tensor) -> Tensor:
        """The candidates that move points most like inverse elements ``(Q, k, k)``, ``(Q,)``."""
        landed = self._land(inverse)
        return torch.cdist(landed.flatten(1), self._landed.flatten(1)).argmin(1)

    def compare(self, points: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
        """Weighted sums of 1, R, R^2, r, R r, r^2 and of log-variances, ``(7, T, G)``."""
        size = max(1, _MAX_ROWS // (len(self.coords) * max(1, points.shape[1])))
        pieces = []
        for p, r, exists in zip(*(x.split(size) for x in (points, rewards, mask)), strict=True):
            carried = _carry(self._inverse, p[:, None])
            value, _, variance = (field.double() for field in self._model(carried, slope=False))
            variance, r, exists = variance + self.cell, r[:, None], exists[:, None]
            w = exists / variance
            wv, wr = w * value, w * r
            terms = (w, wv, wv * value, wr, wr * value, wr * r, exists * variance.log())
            pieces.append(torch.stack([term.sum(-1) for term in terms]))
        return torch.cat(pieces, 1)


def _carry(inverse: Tensor, points: Tensor) -> Tensor:
    """The points :math:`L^{-1} s'`, ``(..., k, k), (..., K, n) -> (..., K, n)``."""
    n = points.shape[-1]
    moved = points @ inverse[..., :n, :n].mT
    return moved if inverse.shape[-1] == n else moved + inverse[..., None, :n, n]


def _along(generators: Tensor, points: Tensor, gradient: Tensor) -> Tensor:
    """Derivatives along the generators' fields at points, ``(..., n), (..., n) -> (..., d)``."""
    n = points.shape[-1]
    field = torch.einsum("dij,...j->...di", generators[:, :n, :n], points)
    if generators.shape[-1] > n:
        field = field + generators[:, :n, n]
    return (field @ gradient[..., None])[..., 0]


def _misfit(residual: Tensor, variance: Tensor) -> Tensor:
    """Minus the log-likelihood of residuals, up to the normalisation."""
    return _TAIL / 2 * torch.log1p(residual.square() / (_TAIL * variance))


def _log(element: Tensor, generators: Tensor) -> Tensor:
    """Coordinates of elements; half turns, which have no principal logarithm, are turned a bit."""
    logs, nudge = lie.log(element), element.new_zeros(*element.shape[:-2], len(generators))
    undefined = logs.isnan().flatten(-2).any(-1)
    if undefined.any():
        turn = 0.05 * torch.linspace(1.0, 0.6, len(generators)).to(generators)
        logs[undefined] = lie.log(element[undefined] @ lie.exp(lie.hat(turn, generators)))
        nudge[undefined] = turn
    return lie.vee(logs, generators) - nudge


def _difference(relative: Tensor, generators: Tensor, symmetries: Tensor) -> Tensor:
    r"""The :math:`\epsilon + \psi` of elements :math:`\exp(\hat\epsilon) \exp(\hat\psi)`."""
    step = _log(relative, generators)
    along = torch.zeros_like(step)
    for _ in range(5 if symmetries.shape[1] else 0):
        along = along + step @ symmetries @ symmetries.mT
        step = _log(relative @ lie.exp(-lie.hat(along, generators)), generators)
    return step + along


def _tabulate(row: Tensor, num: int, width: int | None = None) -> tuple[Tensor, Tensor]:
    """Positions of the modes of `num` tasks, ``(num, width)``, -1 for none; and their columns."""
    index = torch.arange(len(row), device=row.device)
    slot = index - torch.searchsorted(row, row)
    width = int(slot.max()) + 1 if width is None else width
    table = row.new_full((num, width), -1)
    table[row, slot] = index
    return table, slot


def _check_shape(name: str, value: Tensor, shape: tuple[int, ...]) -> None:
    if value.shape != shape:
        raise ValueError(
            f"Expected `{name}` of shape {tuple(shape)}, but got {tuple(value.shape)}."
        )
