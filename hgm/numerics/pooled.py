r"""Regression in a new task by a prior that is pooled from other tasks: linear in Fourier features.

Targets of task i are :math:`y = \phi(x)^T w_i + \varepsilon` with noise :math:`\sigma^2`, and the
tasks' weights are :math:`w_i \sim N(\mu, \Sigma)`. Length scale, noise, mean and covariance come
from training tasks; a new task's weights are the posterior given its own transitions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from hgm.numerics.fourier import (
    LENGTHSCALES,
    Whitening,
    draw_frequencies,
    features,
    fit,
    moments,
    whitening,
)

_NUM_STEPS = 20
"""Steps of the expectation-maximisation."""


class LinearPrior(Protocol):
    r"""Rewards :math:`y = s (\phi(x)^T w + \varepsilon)` of tasks, :math:`w \sim N(\mu, \Sigma)`.

    Attributes:
        mean: :math:`\mu`, ``(M,)``.
        covariance: :math:`\Sigma`, ``(M, M)``.
        noise: Variance of :math:`\varepsilon`, ``()``.
        scale: :math:`s`, ``()``.
    """

    mean: Tensor
    covariance: Tensor
    noise: Tensor
    scale: Tensor

    def inputs(self, state: Tensor, action: Tensor, after: Tensor) -> Tensor:
        """What of transitions rewards depend on, ``(..., p)``."""

    def table(self, inputs: Tensor) -> Tensor:
        """Features of inputs ``(..., p)``, ``(..., M)``."""


class PooledPrior:
    r"""The prior :math:`N(\mu, \Sigma)` of the weights of tasks, by empirical Bayes.

    The length scale maximises the evidence of ridge regressions, one a task, which also give the
    noise and the isotropic variance :math:`\tau^2`. Then expectation-maximisation: with posterior
    means :math:`m_i` and covariances :math:`V_i` of the ``N`` tasks, :math:`\mu` is the mean of the
    :math:`m_i`, and
    :math:`\Sigma = (\tau^2 I + \sum_i [(m_i - \mu)(m_i - \mu)^T + V_i]) / (N + 1)`: what tasks have
    in common is known beforehand, and the isotropic part, worth one task, lets a new one differ
    from all of them.

    Args:
        inputs: Inputs of every task, ``(N, B, p)``.
        targets: Targets, ``(N, B)``.
        num_features: Number of waves.
        pooled: Whether to learn mean and covariance; otherwise :math:`N(0, \tau^2 I)`.
        lengthscales: Candidates in standard deviations of the inputs.
        seed: Seed of the waves.

    Raises:
        ValueError: If the targets of a task are all equal: noise and variance of the tasks are
            averaged, and it would have neither.
    """

    def __init__(
        self,
        inputs: Tensor,
        targets: Tensor,
        num_features: int,
        pooled: bool,
        lengthscales: Sequence[float] = LENGTHSCALES,
        seed: int = 0,
    ) -> None:
        generator = torch.Generator().manual_seed(seed)
        inputs, targets = inputs.double(), targets.double()[..., None]
        _check_variation(targets[..., 0])
        self.whitening: Whitening = whitening(inputs)
        frequencies, self._phases = draw_frequencies(inputs.shape[-1], num_features, generator)
        self.scale = targets.std().clamp_min(1e-12)
        white, targets = self.whitening(inputs), targets / self.scale
        tried = []
        for lengthscale in lengthscales:
            table = features(white, frequencies / lengthscale, self._phases)
            sums = moments(table, targets)
            tried.append((float(fit(sums).cost.sum()), lengthscale, sums))
        _, self.lengthscale, sums = min(tried, key=lambda one: one[0])
        self._frequencies = frequencies / self.lengthscale
        ridges = fit(sums)
        self.noise = ridges.noise.mean()
        isotropic = (ridges.noise / ridges.ridge).log().mean().exp()
        size = sums.gram.shape[-1]
        self.mean = torch.zeros(size).double()
        self.covariance = isotropic * torch.eye(size).double()
        floor = self.covariance
        for _ in range(_NUM_STEPS if pooled else 0):
            precision = torch.linalg.inv(self.covariance)
            spread = torch.linalg.inv(sums.gram / self.noise + precision)
            pull = sums.cross[..., 0] / self.noise + precision @ self.mean
            means = (spread @ pull[..., None])[..., 0]
            self.mean = means.mean(0)
            off = means - self.mean
            self.covariance = (floor + off.mT @ off + spread.sum(0)) / (len(means) + 1)

    def inputs(self, state: Tensor, action: Tensor, after: Tensor) -> Tensor:
        """Next states: that rewards are functions of these is told."""
        return after

    def table(self, inputs: Tensor) -> Tensor:
        """Features of inputs ``(..., p)``, ``(..., M)``."""
        return features(self.whitening(inputs.double()), self._frequencies, self._phases)


def _check_variation(targets: Tensor) -> None:
    alike = targets.std(1, correction=0) < 1e-9 * (1 + targets.mean(1).abs())
    if alike.any():
        raise ValueError(
            f"Expected rewards that vary, but those of task {int(alike.nonzero()[0])} are all "
            "equal: no prior of rewards can be learned from it."
        )


class PooledPosterior:
    """Weights of ``R`` tasks, given what was observed in each.

    Args:
        prior: Of all of them.
        num_tasks: Number ``R``.
    """

    def __init__(self, prior: LinearPrior, num_tasks: int) -> None:
        self.prior = prior
        self.mean = prior.mean.expand(num_tasks, -1)
        self.covariance = prior.covariance.expand(num_tasks, -1, -1)

    def observe(self, inputs: Tensor, targets: Tensor, where: Tensor) -> None:
        """Learns from one observation of every task ``where (R,)``: ``(R, p)`` and ``(R,)``."""
        table = self.prior.table(inputs[where])
        own = self.covariance[where]
        along = (own @ table[..., None])[..., 0]
        variance = (table * along).sum(-1) + self.prior.noise
        miss = targets[where].double() / self.prior.scale - (table * self.mean[where]).sum(-1)
        gain = along / variance[:, None]
        self.mean = self.mean.index_put((where,), self.mean[where] + gain * miss[:, None])
        self.covariance = self.covariance.index_put(
            (where,), own - gain[:, :, None] * along[:, None]
        )

    def values(self, inputs: Tensor, tasks: Tensor, weights: Tensor | None = None) -> Tensor:
        """Targets ``(Q, ...)`` at inputs ``(Q, ..., p)``, row i in task ``tasks[i]``.

        Args:
            inputs: Where.
            tasks: Of which tasks, ``(Q,)``.
            weights: Of all tasks, ``(R, M)``; None: the posterior means.
        """
        weights = self.mean if weights is None else weights
        weights = weights[tasks].view(len(tasks), *(1,) * (inputs.dim() - 2), -1)
        return (self.prior.table(inputs) * weights).sum(-1) * self.prior.scale

    def sample(self, noise: Tensor) -> Tensor:
        r"""Weights :math:`m + V^{1/2} \xi` for standard normal ``noise (R, M)``, ``(R, M)``.

        The symmetric root changes continuously with the covariance: a sample of the same noise
        moves no further than what was learned meanwhile moves it.
        """
        values, vectors = torch.linalg.eigh((self.covariance + self.covariance.mT) / 2)
        along = values.clamp_min(0).sqrt() * (vectors.mT @ noise[..., None])[..., 0]
        return self.mean + (vectors @ along[..., None])[..., 0]

    def repeat(self, copies: int) -> PooledPosterior:
        """Every task ``copies`` times, those of a task after each other."""
        other = PooledPosterior(self.prior, 0)
        other.mean = self.mean.repeat_interleave(copies, 0)
        other.covariance = self.covariance.repeat_interleave(copies, 0)
        return other
