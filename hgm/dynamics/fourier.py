"""Dynamics as ridge regression on random Fourier features: closed form."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from hgm.checks import check_int
from hgm.dynamics.base import DynamicsModel, Prediction
from hgm.numerics.fourier import MAX_FEATURES, FourierRegression

_LENGTHSCALES = [
    (of_state, of_action)
    for of_state in (math.inf, 3.2, 1.8)
    for of_action in (0.8, 1.4, 2.5, math.inf)
]
"""Candidates. If the dynamics do not depend on the state, less data tell their shape."""


class FourierDynamics(DynamicsModel):
    """Twins of :class:`~hgm.numerics.fourier.FourierRegression` with different waves.

    Length scales of states and of actions, infinite ones among them, maximise the evidence.

    Args:
        dim_state: State dimension ``n``.
        dim_action: Action dimension ``m``.
        num_features: Number of waves, at least 8.
        seed: Seed of the waves.
        lengthscales: Candidates, each of states and of actions.

    Raises:
        ValueError: If `num_features` is out of range.
    """

    def __init__(
        self,
        dim_state: int,
        dim_action: int,
        num_features: int = 128,
        seed: int = 0,
        lengthscales: Sequence[tuple[float, float]] = _LENGTHSCALES,
    ) -> None:
        check_int("num_dynamics_features", num_features, 8, MAX_FEATURES)
        blocks = (dim_state, dim_action)
        self.lengthscales = lengthscales
        self._settings = (dim_state, dim_action, num_features)
        self.twins = [
            FourierRegression(
                1, sum(blocks), dim_state, num_features, lengthscales, blocks, seed=2 * seed + twin
            )
            for twin in range(2)
        ]

    def anew(self, seed: int) -> FourierDynamics:
        """The same with other waves, of the length scales that the twins chose."""
        chosen = sorted({index for twin in self.twins for index in twin.likeliest})
        candidates = [self.lengthscales[index] for index in chosen]
        return FourierDynamics(*self._settings, seed, candidates or self.lengthscales)

    def fit(self, inputs: Tensor, change: Tensor, half: Tensor) -> None:
        """One pass of sums, and a solve."""
        for number, twin in enumerate(self.twins):
            twin.to(inputs.device)
            own = (half == number).nonzero()[:, 0]
            # The first rows choose the length scales: they must not be one task's alone.
            order = torch.randperm(len(own), generator=torch.Generator().manual_seed(number))
            own = own[order.to(own.device)]
            twin.accumulate(inputs[None, own], change[None, own])
            twin.solve()

    def predict(self, inputs: Tensor) -> Prediction:
        """Both twins' displacements and Jacobians at ``(B, n + m)``."""
        both = [twin.predict(inputs[None]) for twin in self.twins]
        return Prediction(*(torch.cat(parts) for parts in zip(*both, strict=True)))

    def values(self, inputs: Tensor) -> Tensor:
        """Both twins' displacements, ``(2, B, n)``."""
        return torch.cat([twin.values(inputs[None]) for twin in self.twins])
