"""Pooled refinement: one reward model for the whole family, seen through the left actions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.func import jacfwd

from hgm import lie
from hgm.geometry.reward_model import RewardModel
from hgm.numerics.basis import Basis
from hgm.numerics.fourier import (
    LINEAR_SCALE,
    Moments,
    RidgeFit,
    Whitening,
    draw_frequencies,
    enough_waves,
    fit,
    fit_with,
    moments,
    whitening,
)
from hgm.numerics.gauss_newton import Penalty, damped_step, normal_equations, shorten, trust
from hgm.numerics.gram import gram_of
from hgm.numerics.maps import Maps, joint_table, ridges
from hgm.numerics.misfit import shared, variance
from hgm.numerics.ranks import ALONE, Ranks
from hgm.numerics.tails import Tails
from hgm.symmetry.effort import FINER, TAIL, USUAL, Effort, Learned
from hgm.symmetry.subgroup import Subgroup

_MAX_STEP = 0.3
_FINEST = 0.1  # of more waves
_ENOUGH = 2048  # rows over all tasks that choose the length scale
_DAMPING, _FLOOR = 1e-6, 1e-7  # the data tell all but gauge directions well
_SILENT = 1e-12  # of the largest eigenvalue: rounding
_ROBUST = 20  # rounds of a robust scale
_GAUSSIAN_SPREAD = 0.91  # of Gaussian residuals, whose standard deviation is 1
_NUM_SAMPLES = 64
_AGAIN = 2  # steps from a solution to the next
_NEIGHBOURS = 500  # rewards that are compared with the nearest one
_STRETCHED = 5.0  # most of a map's typical slope, or least of it, relative to the usual one
_SHRUNK = 20.0  # deviations of the base task's rewards for one that maps leave another's
_LEAST = 1e-12  # of the mean square of the residuals: they may be 0
_LOG_OF_SQUARE = 1.27  # minus the mean logarithm of the square of a standard normal number


class PooledModel:
    r"""Gauss-Newton on :math:`r_i(p) = a_i R(L_i^{-1} p) + b_i`, docs/method.md eq. 6.

    Or, with increasing maps, on :math:`\psi_i(r_i(p)) = R(L_i^{-1} p)`, eq. 6a, whose residuals are
    in units of each task's noise times the geometric mean of its map's slope.

    The weights of `R`, a regression on Fourier features, are eliminated, and so are coefficients of
    the maps, which are splines (:mod:`hgm.numerics.maps`): the Jacobian of the other
    unknowns is projected off the features (variable projection in Kaufman's form; Golub and
    Pereyra, *Inverse Problems* 19, 2003). Residuals are in units of each task's own noise and have
    Cauchy weights, since `R` misfits at kinks. All statistics are sums over transitions.

    Args:
        subgroup: The unknown left actions.
        unknowns: Where they start, ``(u,)``.
        noise: Standard deviation of each task's rewards about its own model, ``(N,)``.
        calibration: Starts of ``log a`` and ``b`` per task, ``(N, 2)``, those of the base task 0
            being 0; None keeps ``a = 1, b = 0``.
        penalty: What is known of the unknowns of the left actions besides.
        maps: Starts of increasing maps; None: there are none. Only without a calibration.
        sees: Which coordinates `R` is a function of; None: all. What it does not see, is no
            evidence: a direction that only moves that is left to the penalty.
        seed: Seed of the features.
        effort: What `R` is described by.
        tails: What bends long tails of the coordinates that `R` sees; None: they are as they are.
        learned: What `R` is linear in instead of waves; None: waves.

    Attributes:
        spread: Robust scale of the residuals: 1 where the one model explains every task as well as
            the task's own model does. Set by :meth:`step`.
        moved: Largest change of an unknown that the last step asked for.
    """

    def __init__(
        self,
        subgroup: Subgroup,
        unknowns: Tensor,
        noise: Tensor,
        calibration: Tensor | None = None,
        penalty: Penalty | None = None,
        maps: Maps | None = None,
        sees: Sequence[int] | None = None,
        seed: int = 0,
        effort: Effort = USUAL,
        tails: Tails | None = None,
        learned: Learned | None = None,
    ) -> None:
        self.effort, self.tails, self.learned = effort, tails, learned
        self.subgroup, self.noise, self.penalty, self.maps = subgroup, noise, penalty, maps
        self.num_actions = len(unknowns)
        self.unknowns = unknowns
        if calibration is not None:
            self.unknowns = torch.cat((unknowns, calibration[1:].mT.flatten()))
        generator = torch.Generator().manual_seed(seed)
        self.sees = list(range(subgroup.group.dim_space) if sees is None else sees)
        dim = len(self.sees)
        self._bent = None if tails is None else tails.among(self.sees, subgroup.group.dim_space)
        num = enough_waves(effort.waves, dim)
        omega, phases = draw_frequencies(dim, num, generator)
        self._drawn, self._phases = omega.to(unknowns), phases.to(unknowns)
        self._steps, self._scale = 0, 1.0
        self._white: Whitening | None = None if learned is None else learned.white
        self._deviation = self.spread = torch.ones_like(noise[0])
        self._basis: Basis
        self._ridge: Tensor
        self._weights: Tensor

    @property
    def calibrated(self) -> bool:
        """Whether factors and shifts of the rewards are among the unknowns."""
        return len(self.unknowns) > self.num_actions

    @property
    def transformed(self) -> bool:
        """Whether rewards are not taken as they are."""
        return self.calibrated or self.maps is not None

    @property
    def calibration(self) -> tuple[Tensor, Tensor]:
        """The factors ``a`` and shifts ``b`` of all tasks, ``(N,)`` each."""
        calibration = torch.zeros(2, len(self.noise)).to(self.noise)
        if self.calibrated:
            calibration[:, 1:] = self.unknowns[self.num_actions :].view(2, -1)
        return calibration[0].exp(), calibration[1]

    def step(self, points: Tensor, rewards: Tensor, ranks: Ranks = ALONE) -> Tensor:
        """One step on points ``(N, B, n)`` and rewards ``(N, B)``; returns :attr:`spread`."""
        carried = lie.act(self._inverse(self.actions), points)
        gain, target = self._in_units_of_noise(rewards, ranks)
        if self._white is None:
            self._white = self._whitening(carried, ranks)
        white = self._white(carried if self._bent is None else self._bent(carried))
        if self._steps in self.effort.choices:
            every = max(1, carried.shape[:2].numel() // _ENOUGH)
            self._choose(gain, white[:, ::every], target[:, ::every], ranks)
        self._steps += 1
        table = self._basis.table(white).mul_(gain[..., None])
        if self.maps is None:
            table = table.flatten(0, 1)
        else:
            table = joint_table(table, gain[..., None] * self.maps.splines.table(rewards))
            target = torch.cat((target[:1], torch.zeros_like(target[1:])))
        fitted, root = self._regress(table, target.flatten(), ranks)
        predicted = table @ fitted
        residual = target.flatten() - predicted
        weights = fitted[: self._size]
        if self.maps is not None:
            self.maps = self.maps.changed(fitted[self._size :])
        gradient = self._gradient(white, carried, weights)
        jacobian = self._jacobian(gradient, points, gain, predicted.view_as(target))
        # Off the features: the weights follow a change of the other unknowns.
        weight = _trust(residual, self._deviation, self.effort.tail)
        both = ranks.sum(table.mT @ (weight[:, None] * jacobian))
        followed = torch.cholesky_solve(both, root)
        jacobian, self._turned = jacobian - table @ followed, -followed[: self._size]
        self._gain = gain
        self._seen = white.flatten(0, 1), (residual.view_as(target) / gain).flatten()
        self._ranks = ranks
        sums = normal_equations(jacobian, weight, residual[:, None])
        self.normal, pull = (ranks.sum(term) for term in sums)
        move = self._move(pull[:, 0], white.flatten(0, 1), residual)
        self.moved = move.abs().max()
        self.unknowns = self.unknowns + shorten(move, self.moved, _MAX_STEP)
        self._deviation = self.spread = _scale(residual, weight, ranks)
        for _ in range(_ROBUST if self.effort.tail > TAIL else 0):
            # Weights that trust far residuals give a scale that is neither robust nor like others.
            self.spread = _scale(residual, _trust(residual, self.spread, TAIL), ranks)
        return self.spread

    def regression(
        self, points: Tensor, rewards: Tensor, ranks: Ranks = ALONE
    ) -> tuple[Whitening, Tensor, Tensor, Tensor]:
        """What `R` is told, after a step.

        Returns:
            How carried points are whitened, and these, ``(N, B, q)``; what `R` is multiplied by,
            ``(N, 1)``, and what it then is to be, in units of each task's noise, ``(N, B)``.
        """
        carried = lie.act(self._inverse(self.actions), points)
        gain, target = self._in_units_of_noise(rewards, ranks)
        white = self._whitening(carried, ranks) if self._white is None else self._white
        return white, white(carried if self._bent is None else self._bent(carried)), gain, target

    def again(self, points: Tensor, rewards: Tensor, seed: int) -> PooledModel:
        """The same fit of other transitions from where this one ended, with other waves."""
        penalty = None if self.penalty is None else _drawn_anew(self.penalty, self.actions, seed)
        effort = self.effort._replace(scales=(self._scale,), choices=(0,), ridge=self._ridge)
        other = self._from_here(penalty, seed, effort, self.learned)
        for _ in range(_AGAIN):
            other.step(points, rewards)
        return other

    def finer(self) -> PooledModel:
        """A fit that starts where this one ended, with more and shorter waves."""
        shorter = (one for one in (_FINEST, *USUAL.scales) if one < self._scale)
        scales = (*shorter, self._scale)[-2:]
        return self._from_here(self.penalty, 0, FINER._replace(scales=scales))

    def relearned(self, learned: Learned) -> PooledModel:
        """A fit that starts where this one ended, with features that a network has learned."""
        effort = self.effort._replace(scales=(self._scale,), choices=(0,), ridge=None)
        return self._from_here(self.penalty, 0, effort, learned)

    def elsewhere(
        self,
        subgroup: Subgroup,
        tails: Tails | None,
        calibrated: bool = True,
        penalty: Penalty | None = None,
    ) -> PooledModel:
        """A fit of the same rewards as functions of other points, on which the tasks act so.

        Args:
            subgroup: The unknown left actions.
            tails: What bends long tails of the points.
            calibrated: Whether rewards are calibrated as here; else they are as they are.
            penalty: What is known of the unknowns besides.
        """
        other = PooledModel(
            subgroup,
            subgroup.start,
            self.noise,
            self._calibrated_so if calibrated else None,
            penalty,
            maps=self.maps if calibrated else None,
            tails=tails,
        )
        other.spread = self.spread
        return other

    @property
    def _calibrated_so(self) -> Tensor | None:
        """Where a calibration starts that goes on with this one, ``(N, 2)``."""
        if not self.calibrated:
            return None
        factor, shift = self.calibration
        return torch.stack((factor.log(), shift), -1)

    def _from_here(
        self, penalty: Penalty | None, seed: int, effort: Effort, learned: Learned | None = None
    ) -> PooledModel:
        return PooledModel(
            self.subgroup,
            self.actions,
            self.noise,
            self._calibrated_so,
            penalty,
            self.maps,
            self.sees,
            seed,
            effort,
            self.tails,
            learned,
        )

    @property
    def misfit(self) -> float:
        """Share of the rewards' variance that the model misses though it is no noise.

        Residuals of neighbours, in the base task, are alike in it; 0 where they are not, for sure.
        """
        white, residual = self._seen
        value = residual + self._basis.table(white) @ self._weights[: self._size]
        usual = (self.spread / self._gain).expand(-1, len(residual) // len(self._gain)).flatten()
        found = shared(white, residual, usual, ranks=self._ranks)
        return found.misfit / float(variance(value, self._ranks))

    @property
    def usual(self) -> float:
        """Robust scale of the residuals, in units of the base task's reward."""
        return float(self.spread * (self._units / self.calibration[0]).mean())

    @property
    def basis(self) -> Basis:
        """What `R` is linear in."""
        return self._basis

    @property
    def ridge(self) -> Tensor:
        """The ridge of the weights of `R`."""
        return self._ridge

    @property
    def residue(self) -> float:
        """Root mean square of the residuals, in units of the tasks' own noise: no weights."""
        residual = self._seen[1].view(len(self.noise), -1) * self._gain
        square, count = self._ranks.sum(
            torch.stack((residual.square().sum(), torch.ones_like(residual).sum()))
        )
        return float((square / count).sqrt())

    def reward_model(self) -> RewardModel:
        """What one model for all tasks knows, as of the last step, in the base task's units.

        Its errors are those of the weights for given elements, and those of the elements, which
        the weights follow.
        """
        assert self._white is not None, "the first step sets it"
        assert self.learned is None, "adaptation knows waves"
        shape = (len(self._weights), _NUM_SAMPLES)
        normal = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        spread = torch.linalg.solve_triangular(self._root.mT, normal.to(self._root), upper=True)
        spread = spread[: self._size]
        values, vectors = torch.linalg.eigh(self._covariance())
        turned = self._turned @ (vectors * values.clamp_min(0.0).sqrt())
        noise = (self._units / self.calibration[0]).square().mean().sqrt()
        return RewardModel(
            mean=self._white.mean,
            root=self._white.root,
            frequencies=self._basis.frequencies,
            phases=self._basis.phases,
            weights=self._weights[: self._size],
            spread=torch.cat((spread * self._deviation / _NUM_SAMPLES**0.5, turned), 1),
            noise=noise * self._deviation / _GAUSSIAN_SPREAD,
            tails=None if self._bent is None else self._bent.packed,
        )

    def doubted_model(self) -> RewardModel:
        """The same, with what it is off by where, which adaptation wants to know.

        Logarithms of squared residuals tell, a regression on the same features (Harvey,
        *Econometrica* 44, 1976).
        """
        (white, residual), ranks = self._seen, self._ranks
        square = residual.square()
        total, count = ranks.sum(torch.stack((square.sum(), torch.ones_like(square).sum())))
        logs = (square + _LEAST * total / count).log() + _LOG_OF_SQUARE
        mean = ranks.sum(logs.sum()) / count
        table = self._basis.table(white)
        statistics = moments(table, (logs - mean)[:, None])
        weights = fit(Moments(*(ranks.sum(term) for term in statistics))).weights[:, 0]
        misfit = torch.cat((weights[:-1], weights[-1:] + mean / LINEAR_SCALE))
        return replace(self.reward_model(), misfit=misfit)

    @property
    def increasing(self) -> bool:
        """Whether maps of rewards, if there are any, increase, and are not all but constant."""
        return self.maps is None or (self.maps.increase and not bool(self._shrunk.any()))

    @property
    def actions(self) -> Tensor:
        """The unknowns of the left actions, without those of the calibration."""
        return self.unknowns[: self.num_actions]

    def covariance(self) -> Tensor:
        """Covariance of the unknowns of the left actions, as of the last step, ``(u, u)``."""
        return self._covariance()[: self.num_actions, : self.num_actions]

    def _covariance(self) -> Tensor:
        """The same of all unknowns."""
        return torch.linalg.pinv(self.normal, rtol=1e-8, hermitian=True) * self._deviation.square()

    def _alike(self, white: Tensor, residual: Tensor) -> Tensor:
        """As how many rewards one counts: what the model cannot follow, neighbours share.

        Noise is every reward's own. Of what is the model's misfit there are no more independent
        values than there are waves.
        """
        found = shared(white, residual, self.spread, _NEIGHBOURS, self._ranks)
        num = self._ranks.sum(torch.ones_like(residual).sum())
        return 1 + found.share * (num / self._size - 1).clamp_min(0.0)

    @property
    def _size(self) -> int:
        """Number of features of `R`."""
        return self._basis.size

    def _move(self, pull: Tensor, white: Tensor, residual: Tensor) -> Tensor:
        """The step that data and penalty ask for; adds what the penalty knows to the normal matrix.

        Where data say nothing, the damping would hold a weak penalty back: there it decides alone.
        """
        if self.penalty is None:
            return damped_step(self.normal, -pull, _DAMPING, _FLOOR)
        values, vectors = torch.linalg.eigh(self.normal)
        # Silence is exact: what data tell faintly is theirs to tell.
        silent = vectors[: self.num_actions, values < _SILENT * values[-1]]
        extra, derivative = self.penalty(self.actions)
        size, square = self.num_actions, self._alike(white, residual) * self._deviation.square()
        self.normal[:size, :size] += square * derivative.mT @ derivative
        pull[:size] -= square * derivative.mT @ extra
        move = damped_step(self.normal, -pull, _DAMPING, _FLOOR)
        left, along = extra + derivative @ move[:size], derivative @ silent
        floor = _DAMPING * derivative.square().sum(0).max()
        told = along.mT @ along + floor * torch.eye(along.shape[1]).to(along)
        move[:size] -= silent @ torch.linalg.solve(told, along.mT @ left)
        return move

    def _in_units_of_noise(self, rewards: Tensor, ranks: Ranks) -> tuple[Tensor, Tensor]:
        """What `R` is multiplied by ``(N, 1)``, and what it then is to be ``(N, B)``."""
        factor, shift = self.calibration
        self._units = self.noise
        if self.maps is not None:
            # In units that shrink with them, maps would shrink to constants.
            size = variance(rewards, ranks).sqrt()
            usual, stretch = size[0] / size, self.maps.stretch(rewards, ranks)
            self._units = self.noise * stretch.clamp(usual / _STRETCHED, usual * _STRETCHED)
            rewards = self.maps(rewards)
            self._shrunk = variance(rewards, ranks).sqrt() < size[0] / _SHRUNK
        return (factor / self._units)[:, None], (rewards - shift[:, None]) / self._units[:, None]

    def _inverse(self, unknowns: Tensor) -> Tensor:
        return torch.linalg.inv(self.subgroup.elements(unknowns))

    def _choose(self, gain: Tensor, white: Tensor, target: Tensor, ranks: Ranks) -> None:
        """Length scale and ridge of largest evidence."""

        def basis(scale: float) -> Basis:
            drawn = Basis(self._drawn / scale, self._phases)
            return drawn if self.learned is None else self.learned.basis

        def statistics(scale: float) -> Moments:
            table = basis(scale).table(white).mul_(gain[..., None])
            sums = moments(table.flatten(0, 1), target.flatten()[:, None])
            return Moments(*(ranks.sum(term) for term in sums))

        if self.effort.ridge is None:
            self._scale, best = self._likeliest(lambda scale: fit(statistics(scale)))
            self._ridge, weights, noise = best.ridge, best.weights, best.noise
        else:
            (self._scale,), self._ridge = self.effort.scales, self.effort.ridge
            weights, noise = fit_with(statistics(self._scale), self._ridge)
        self._basis = basis(self._scale)
        self._deviation = self.spread = noise.sqrt()
        self._weights = weights[:, 0]
        if self.maps is not None:
            self._weights = torch.cat((self._weights, self.maps.coefficients[1:].flatten()))

    def _likeliest(self, fitted: Callable[[float], RidgeFit]) -> tuple[float, RidgeFit]:
        """The best of all length scales; after the first time, downhill from the present one."""
        scales = sorted(self.effort.scales)
        fits: dict[int, RidgeFit] = {}
        around = range(len(scales)) if self._steps == 0 else [scales.index(self._scale)]
        while True:
            fits |= {one: fitted(scales[one]) for one in around if one not in fits}
            best = min(fits, key=lambda one: float(fits[one].cost))
            around = [one for one in (best - 1, best + 1) if 0 <= one < len(scales)]
            if all(one in fits for one in around):
                return scales[best], fits[best]

    def _regress(self, table: Tensor, target: Tensor, ranks: Ranks) -> tuple[Tensor, Tensor]:
        """Weights of the reward model, and the Cholesky factor of its normal matrix."""
        weight = _trust(target - table @ self._weights, self._deviation, self.effort.tail)
        cross = ranks.sum(table.mT @ (weight * target)[:, None])
        normal = ranks.sum(gram_of(weight.sqrt()[:, None] * table))
        ridge = torch.diag(ridges(self._ridge, self._size, normal))
        root = torch.linalg.cholesky(normal + ridge)
        self._weights, self._root = torch.cholesky_solve(cross, root)[:, 0], root
        return self._weights, root

    def _whitening(self, carried: Tensor, ranks: Ranks) -> Whitening:
        """That of what `R` sees, bent if it has long tails."""
        if self._bent is not None:
            return whitening(self._bent(carried), ranks)
        return _among(whitening(carried[..., self.sees], ranks), self.sees, carried)

    def _gradient(self, white: Tensor, carried: Tensor, weights: Tensor) -> Tensor:
        """Gradient of `R` at points that are carried into the base task, ``(N, B, n)``."""
        assert self._white is not None, "the first step sets it"
        gradient = self._basis.slope(white, weights) @ self._white.root.mT
        return gradient if self._bent is None else self._bent.back(gradient, carried)

    def _jacobian(
        self, gradient: Tensor, points: Tensor, gain: Tensor, predicted: Tensor
    ) -> Tensor:
        """Derivatives of the predictions along all unknowns, ``(N B, u)``."""
        fields = lie.field(jacfwd(self._inverse)(self.actions).movedim(-1, 1), points)
        along = (fields @ gradient[..., None])[..., 0] * gain[..., None]
        if self.calibrated:
            own = torch.eye(len(gain)).to(gain)[:, None, 1:].expand(-1, points.shape[1], -1)
            factors, shifts = own * predicted[..., None], own / self._units[:, None, None]
            along = torch.cat((along, factors, shifts), -1)
        return along.flatten(0, 1)


def _trust(residual: Tensor, deviation: Tensor, tail: float) -> Tensor:
    """Weights of residuals: 1 in the middle, so that the ridge keeps its meaning."""
    variance = deviation.square()
    return variance * trust(residual.square(), variance, tail)


def _scale(residual: Tensor, weight: Tensor, ranks: Ranks) -> Tensor:
    """Root of the weighted mean square."""
    square, total = ranks.sum(torch.stack(((weight * residual.square()).sum(), weight.sum())))
    return (square / total).sqrt()


def _among(white: Whitening, sees: list[int], points: Tensor) -> Whitening:
    """The same of points that have other coordinates, too, ``(..., n)``."""
    mean = points.new_zeros(points.shape[-1])
    root = points.new_zeros(points.shape[-1], len(sees))
    mean[sees], root[sees] = white.mean, white.root
    return Whitening(mean, root)


def _drawn_anew(penalty: Penalty, start: Tensor, seed: int) -> Penalty:
    """What might be known of the unknowns instead, as sure as it is."""
    generator = torch.Generator().manual_seed(seed)
    size = len(penalty(start)[0])
    drawn = torch.randn(size, generator=generator, dtype=torch.float64).to(start)

    def other(unknowns: Tensor) -> tuple[Tensor, Tensor]:
        residual, derivative = penalty(unknowns)
        return residual + drawn, derivative

    return other
