r"""Robust damped Gauss-Newton on many independent problems at once.

The one place for its mathematics: likelihoods with Cauchy tails, normal equations as sums over
observations (hence over processes), damped steps and when to trust them less (Nocedal and Wright,
*Numerical Optimization*, 2006, Sec. 10.3). :class:`GaussNewton` puts them together for residuals;
pooled refinement, which eliminates weights, and adaptation, which is Bayesian, use the parts.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from hgm.numerics.ranks import ALONE, Ranks

_MAX_STEP = 0.7
_CORRELATED = 10.0
_DAMPING_RANGE = (1e-8, 1e8)
_TINY = 1e-300


class Terms(NamedTuple):
    """Residuals of `K` observations in each of ``...`` problems with `a` unknowns.

    Attributes:
        residual: Shape ``(..., K, q)``.
        variance: Expected square of the residual's norm, from what the data leave open,
            ``(..., K)``.
        jacobian: Derivative of the residual, ``(..., K, a, q)``; None if not asked for.
    """

    residual: Tensor
    variance: Tensor
    jacobian: Tensor | None


Penalty = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Maps unknowns ``(..., a)`` to quadratic residuals ``(..., R)`` of unit variance, and derivatives
``(..., R, a)``: what is known of the unknowns besides the observations."""

Residuals = Callable[[Tensor, bool], Terms]
"""Maps unknowns ``(..., a)``, and whether the Jacobian is wanted, to terms."""


def misfit(square: Tensor, variance: Tensor, tail: float = 1.0) -> Tensor:
    r"""Minus a log-likelihood, :math:`\tfrac12 \nu \log(1 + |e|^2 / \nu v)`, of squares ``|e|^2``.

    Quadratic up to :math:`\sqrt\nu` deviations, with Cauchy tails beyond.
    """
    return tail / 2 * torch.log1p(square / (tail * variance))


def trust(square: Tensor, variance: Tensor, tail: float = 1.0) -> Tensor:
    r"""Weight :math:`1 / (v + |e|^2 / \nu)` of an observation in a step on :func:`misfit`."""
    return 1 / (variance + square / tail)


def normal_equations(jacobian: Tensor, weight: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    r"""The sums :math:`J^T W J` and :math:`J^T W Y` over observations.

    Args:
        jacobian: Rows `J`, ``(..., K, a)``.
        weight: Diagonal of `W`, ``(..., K)``.
        targets: Columns `Y`, ``(..., K, q)``.

    Returns:
        Shapes ``(..., a, a)`` and ``(..., a, q)``.
    """
    weighted = (weight[..., None] * jacobian).mT
    return weighted @ jacobian, weighted @ targets


def damped_step(
    normal: Tensor, slope: Tensor, damping: Tensor | float, floor: Tensor | float = 0.0
) -> Tensor:
    r"""The step :math:`-(H + D)^{-1} g` with :math:`D = \lambda\,(\mathrm{diag} H + \epsilon h)`.

    `h` is the largest entry of the diagonal: directions that nothing depends on (stabilisers, a
    change of basis) stay where they are. A problem that has no finite solution makes no step.

    Args:
        normal: Normal matrices `H`, ``(..., a, a)``.
        slope: Slopes `g` of the loss, ``(..., a)``.
        damping: The :math:`\lambda`, ``(...)``.
        floor: The :math:`\lambda \epsilon`, ``(...)``.
    """
    diagonal = normal.diagonal(dim1=-2, dim2=-1)
    damping, floor = (torch.as_tensor(value).to(normal)[..., None] for value in (damping, floor))
    ridge = damping * diagonal + floor * diagonal.amax(-1, keepdim=True)
    damped = normal + torch.diag_embed(ridge + _TINY)
    return -torch.linalg.solve_ex(damped, slope[..., None]).result[..., 0].nan_to_num(0.0, 0.0, 0.0)


def shorten(step: Tensor, length: Tensor, most: float) -> Tensor:
    """Steps ``(..., a)`` of given lengths ``(...)``, no longer than `most`."""
    return step * (most / length.clamp_min(most))[..., None]


def next_damping(damping: Tensor, better: Tensor) -> Tensor:
    """A fifth of the damping after a step that was better, five times as much otherwise."""
    return torch.where(better, 0.2 * damping, 5 * damping).clamp(*_DAMPING_RANGE)


class GaussNewton:
    r"""Minimises :math:`\sum_k \log(1 + |e_k|^2 / t_k)` with :math:`t_k` = variance + floor^2.

    The Cauchy loss with the scale that each observation deserves: points at which the models know
    nothing have a large variance, and hardly pull. Variances move with the unknowns but are frozen
    within a step, so that a step cannot gain by walking out of the data.

    The caller evaluates residuals: :meth:`propose` wants those at :attr:`unknowns` and answers with
    unknowns to try; :meth:`decide` wants those there, and keeps the better of the two.

    Args:
        unknowns: Starts, shape ``(..., a)``.
        floor: What the residual's norm may be where the variance is 0: the misfit of the models.
        damping: Initial damping, relative to the diagonal of the normal matrix.
        penalty: What else is known; its squares are added to the loss.

    Attributes:
        gain: By how much the last step lowered the mean loss; infinite if it was refused.
    """

    def __init__(
        self,
        unknowns: Tensor,
        floor: float,
        damping: float = 1e-2,
        penalty: Penalty | None = None,
    ) -> None:
        self.unknowns = unknowns
        self.floor, self.penalty = floor, penalty
        self.damping = torch.full_like(unknowns[..., 0], damping)
        self.gain = torch.full_like(unknowns[..., 0], torch.inf)

    def propose(self, terms: Terms, ranks: Ranks = ALONE) -> Tensor:
        """Unknowns to try, ``(..., a)``, from residuals at the present ones.

        Raises:
            ValueError: If the terms have no Jacobian.
        """
        if terms.jacobian is None:
            raise ValueError("Expected `terms` with a Jacobian, got None.")
        self._square = terms.residual.square().sum(-1)
        self._spread = terms.variance + self.floor**2
        num = terms.residual.shape[-1]
        sums = normal_equations(
            terms.jacobian.transpose(-2, -1).flatten(-3, -2),
            trust(self._square, self._spread).repeat_interleave(num, -1),
            terms.residual.flatten(-2)[..., None],
        )
        self.normal, slope = (ranks.sum(term) for term in sums)
        if self.penalty is not None:
            extra, derivative = self.penalty(self.unknowns)
            self.normal = self.normal + derivative.mT @ derivative
            slope = slope + derivative.mT @ extra[..., None]
        step = damped_step(self.normal, slope[..., 0], self.damping, 1e-6 * self.damping + 1e-12)
        self._trial = self.unknowns + shorten(step, step.norm(dim=-1), _MAX_STEP)
        return self._trial

    def decide(self, tried: Terms, ranks: Ranks = ALONE) -> Tensor:
        """Goes where the residuals were tried, if that is better; mean losses before, ``(...)``."""
        square = tried.residual.square().sum(-1)
        loss, trial_loss = (2 * misfit(one, self._spread).sum(-1) for one in (self._square, square))
        count = torch.full_like(loss, square.shape[-1])
        loss, trial_loss, count = ranks.sum(torch.stack((loss, trial_loss, count)))
        if self.penalty is not None:
            loss = loss + self.penalty(self.unknowns)[0].square().sum(-1)
            trial_loss = trial_loss + self.penalty(self._trial)[0].square().sum(-1)
        better = trial_loss < loss
        self.gain = torch.where(better, (loss - trial_loss) / count, torch.inf)
        self.unknowns = torch.where(better[..., None], self._trial, self.unknowns)
        self.damping = next_damping(self.damping, better)
        return loss / count

    def keep(self, index: Tensor) -> None:
        """Goes on with some of the problems of the last batch dimension, in this order.

        Args:
            index: Which, shape ``(..., S')`` for unknowns ``(..., S, a)``.
        """
        columns = index[..., None].expand(*index.shape, self.unknowns.shape[-1])
        self.unknowns = self.unknowns.gather(-2, columns)
        self.damping = self.damping.gather(-1, index)

    def information(self) -> Tensor:
        """Inverse covariance of the unknowns, ``(..., a, a)``, as of the last step.

        Gradients of one smooth model are correlated: ten of them count as one observation.
        """
        return self.normal / _CORRELATED

    def covariance(self) -> Tensor:
        """Covariance of the unknowns, ``(..., a, a)``, in the directions that the data tell."""
        return torch.linalg.pinv(self.information(), rtol=1e-6, hermitian=True)
