"""Coefficients that many groups of rows have for themselves, all groups at once."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import softplus

_MOST_STEPS = 50
_CLOSE = 1e-4
"""Newton ends where no step is longer than this many deviations: the next would be its square."""


def sums(values: Tensor, index: Tensor, num: int) -> Tensor:
    """Sums of rows ``(N, ...)`` by group ``index (N,)``, shape ``(num, ...)``."""
    return values.new_zeros(num, *values.shape[1:]).index_add_(0, index, values)


def contribution(design: Tensor | None, index: Tensor, coefficients: Tensor) -> Tensor:
    """Every row's ``design @ coefficients[index]``, shape ``(N,)``.

    Args:
        design: Regressors ``(N, k)``; None for a single one that is 1.
        index: Group of every row, ``(N,)``.
        coefficients: Of all groups, ``(q, k)``.
    """
    if design is None:
        return coefficients[:, 0].index_select(0, index)
    return (design * coefficients.index_select(0, index)).sum(-1)


@dataclass(frozen=True)
class Block:
    r"""Rows of ``q`` groups, :math:`\eta_i = o_i + \alpha f_i + \beta + \phi_i^T b_{z_i}`.

    Attributes:
        fixed: ``f``, ``(N,)``.
        offset: ``o``, what else is added, ``(N,)``.
        target: Numbers, or 0 and 1, ``(N,)``.
        index: Group ``z`` of every row, ``(N,)``.
        num: Number ``q`` of groups.
        design: ``phi``, ``(N, k)``; None for a single one that is 1.
        noise: Deviation of Gaussian targets, ``()``; None for Bernoulli ones of logit ``eta``.
    """

    fixed: Tensor
    offset: Tensor
    target: Tensor
    index: Tensor
    num: int
    design: Tensor | None = None
    noise: Tensor | None = None

    def predictor(self, shared: Tensor, effects: Tensor) -> Tensor:
        r""":math:`\eta (N,)` for :math:`(\alpha, \beta, \ldots)` and effects ``(q, k)``."""
        own = contribution(self.design, self.index, effects)
        return self.offset + shared[0] * self.fixed + shared[1] + own

    def fit(self, eta: Tensor) -> Tensor:
        """Log density of every target, up to a constant, ``(N,)``."""
        if self.noise is None:
            return self.target * eta - softplus(eta)
        return -((self.target - eta) / self.noise).square() / 2

    def slopes(self, eta: Tensor) -> tuple[Tensor, Tensor]:
        """The first derivative of :meth:`fit`, and minus the second, ``(N,)`` each."""
        if self.noise is None:
            mean = torch.sigmoid(eta)
            return self.target - mean, mean * (1 - mean)
        return (self.target - eta) / self.noise**2, torch.ones_like(eta) / self.noise**2

    def by_group(self, values: Tensor) -> Tensor:
        """Sums of ``values * phi`` over groups, ``(q, k)``."""
        if self.design is None:
            return sums(values, self.index, self.num)[:, None]
        return sums(values[:, None] * self.design, self.index, self.num)

    def squares(self, weights: Tensor) -> Tensor:
        """Sums of ``weights * phi phi^T`` over groups, ``(q, k, k)``."""
        if self.design is None:
            return sums(weights, self.index, self.num)[:, None, None]
        products = (weights[:, None] * self.design)[:, :, None] * self.design[:, None]
        return sums(products, self.index, self.num)


def mode(block: Block, shared: Tensor, precision: Tensor, start: Tensor) -> Tensor:
    """The most likely effects of every group, ``(q, k)``: Newton's method, halving bad steps.

    Args:
        block: Its log density is concave in the effects.
        shared: Scale and shift, ``(2,)`` or more.
        precision: Diagonal of the prior's, ``(k,)``.
        start: Where it starts, ``(q, k)``; the result depends on it to 1e-6 only.
    """
    base, step, size = start, torch.zeros_like(start), torch.ones_like(start[:, :1])
    best = torch.full_like(start[:, 0], -math.inf)
    for _ in range(_MOST_STEPS):
        here = base + size * step
        eta = block.predictor(shared, here)
        value = sums(block.fit(eta), block.index, block.num)
        value = value - (precision * here.square()).sum(-1) / 2
        better = value >= best - 1e-9 * best.abs().clamp_max(1e300)
        slope, weight = block.slopes(eta)
        hessian = block.squares(weight) + torch.diag(precision)
        newton = solve(hessian, block.by_group(slope) - precision * here)
        best = torch.where(better, value, best)
        base = torch.where(better[:, None], here, base)
        step = torch.where(better[:, None], newton, step)
        size = torch.where(better[:, None], torch.ones_like(size), size / 2)
        length = (size * step).square() * torch.diagonal(hessian, dim1=-2, dim2=-1)
        if float(length.max()) < _CLOSE**2:
            break
    return base + torch.where(better[:, None], step, 0.0)


def solve(matrix: Tensor, vector: Tensor) -> Tensor:
    """``H^-1 v`` for matrices ``(q, k, k)`` and vectors ``(q, k)``."""
    if matrix.shape[-1] == 1:
        return vector / matrix[..., 0]
    return torch.linalg.solve(matrix, vector[..., None])[..., 0]


def root(matrix: Tensor) -> Tensor:
    """Cholesky factors ``L`` of ``(q, k, k)``."""
    return matrix.sqrt() if matrix.shape[-1] == 1 else torch.linalg.cholesky(matrix)


def backward(factor: Tensor, vector: Tensor) -> Tensor:
    """``L^-T v`` for Cholesky factors ``(q, k, k)``: of covariance ``(L L^T)^-1``."""
    if factor.shape[-1] == 1:
        return vector / factor[..., 0]
    return torch.linalg.solve_triangular(factor.mT, vector[..., None], upper=True)[..., 0]


def forward(factor: Tensor, vector: Tensor) -> Tensor:
    """``L^T v``, the inverse of :func:`backward`."""
    if factor.shape[-1] == 1:
        return vector * factor[..., 0]
    return (factor.mT @ vector[..., None])[..., 0]


def uniform(*shape: int, generator: torch.Generator, like: Tensor) -> Tensor:
    """Uniform numbers of a tensor's type, drawn where the generator is."""
    found = torch.rand(shape, dtype=like.dtype, generator=generator, device=generator.device)
    return found.to(like.device)


def normal(*shape: int, generator: torch.Generator, like: Tensor) -> Tensor:
    """Standard normal numbers of a tensor's type, drawn where the generator is."""
    found = torch.randn(shape, dtype=like.dtype, generator=generator, device=generator.device)
    return found.to(like.device)
