"""Places of tasks in the group, from transitions that arrive one by one or all at once."""

from __future__ import annotations

import torch
from torch import Tensor

from hgm import lie
from hgm.adaptation.candidates import NUM_ERRORS, Candidates
from hgm.adaptation.modes import Modes, tabulate
from hgm.adaptation.posterior import Posterior, check_shape, difference
from hgm.adaptation.reward import TAIL, Reward, along, carry, misfit
from hgm.checks import check_int
from hgm.geometry import Geometry
from hgm.geometry.reward_model import RewardModel

_INSENSITIVE = 0.01  # squared effect on rewards, relative to that of the strongest direction
_CONVERGED = 1e-4  # square of a step in standard deviations
_STALE = 0.01  # the same, from which sums are taken anew
_FAR = 9.0  # the same, from which modes are fitted roughly first
_MAX_STEP = 0.3  # relative to the reach
_SAME = 4.0  # square of a distance in standard deviations, below which two modes are one
_HOPELESS = 10.0  # log-likelihood below the best


Data = tuple[Tensor, Tensor, Tensor]
"""Points ``(T, B, n)``, rewards ``(T, B)`` and which of them exist, ``(T, B)``."""


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
        self._candidates = Candidates(geometry, model, num, check_int("seed", seed, 0))
        self._model = Reward(model, torch.float64, NUM_ERRORS)
        self._generators = geometry.generators.double()
        self._brackets = lie.structure_constants(self._generators)
        base, span = self._model.base, self._model.span
        effect = along(self._generators, base, self._model(base)[3])
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
        known = Modes(*known[:3], *(a + b for a, b in zip(known[3:], added[3:], strict=True)))
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
        modes = Modes(*(torch.cat(pair) for pair in zip(known, fresh, strict=True)))
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
        table, _ = tabulate(self._modes.row, len(self._mask), self.num_modes)
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
        check_shape("rewards", rewards, shape)
        mask = torch.ones(shape, dtype=torch.bool) if mask is None else mask
        check_shape("mask", mask, shape)
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

    def _starts(self, known: Modes | None = None) -> Modes:
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
        return Modes(row, places.coords[index], extra[row, index], *sums)

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

    def _moved(self, modes: Modes, move: Tensor) -> tuple[Tensor, Tensor]:
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
    ) -> tuple[Modes, Tensor, Tensor]:
        """Sums over observations, with their residuals and variances, ``(Q, B)``."""
        points, rewards, exists = (field[row] for field in data)
        carried = carry(self._inverse(coords), points)
        value, error, variance, gradient = self._model(carried)
        scaled = extra[:, :1].exp() * rewards
        residual, variance = (scaled - extra[:, 1:] - value) * exists, variance + slack
        jacobian = along(self._generators, carried, gradient)
        jacobian = jacobian - jacobian @ self._symmetries @ self._symmetries.mT
        if self.calibrate:
            columns = torch.stack((scaled, -torch.ones_like(scaled)), -1)
            jacobian = torch.cat((jacobian, columns), -1)
        jacobian = jacobian * exists[..., None]
        weighted = (jacobian / (variance + residual.square() / TAIL)[..., None]).mT
        loss = (misfit(residual, variance) + exists * variance.log() / 2).sum(-1)
        slope = (weighted @ residual[..., None])[..., 0]
        sums = (loss, slope, weighted @ jacobian, weighted @ error)
        return Modes(row, coords, extra, *sums), residual, variance

    def _solve(
        self, modes: Modes, damping: Tensor | float = 0.0
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

    def _fit(self, modes: Modes, slack: Tensor | float, tolerance: float) -> Modes:
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
            gain = misfit(residual[todo], variance[todo]) - misfit(new, variance[todo])
            power = self._power(self._mask.sum(1)[old.row])
            better = gain.sum(-1) + power * (tried.extra - old.extra)[:, 0] > 0
            damping[todo] *= torch.where(better, 0.2, 10.0)[:, None]
            modes.put(todo[better], tried.at(better))
            residual[todo[better]], variance[todo[better]] = new[better], wide[better]
        return modes

    def _keep(self, modes: Modes) -> None:
        """Sorts modes by task and weight; drops repetitions, and those beyond `num_modes`."""
        move, _, _, loss = self._solve(modes)
        coords, _ = self._moved(modes, move)
        order = loss.argsort(stable=True)
        order = order[modes.row[order].argsort(stable=True)]
        modes, coords, num_tasks = modes.at(order), coords[order], len(self._mask)
        table, _ = tabulate(modes.row, num_tasks)
        pairs = torch.combinations(torch.arange(table.shape[1], device=table.device))
        better, worse = table[:, pairs].flatten(0, 1).unbind(1)
        better, worse = better[worse >= 0], worse[worse >= 0]
        relative = self._inverse(coords[better]) @ self._inverse(-coords[worse])
        step = difference(relative, self._generators, self._symmetries)
        normal = modes.normal[better][:, : self._d, : self._d]
        same = ((step[:, None] @ normal)[:, 0] * step).sum(-1) < _SAME
        kept = torch.ones_like(order, dtype=torch.bool)
        kept[worse[same]] = False
        modes = modes.at(kept)
        _, slot = tabulate(modes.row, num_tasks)
        self._modes = modes.at(slot < self.num_modes)
