"""The base task's reward, as one model of all tasks' transitions: what adaptation reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from hgm.numerics.fourier import LINEAR_SCALE, Whitening, features, slope
from hgm.numerics.tails import Tails


class Prediction(NamedTuple):
    """Expected rewards ``(...)``, their gradients ``(..., n)``, and the model's variance ``(...)``.

    The variance is that of the model alone: what the data leave open, without the rewards' noise.
    """

    value: Tensor
    gradient: Tensor
    variance: Tensor


@dataclass(frozen=True, repr=False)
class RewardModel:
    r"""Reward of the base task at what its rewards see, :math:`R(p) = \phi(p)^T w`.

    Ridge regression on Fourier features, see :mod:`hgm.numerics.fourier`. It was fitted to the
    transitions of all training tasks, carried into the base task by their left actions.

    Attributes:
        mean: Centre of the points, ``(n,)``.
        root: Map of points to the ``q`` whitened coordinates that rewards see, ``(n, q)``.
        frequencies: Frequencies for whitened points, ``(F, q)``.
        phases: Phases, ``(F,)``.
        weights: Weights, ``(F + q + 1,)``, in units of the reward.
        spread: Columns whose squares sum to the covariance of the weights, ``(F + q + 1, S)``.
        noise: Standard deviation of the rewards about the model, ``()``.
        misfit: Weights of the logarithm of the square of that, where it is not the same everywhere,
            ``(F + q + 1,)``; None where that was not learned.
        tails: What bends points first, as :attr:`hgm.numerics.tails.Tails.packed`,
            ``(n + 2, q)``: `mean` and `root` are then those of bent points, ``(q,)`` and
            ``(q, q)``. None where nothing does.
    """

    mean: Tensor
    root: Tensor
    frequencies: Tensor
    phases: Tensor
    weights: Tensor
    spread: Tensor
    noise: Tensor
    misfit: Tensor | None = None
    tails: Tensor | None = None

    def __call__(self, points: Tensor) -> Prediction:
        """Predicts at points ``(..., n)``, in the dtype of the model."""
        gradient = slope(self._white(points), self.frequencies, self.phases, self.weights)
        gradient = gradient @ self.root.mT
        if self.bent is not None:
            gradient = self.bent.back(gradient, points.to(self.mean))
        value, variance = self.value(points)
        return Prediction(value, gradient, variance)

    def value(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Expected rewards and variances alone, ``(...)`` each."""
        table = features(self._white(points), self.frequencies, self.phases)
        return table @ self.weights, (table @ self.spread).square().sum(-1)

    def scatter(self, points: Tensor) -> Tensor:
        """Variance of rewards about the model at points ``(..., n)``, ``(...)``."""
        if self.misfit is None:
            return self.noise.square().expand(points.shape[:-1])
        return (features(self._white(points), self.frequencies, self.phases) @ self.misfit).exp()

    @property
    def seen(self) -> Tensor:
        """A map of points to coordinates that rewards see, ``(n, q)``."""
        return self.root if self.bent is None else self.bent.into

    @property
    def bent(self) -> Tails | None:
        """What bends points first."""
        return None if self.tails is None else Tails.of(self.tails)

    def _white(self, points: Tensor) -> Tensor:
        points = points.to(self.mean)
        return Whitening(self.mean, self.root)(points if self.bent is None else self.bent(points))

    def __repr__(self) -> str:
        """Its sizes: the tensors would fill pages."""
        noise = f"{float(self.noise):.3g}"
        return f"reward model of {len(self.weights)} features, noise {noise}"

    def scaled(self, factor: Tensor | float) -> RewardModel:
        """The model of `factor` times the reward."""
        misfit = self.misfit
        if misfit is not None:
            more = torch.as_tensor(factor).to(misfit).abs().log() * 2 / LINEAR_SCALE
            misfit = torch.cat((misfit[:-1], misfit[-1:] + more))
        return replace(
            self,
            misfit=misfit,
            weights=factor * self.weights,
            spread=factor * self.spread,
            noise=factor * self.noise,
        )

    def seen_through(self, shift: Tensor, into: Tensor) -> RewardModel:
        r"""The model of points `x`, for one of :math:`y = (x - b) M`.

        Args:
            shift: The `b`, ``(n,)``.
            into: The `M`, ``(n, q)``; a right inverse puts the centre back.
        """
        if self.bent is not None:
            return replace(self, tails=self.bent.seen_through(shift, into).packed)
        mean = shift + self.mean @ torch.linalg.pinv(into)
        return replace(self, mean=mean, root=into @ self.root)

    def to(self, device: torch.device | str) -> RewardModel:
        """The same on another device."""
        return self.each(lambda value: value.to(device))

    def each(self, change: Callable[[Tensor], Tensor]) -> RewardModel:
        """The same with every tensor changed."""
        parts = {name: part for name, part in vars(self).items() if part is not None}
        return RewardModel(**{name: change(part) for name, part in parts.items()})
