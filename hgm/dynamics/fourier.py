"""Dynamics as ridge regression on random Fourier features: closed form."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from hgm.checks import check_int
from hgm.dynamics.base import DynamicsModel, Prediction
from hgm.dynamics.noise import EXACT, local_noise
from hgm.dynamics.periodogram import strongest_waves
from hgm.numerics.fourier import MAX_FEATURES, FourierRegression, Whitening
from hgm.numerics.ranks import Ranks

_LENGTHSCALES = [
    (of_state, of_action)
    for of_state in (math.inf, 3.2, 1.8)
    for of_action in (0.8, 1.4, 2.5, math.inf)
]
"""Candidates. If the dynamics do not depend on the state, less data tell their shape."""
_Length = tuple[float, float]
_Part = tuple[Tensor, Tensor]
_WORSE = 0.02  # logarithm of the held-out error, relative to that without weights
_ROUNDS, _MORE = 4, 8  # in which waves are added; in each
_GAIN = 0.02  # nats of held-out likelihood per transition that they must add


class _Twin(FourierRegression):
    """On random waves, and on sines and cosines of given frequencies ``(E, p)``."""

    def __init__(
        self,
        blocks: tuple[int, int],
        num_random: int,
        lengthscales: Sequence[_Length],
        seed: int,
        more: Tensor | None,
    ) -> None:
        n, p = blocks[0], sum(blocks)
        num = num_random + (0 if more is None else 2 * len(more))
        super().__init__(1, p, n, num, lengthscales, blocks, seed=seed)
        self.num_random, self.lengthscales = num_random, lengthscales
        self.more = self.frequencies.new_zeros(0, p) if more is None else more

    @property
    def chosen_scales(self) -> Sequence[_Length]:
        """The length scale that was chosen; none before."""
        return [self.lengthscales[index] for index in self.likeliest]

    def learn(self, inputs: Tensor, change: Tensor, weights: Tensor | None = None) -> _Twin:
        """Fits inputs ``(B, p)`` and displacements ``(B, n)``, and returns itself."""
        weights = None if weights is None else weights[None]
        self.accumulate(inputs[None], change[None], weights=weights)
        self.solve()
        return self

    def missed(self, inputs: Tensor, change: Tensor) -> Tensor:
        """Frequencies of waves that it lacks, ``(E, p)``."""
        return strongest_waves(inputs, change - self.values(inputs[None])[0], _MORE)

    def _whitening(self, inputs: Tensor, ranks: Ranks) -> Whitening:
        found = super()._whitening(inputs, ranks)
        if len(self.more):
            both = (self.more @ torch.linalg.inv(found.root)).repeat_interleave(2, 0)
            self.frequencies[:, self.num_random :] = both
            self.phases[self.num_random :: 2] = 0.0
            self.phases[self.num_random + 1 :: 2] = -math.pi / 2
        return found


class FourierDynamics(DynamicsModel):
    """Twins of :class:`~hgm.numerics.fourier.FourierRegression` with different waves.

    Length scales of states and of actions, infinite ones among them, maximise the evidence. Waves
    that fill the space are long. So those that their residuals follow are added while that makes
    held-out transitions likelier, see :mod:`hgm.dynamics.periodogram`. Where noise is larger in
    some places than in others, transitions then count by its inverse variance.

    Args:
        dim_state: State dimension ``n``.
        dim_action: Action dimension ``m``.
        num_features: Number of waves, at least 8.
        seed: Seed of the waves.
        lengthscales: Candidates, each of states and of actions.
        sharp: Whether short waves are sought.

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
        sharp: bool = True,
    ) -> None:
        check_int("num_dynamics_features", num_features, 8, MAX_FEATURES)
        self.lengthscales = lengthscales
        self._settings, self._seed = (dim_state, dim_action, num_features), seed
        self._added: list[Tensor | None] = [None, None]
        self._rounds = _ROUNDS if sharp else 0
        self.twins = [self._twin(number, lengthscales) for number in range(2)]

    def anew(self, seed: int) -> FourierDynamics:
        """The same with other random waves, of the length scales that the twins chose.

        Waves that were added are kept, and none are sought.
        """
        chosen = sorted({scale for twin in self.twins for scale in twin.chosen_scales})
        sharp = self._rounds > 0 and not chosen
        other = FourierDynamics(*self._settings, seed, chosen or self.lengthscales, sharp)
        if chosen:
            other._added = [twin.more for twin in self.twins]
        return other

    def unfitted(self) -> FourierDynamics:
        """The same waves, and all length scales to choose from."""
        return FourierDynamics(*self._settings, self._seed, self.lengthscales, self._rounds > 0)

    def fit(self, inputs: Tensor, change: Tensor, half: Tensor) -> None:
        """One pass of sums, and a solve; again with waves that are added, and with weights."""
        self.local = None
        parts: list[_Part] = []
        for number in range(2):
            own = (half == number).nonzero()[:, 0]
            # The first rows choose the length scales: they must not be one task's alone.
            order = torch.randperm(len(own), generator=torch.Generator().manual_seed(number))
            own = own[order.to(own.device)]
            parts.append((inputs[own], change[own]))
        self.twins = [
            self._twin(number, self.lengthscales, self._added[number]).learn(*part)
            for number, part in enumerate(parts)
        ]
        self.examine(inputs, change, half)
        self._add_waves(parts, inputs, change, half)
        if not self.explains_all:
            self._weigh(parts, inputs, change, half)

    def _weigh(self, parts: list[_Part], inputs: Tensor, change: Tensor, half: Tensor) -> None:
        """Fits again by the inverse variance of the noise, unless it was no noise.

        Places that count for less must not be fitted worse for that: then they were a misfit.
        """
        before, left = self.twins, self.left(inputs, change, half)
        self.local = local_noise(inputs, left, self.scale)
        if self.local is None:
            return
        self.twins = [
            self._twin(number, twin.chosen_scales, twin.more).learn(*own, 1 / self.local(own[0]))
            for number, (twin, own) in enumerate(zip(before, parts, strict=True))
        ]
        size, old = (
            one.square().mean(0).sqrt().maximum(EXACT * self.scale).log().mean()
            for one in (self.left(inputs, change, half), left)
        )
        if size > old + _WORSE:
            self.twins, self.local = before, None

    def _add_waves(self, parts: list[_Part], inputs: Tensor, change: Tensor, half: Tensor) -> None:
        """Those that residuals follow, while they make held-out transitions likelier."""
        for _ in range(self._rounds):
            if self.explains_all:
                return
            before, surprise = self.twins, self.surprise
            found = [twin.missed(*part) for twin, part in zip(before, parts, strict=True)]
            if not any(map(len, found)):
                return
            self.twins = [
                self._twin(number, twin.chosen_scales, torch.cat((twin.more, waves))).learn(*part)
                for number, (twin, waves, part) in enumerate(zip(before, found, parts, strict=True))
            ]
            self.examine(inputs, change, half)
            if self.surprise > surprise - _GAIN:
                self.twins = before
                self.examine(inputs, change, half)
                return

    def _twin(
        self, number: int, lengthscales: Sequence[_Length], more: Tensor | None = None
    ) -> _Twin:
        n, m, num = self._settings
        return _Twin((n, m), num, lengthscales, 2 * self._seed + number, more)

    def predict(self, inputs: Tensor) -> Prediction:
        """Both twins' displacements and Jacobians at ``(B, n + m)``."""
        both = [twin.predict(inputs[None]) for twin in self.twins]
        return Prediction(*(torch.cat(parts) for parts in zip(*both, strict=True)))

    def values(self, inputs: Tensor) -> Tensor:
        """Both twins' displacements, ``(2, B, n)``."""
        return torch.cat([twin.values(inputs[None]) for twin in self.twins])

    def values_of_sums(self, inputs: Tensor, shifts: Tensor) -> Tensor:
        """The same at sums of inputs ``(A, n + m)`` and shifts ``(C, n + m)``, ``(2, A, C, n)``."""
        return torch.cat([twin.values_of_sums(inputs[None], shifts[None]) for twin in self.twins])
