"""What targets are expected to be where the predictor is uncertain, and how likely they are."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import log_softmax, logsigmoid, softplus

_NODES = 21
_DRAWS = 128
_Z = 1.959963984540054
"""Quantile of the standard normal distribution that leaves 2.5%."""


def likelihood(targets: str, eta: Tensor, target: Tensor, noise: Tensor) -> Tensor:
    """Log density of targets ``(...,)`` given the predictor ``(..., C)``.

    Args:
        targets: ``"gaussian"``, ``"bernoulli"`` or ``"categorical"``.
        eta: The predictor; a single column but for categorical targets.
        target: Numbers, 0 and 1, or classes.
        noise: Deviation of Gaussian targets, ``()``.
    """
    if targets == "gaussian":
        away = (target - eta[..., 0]) / noise
        return -away.square() / 2 - noise.log() - np.log(2 * np.pi) / 2
    if targets == "bernoulli":
        return target * eta[..., 0] - softplus(eta[..., 0])
    return log_softmax(eta, -1).gather(-1, target.long()[..., None])[..., 0]


def expected_likelihood(
    targets: str, mean: Tensor, variance: Tensor, target: Tensor, noise: Tensor
) -> Tensor:
    r"""Log of :math:`\int p(y | \eta) N(\eta; m, v) d\eta`, shape ``(N,)``.

    Exact for Gaussian targets; by Gauss-Hermite quadrature with 21 nodes for Bernoulli ones; by 128
    quasi-random points for categorical ones.

    Args:
        targets: ``"gaussian"``, ``"bernoulli"`` or ``"categorical"``.
        mean: Of the predictor, ``(N, C)``.
        variance: Of the predictor, ``(N, C)``.
        target: Numbers, 0 and 1, or classes, ``(N,)``.
        noise: Deviation of Gaussian targets, ``()``.
    """
    if targets == "gaussian":
        spread = (noise**2 + variance[:, 0]).sqrt()
        away = (target - mean[:, 0]) / spread
        return -away.square() / 2 - spread.log() - np.log(2 * np.pi) / 2
    if targets == "bernoulli":
        nodes, weights = _hermite(mean)
        eta = mean + variance.sqrt() * nodes
        signed = eta * (2 * target[:, None] - 1)
        return (logsigmoid(signed) + weights.log()).logsumexp(1)
    logs = log_softmax(_cloud(mean, variance), -1)
    chosen = logs.gather(-1, target.long()[None, :, None].expand(len(logs), -1, 1))[..., 0]
    return chosen.logsumexp(0) - np.log(len(logs))


def expected_target(targets: str, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Expected target under ``eta ~ N(mean, variance)``, and the ends of its 95% interval.

    The interval is of ``E[y | eta]`` as ``eta`` varies: it leaves out the noise of targets.

    Args:
        targets: ``"gaussian"``, ``"bernoulli"`` or ``"categorical"``.
        mean: Of the predictor, ``(N, C)``.
        variance: Of the predictor, ``(N, C)``.

    Returns:
        Three of shape ``(N, C)``: numbers, or probabilities.

    Example:
        >>> mean, variance = torch.zeros(1, 1), torch.ones(1, 1)
        >>> [round(float(value), 3) for value in expected_target("bernoulli", mean, variance)]
        [0.5, 0.123, 0.877]
    """
    spread = _Z * variance.sqrt()
    if targets == "gaussian":
        return mean, mean - spread, mean + spread
    if targets == "bernoulli":
        nodes, weights = _hermite(mean)
        expected = (torch.sigmoid(mean + variance.sqrt() * nodes) * weights).sum(1, keepdim=True)
        return expected, torch.sigmoid(mean - spread), torch.sigmoid(mean + spread)
    parts = []
    for some, wide in zip(mean.split(4096), variance.split(4096), strict=True):
        cloud = _cloud(some, wide).softmax(-1)
        ends = cloud.quantile(torch.tensor([0.025, 0.975]).to(cloud), 0)
        parts.append((cloud.mean(0), ends[0], ends[1]))
    expected, low, high = (torch.cat(part) for part in zip(*parts, strict=True))
    return expected, low, high


def _hermite(like: Tensor) -> tuple[Tensor, Tensor]:
    nodes, weights = np.polynomial.hermite_e.hermegauss(_NODES)
    return torch.tensor(nodes).to(like), torch.tensor(weights / weights.sum()).to(like)


def _cloud(mean: Tensor, variance: Tensor) -> Tensor:
    """Points ``(S, N, C)`` that stand for normal distributions, the same ones in every row."""
    sobol = torch.quasirandom.SobolEngine(mean.shape[1], scramble=True, seed=0)
    points = sobol.draw(_DRAWS, dtype=torch.float64).clamp(1e-6, 1 - 1e-6)
    return mean + variance.sqrt() * torch.special.ndtri(points).to(mean)[:, None]
