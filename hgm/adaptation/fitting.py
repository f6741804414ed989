"""Elements fitted to observations: sums at modes, Newton steps, covariances."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from hgm import lie
from hgm.adaptation.candidates import NUM_ERRORS
from hgm.adaptation.modes import Modes
from hgm.adaptation.observations import Observations
from hgm.adaptation.posterior import difference
from hgm.adaptation.reward import TAIL, Reward, along
from hgm.geometry import Geometry
from hgm.geometry.reward_model import RewardModel
from hgm.numerics.gauss_newton import (
    damped_step,
    misfit,
    next_damping,
    normal_equations,
    shorten,
    trust,
)

_INSENSITIVE = 0.01  # squared effect on rewards, relative to that of the strongest direction
_MAX_STEP = 0.3  # relative to the reach
_DAMPING = 1e-3


class Newton(NamedTuple):
    """What the sums at modes tell.

    Attributes:
        step: Newton steps, at most 0.3 of the reach, ``(Q, u)``.
        covariance: Sandwich covariances, ``(Q, u, u)``.
        asked: Squares of the whole steps in standard deviations, ``(Q,)``.
        loss: Minus the logarithms of the modes' shares, by Laplace's method, ``(Q,)``.
    """

    step: Tensor
    covariance: Tensor
    asked: Tensor
    loss: Tensor


class Fitting:
    """The likelihood of elements and calibrations, and Gauss-Newton on it.

    Args:
        geometry: The group, with a reward model in float64.
        model: Its reward model.
        calibrate: Whether factors and shifts of the rewards are unknowns.
        num_steps: Most steps of :meth:`fit`.

    Attributes:
        model: The reward model, prepared.
        generators: The algebra on points that rewards see, ``(d, k, k)``.
        symmetries: Orthonormal directions that no observation tells, ``(d, s)``.
        num_unknowns: Number ``u`` of unknowns: ``d``, and two more for a calibration.
    """

    def __init__(
        self, geometry: Geometry, model: RewardModel, calibrate: bool, num_steps: int
    ) -> None:
        self.calibrate, self.num_steps = calibrate, num_steps
        self.model = Reward(model, torch.float64, NUM_ERRORS, geometry.inherited_terms)
        self._d, self._reach = geometry.dim_algebra, geometry.reach.double()
        self.generators = geometry.point_generators.double()
        self._brackets = lie.structure_constants(self.generators)
        base, span = self.model.base, self.model.span
        effect = along(self.generators, base, self.model(base)[3])
        values, vectors = torch.linalg.eigh(effect.mT @ effect)
        self.symmetries = vectors[:, values < _INSENSITIVE * values[-1]]
        # That of the uniform distribution; of a factor e^3 and of 10 spans for the calibration.
        self._prior = 3 / self._reach.square()
        if calibrate:
            more = torch.stack((torch.full_like(span, 1 / 9), 0.01 / span.square()))
            self._prior = torch.cat((self._prior, more))
        self.num_unknowns = len(self._prior)

    def power(self, count: Tensor) -> Tensor:
        """Of ``1/a`` in the likelihood of `count` observations; the flat prior of `b` takes one."""
        return (count - 1).clamp_min(0) * self.calibrate

    def inverse(self, coords: Tensor) -> Tensor:
        """Elements that carry back, ``(..., d) -> (..., k, k)``."""
        return lie.element(-coords, self.generators)

    def apart(self, coords: Tensor, others: Tensor) -> Tensor:
        """How far others are from places, ``(Q, d)`` each: :func:`posterior.difference`."""
        # Coordinates that no element moves would make large matrices of small ones.
        small = lie.block(self.generators, lie.touched(self.generators))
        inverse, element = (lie.exp(lie.hat(c, small)) for c in (-coords, others))
        return difference(inverse @ element, small, self.symmetries)

    def moved(self, modes: Modes, step: Tensor) -> tuple[Tensor, Tensor]:
        r"""Coordinates of :math:`L \exp(\hat\delta)` to first order in the step, and calibrations.

        :math:`c + J^{-1} \delta`, where :math:`J = \sum_k (-\mathrm{ad}_c)^k / (k + 1)!` is a block
        of an exponential. Products of elements instead would leave the group if learned generators
        do not quite close.
        """
        d, coords = self._d, modes.coords
        block = coords.new_zeros(len(coords), 2 * d, 2 * d)
        block[:, :d, :d] = -torch.einsum("qi,ijk->qkj", coords, self._brackets)
        block[:, :d, d:] = torch.eye(d).to(block)
        change = torch.linalg.solve_ex(lie.exp(block)[:, :d, d:], step[:, :d]).result
        return coords + change, modes.extra + step[:, d:] if self.calibrate else modes.extra

    def sums(
        self,
        row: Tensor,
        coords: Tensor,
        extra: Tensor,
        seen: Observations,
        slack: Tensor | float = 0.0,
    ) -> tuple[Modes, Tensor, Tensor]:
        """Sums over observations, with their residuals and variances, ``(Q, B)``."""
        points, rewards, exists = seen.at(row)
        carried = lie.act(self.inverse(coords), points)
        value, error, variance, gradient = self.model(carried)
        scaled = extra[:, :1].exp() * rewards
        residual, variance = (scaled - extra[:, 1:] - value) * exists, variance + slack
        jacobian = along(self.generators, carried, gradient)
        jacobian = jacobian - jacobian @ self.symmetries @ self.symmetries.mT
        if self.calibrate:
            columns = torch.stack((scaled, -torch.ones_like(scaled)), -1)
            jacobian = torch.cat((jacobian, columns), -1)
        square = residual.square()
        weight = exists * trust(square, variance, TAIL)
        targets = torch.cat((residual[..., None], error), -1)
        normal, products = normal_equations(jacobian, weight, targets)
        loss = (misfit(square, variance, TAIL) + exists * variance.log() / 2).sum(-1)
        modes = Modes(row, coords, extra, loss, products[..., 0], normal, products[..., 1:])
        return modes, residual, variance

    def solve(self, modes: Modes, count: Tensor) -> Newton:
        """Newton steps, covariances and shares of modes, from sums over `count` observations."""
        normal, slope = self._system(modes, count)
        root = torch.linalg.cholesky(normal)
        step = -torch.cholesky_solve(slope[..., None], root)[..., 0]
        asked = -(slope * step).sum(-1)
        error = torch.cholesky_solve(modes.pull, root)
        volume = root.diagonal(dim1=1, dim2=2).log().sum(-1)
        power = self.power(count[modes.row])
        loss = modes.loss - power * modes.extra[:, 0] - asked / 2 + volume
        covariance = torch.cholesky_inverse(root) + error @ error.mT
        return Newton(self._short(step), covariance, asked, loss)

    def fit(
        self, modes: Modes, seen: Observations, slack: Tensor | float, tolerance: float
    ) -> Modes:
        """Damped Gauss-Newton on all observations; variances are frozen within a step.

        Args:
            modes: Where to start; their sums are taken anew.
            seen: The observations of all tasks.
            slack: Variance added to every observation's.
            tolerance: Square of a step in standard deviations, below which a mode is done.
        """
        modes, residual, variance = self.sums(*modes[:3], seen, slack)
        damping = torch.full_like(modes.loss, _DAMPING)
        for _ in range(self.num_steps):
            normal, slope = self._system(modes, seen.num_seen)
            step = damped_step(normal, slope, damping)
            todo = (-(slope * step).sum(-1) > tolerance).nonzero()[:, 0]
            if not len(todo):
                break
            old, short = modes.at(todo), self._short(step[todo])
            tried, new, wide = self.sums(old.row, *self.moved(old, short), seen, slack)
            before, after = (
                misfit(one.square(), variance[todo], TAIL) for one in (residual[todo], new)
            )
            gain = (before - after).sum(-1)
            power = self.power(seen.num_seen[old.row])
            better = gain + power * (tried.extra - old.extra)[:, 0] > 0
            damping[todo] = next_damping(damping[todo], better)
            modes.put(todo[better], tried.at(better))
            residual[todo[better]], variance[todo[better]] = new[better], wide[better]
        return modes

    def _system(self, modes: Modes, count: Tensor) -> tuple[Tensor, Tensor]:
        """Normal matrices and slopes, with the prior and the powers of ``1/a``."""
        power, d = self.power(count[modes.row])[:, None], self._d
        normal, slope = modes.normal + torch.diag(self._prior), modes.slope.clone()
        slope[:, d : d + 1] -= power
        normal.diagonal(dim1=1, dim2=2)[:, d : d + 1] += power
        return normal, slope

    def _short(self, step: Tensor) -> Tensor:
        length = (step[:, : self._d] / self._reach).norm(dim=-1)
        return shorten(step, length, _MAX_STEP)
