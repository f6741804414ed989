"""Draws of coefficients that many groups of rows have for themselves, all groups at once."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import softplus

_TRIPLES = 3
"""Half the degrees of freedom of proposals: their tails are heavier than any posterior's."""
_MOST_STEPS = 50
_CLOSE = 1e-6
"""Newton ends where no step is longer than this many posterior deviations."""


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
        return coefficients[:, 0][index]
    if len(coefficients) == 1:
        return design @ coefficients[0]
    return (design * coefficients[index]).sum(-1)


def gaussian_posterior(
    design: Tensor | None,
    target: Tensor,
    index: Tensor,
    precision: Tensor,
    noise: Tensor,
    num: int,
) -> tuple[Tensor, Tensor]:
    r"""Mean ``(q, k)`` and precision ``(q, k, k)`` of every group's coefficients.

    For :math:`y_i = \phi_i^T b_{z_i} + \epsilon_i`, :math:`\epsilon \sim N(0, \sigma_e^2)`,
    :math:`b_c \sim N(0, P^{-1})`: precision
    :math:`H_c = P + \sum_{z_i = c} \phi_i \phi_i^T / \sigma_e^2`, mean
    :math:`H_c^{-1} \sum_{z_i = c} \phi_i y_i / \sigma_e^2`.

    Args:
        design: Regressors ``(N, k)``; None for a single one that is 1.
        target: Targets less all that else is added, ``(N,)``.
        index: Group of every row, ``(N,)``.
        precision: Diagonal of ``P``, ``(k,)``.
        noise: Standard deviation of the targets, ``()``.
        num: Number ``q`` of groups.
    """
    hessian = _curvature(design, torch.ones_like(target), index, num) / noise**2
    hessian = hessian + torch.diag(precision)
    gradient = _slope(design, target, index, num) / noise**2
    return torch.linalg.solve(hessian, gradient[..., None])[..., 0], hessian


def draw_gaussian(
    design: Tensor | None,
    target: Tensor,
    index: Tensor,
    precision: Tensor,
    noise: Tensor,
    num: int,
    generator: torch.Generator,
) -> Tensor:
    """Independent draws from :func:`gaussian_posterior`, ``(q, k)``."""
    mean, hessian = gaussian_posterior(design, target, index, precision, noise, num)
    factor = torch.linalg.cholesky(hessian)
    return mean + _backward(factor, _normal(mean, generator))


def draw_logistic(
    design: Tensor | None,
    offset: Tensor,
    target: Tensor,
    index: Tensor,
    precision: Tensor,
    current: Tensor,
    mode: Tensor,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor, Tensor]:
    r"""One step of a Markov chain over every group's coefficients, nearly independent of the last.

    The target is :math:`\prod_i \mathrm{Bernoulli}(y_i; \mathrm{sigmoid}(o_i + \phi_i^T b_{z_i}))
    \prod_c N(b_c; 0, P^{-1})`, which is log-concave in every group. A proposal does not depend on
    where the chain stands: it is a multivariate t around the group's mode, with the curvature
    there, and is accepted or not by every group for itself (Tierney, 1994, "independence chain").

    Args:
        design: Regressors ``(N, k)``; None for a single one that is 1.
        offset: What else is added to the logits, ``(N,)``.
        target: 0 or 1, ``(N,)``.
        index: Group of every row, ``(N,)``.
        precision: Diagonal of ``P``, ``(k,)``.
        current: Where the chain stands, ``(q, k)``.
        mode: Where Newton's method starts, ``(q, k)``; the result depends on it to 1e-6 only.
        generator: The only source of randomness.

    Returns:
        Where it stands now, the modes, and which groups moved, ``(q,)``.
    """
    args = (design, offset, target, index, precision)
    mode, hessian = logistic_mode(*args, mode)
    factor = torch.linalg.cholesky(hessian)
    uniform = torch.rand(
        len(mode), _TRIPLES + 1, dtype=mode.dtype, generator=generator, device=generator.device
    ).to(mode.device)
    # A sum of three exponentials is half of chi-square with six degrees of freedom.
    spread = (_TRIPLES / -uniform[:, 1:].log().sum(1)).sqrt()
    proposal = mode + spread[:, None] * _backward(factor, _normal(mode, generator))
    gain = _gain(*args, proposal, current)
    gain = gain + _thin(proposal - mode, factor) - _thin(current - mode, factor)
    moves = uniform[:, 0].log() < gain
    return torch.where(moves[:, None], proposal, current), mode, moves


def logistic_mode(
    design: Tensor | None,
    offset: Tensor,
    target: Tensor,
    index: Tensor,
    precision: Tensor,
    start: Tensor,
) -> tuple[Tensor, Tensor]:
    """Mode ``(q, k)`` and curvature ``(q, k, k)`` there: Newton's method, halving bad steps.

    Arguments are those of :func:`draw_logistic`.
    """
    num = len(start)
    base, step, size = start, torch.zeros_like(start), torch.ones_like(start[:, :1])
    best = torch.full_like(start[:, 0], -math.inf)
    hessian = torch.diag(precision).expand(num, -1, -1)
    for _ in range(_MOST_STEPS):
        here = base + size * step
        logits = offset + contribution(design, index, here)
        value = _value(logits, target, index, precision, here)
        better = value >= best - 1e-9 * best.abs().clamp_max(1e300)
        mean = torch.sigmoid(logits)
        slope = _slope(design, target - mean, index, num) - precision * here
        curvature = _curvature(design, mean * (1 - mean), index, num) + torch.diag(precision)
        best = torch.where(better, value, best)
        base = torch.where(better[:, None], here, base)
        hessian = torch.where(better[:, None, None], curvature, hessian)
        newton = _solve(curvature, slope)
        step = torch.where(better[:, None], newton, step)
        size = torch.where(better[:, None], torch.ones_like(size), size / 2)
        length = (size * step).square() * torch.diagonal(hessian, dim1=-2, dim2=-1)
        if float(length.max()) < _CLOSE**2:
            break
    return base, hessian


def _value(
    logits: Tensor, target: Tensor, index: Tensor, precision: Tensor, coefficients: Tensor
) -> Tensor:
    fit = target * logits - softplus(logits)
    num = len(coefficients)
    fit = fit.sum()[None] if num == 1 else sums(fit, index, num)
    return fit - (precision * coefficients.square()).sum(-1) / 2


def _gain(
    design: Tensor | None,
    offset: Tensor,
    target: Tensor,
    index: Tensor,
    precision: Tensor,
    new: Tensor,
    old: Tensor,
) -> Tensor:
    """Log density of the target at ``new`` less that at ``old``, ``(q,)``, in one pass."""
    after, before = (offset + contribution(design, index, one) for one in (new, old))
    fit = target * (after - before) - softplus(after) + softplus(before)
    total = fit.sum()[None] if len(new) == 1 else sums(fit, index, len(new))
    return total - (precision * (new.square() - old.square())).sum(-1) / 2


def _thin(away: Tensor, factor: Tensor) -> Tensor:
    """How thin the proposal is ``away`` from its centre: minus its log density, ``(q,)``."""
    far = (factor.mT @ away[..., None])[..., 0].square().sum(-1)
    freedom = 2 * _TRIPLES
    return (freedom + away.shape[1]) / 2 * torch.log1p(far / freedom)


def _slope(design: Tensor | None, values: Tensor, index: Tensor, num: int) -> Tensor:
    """Sums of ``values * design`` by group, ``(q, k)``."""
    if design is None:
        return sums(values, index, num)[:, None]
    if num == 1:
        return (values @ design)[None]
    return sums(values[:, None] * design, index, num)


def _curvature(design: Tensor | None, weights: Tensor, index: Tensor, num: int) -> Tensor:
    """Sums of ``weights * design design^T`` by group, ``(q, k, k)``."""
    if design is None:
        return sums(weights, index, num)[:, None, None]
    if num == 1:
        return (design.mT @ (weights[:, None] * design))[None]
    return sums((weights[:, None] * design)[:, :, None] * design[:, None], index, num)


def _solve(matrix: Tensor, vector: Tensor) -> Tensor:
    if matrix.shape[-1] == 1:
        return vector / matrix[..., 0]
    return torch.linalg.solve(matrix, vector[..., None])[..., 0]


def _backward(factor: Tensor, vector: Tensor) -> Tensor:
    """``L^-T v`` for Cholesky factors ``(q, k, k)``: of covariance ``(L L^T)^-1``."""
    if factor.shape[-1] == 1:
        return vector / factor[..., 0]
    return torch.linalg.solve_triangular(factor.mT, vector[..., None], upper=True)[..., 0]


def _normal(like: Tensor, generator: torch.Generator) -> Tensor:
    """Standard normal numbers of a tensor's shape and type."""
    return torch.randn(
        like.shape, dtype=like.dtype, generator=generator, device=generator.device
    ).to(like.device)
