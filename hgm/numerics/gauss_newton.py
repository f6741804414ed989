"""Robust damped Gauss-Newton on many independent problems at once."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from hgm.numerics.ranks import ALONE, Ranks

_MAX_STEP = 0.7
_CORRELATED = 10.0
_DAMPING_RANGE = (1e-8, 1e8)


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


Objective = Callable[[Tensor, bool], Terms]
"""Maps unknowns ``(..., a)``, and whether the Jacobian is wanted, to terms."""


class GaussNewton:
    r"""Minimises :math:`\sum_k \log(1 + |e_k|^2 / t_k)` with :math:`t_k` = variance + floor^2.

    The Cauchy loss with the scale that each observation deserves: points at which the models know
    nothing have a large variance, and hardly pull. Variances move with the unknowns but are frozen
    within a step, so that a step cannot gain by walking out of the data. The normal equations are
    sums over observations, hence over processes (Nocedal and Wright, *Numerical Optimization*,
    2006, Sec. 10.3).

    Args:
        unknowns: Starts, shape ``(..., a)``.
        floor: What the residual's norm may be where the variance is 0: the misfit of the models.
        damping: Initial damping, relative to the diagonal of the normal matrix.

    Attributes:
        gain: By how much the last step lowered the mean loss; infinite if it was refused.
    """

    def __init__(self, unknowns: Tensor, floor: float, damping: float = 1e-2) -> None:
        self.unknowns = unknowns
        self.floor = floor
        self.damping = torch.full_like(unknowns[..., 0], damping)
        self.gain = torch.full_like(unknowns[..., 0], torch.inf)

    def step(self, objective: Objective, ranks: Ranks = ALONE) -> Tensor:
        """One step of every problem; returns the mean loss before it, shape ``(...)``."""
        terms = objective(self.unknowns, True)
        spread = terms.variance + self.floor**2
        square = terms.residual.square().sum(-1)
        weight = 1 / (spread + square)
        assert terms.jacobian is not None, "the Jacobian was asked for"
        weighted = weight[..., None, None] * terms.jacobian
        flat = terms.jacobian.transpose(-2, -1).flatten(-3, -2)
        weighted = weighted.transpose(-2, -1).flatten(-3, -2)
        normal = ranks.sum(weighted.mT @ flat)
        self.normal = normal
        slope = ranks.sum((weighted.mT @ terms.residual.flatten(-2)[..., None])[..., 0])
        move = self._solve(normal, slope)
        trial = self.unknowns + move
        tried = objective(trial, False).residual.square().sum(-1)
        count = torch.full_like(square[..., 0], square.shape[-1])
        loss, trial_loss, count = ranks.sum(
            torch.stack(
                (torch.log1p(square / spread).sum(-1), torch.log1p(tried / spread).sum(-1), count)
            )
        )
        better = trial_loss < loss
        self.gain = torch.where(better, (loss - trial_loss) / count, torch.inf)
        self.unknowns = torch.where(better[..., None], trial, self.unknowns)
        self.damping = torch.where(better, 0.2 * self.damping, 5 * self.damping)
        self.damping = self.damping.clamp(*_DAMPING_RANGE)
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

    def _solve(self, normal: Tensor, slope: Tensor) -> Tensor:
        diagonal = normal.diagonal(dim1=-2, dim2=-1)
        # Directions that nothing depends on (stabilisers, a change of basis) stay where they are.
        ridge = self.damping[..., None] * (diagonal + 1e-6 * diagonal.amax(-1, keepdim=True))
        damped = normal + torch.diag_embed(ridge + 1e-12 * diagonal.amax(-1, keepdim=True) + 1e-300)
        move = -torch.linalg.solve_ex(damped, slope[..., None]).result[..., 0]
        move = move.nan_to_num(0.0, 0.0, 0.0)
        return move * (_MAX_STEP / move.norm(dim=-1, keepdim=True).clamp_min(_MAX_STEP))
