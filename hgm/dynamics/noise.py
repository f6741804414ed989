"""Noise that is larger in some places than in others."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hgm.numerics.fourier import FourierRegression
from hgm.numerics.misfit import shared

EXACT = 1e-6
"""Of a displacement: what is less is rounding."""

_WAVES = 64
_SCALES = ((math.inf,), (3.2,), (1.8,))
_LEAST = 1e-4  # of the mean square: residuals may be 0
_GAIN = 0.05  # nats per displacement: deviations that vary by a fifth
_MOSTLY = 0.5  # share of what is left that neighbours have in common
_COMPARED = 500
_RANGE = (0.005, 0.995)  # quantiles of what data show: nothing is known beyond


class LocalNoise:
    r"""Variance of noise as a function of the inputs, relative to what it is on the whole.

    The logarithm of squared residuals, averaged over the outputs, is regressed on waves (Harvey,
    *Econometrica* 44, 1976): :math:`\log v(x)`, up to a constant that makes the mean of
    :math:`e^2 / v` what that of :math:`e^2` is.

    Args:
        inputs: Inputs, ``(B, p)``.
        left: What a model that did not learn from them leaves of the outputs, in comparable units,
            ``(B, q)``.
    """

    def __init__(self, inputs: Tensor, left: Tensor) -> None:
        logs = (left.square() + _LEAST * left.square().mean()).log().mean(1)
        self._model = FourierRegression(1, inputs.shape[1], 1, _WAVES, _SCALES, seed=29)
        # The first rows choose the length scale: they must not be one task's alone.
        mixed = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(29))
        mixed = mixed.to(inputs.device)
        self._model.accumulate(inputs[None, mixed], logs[None, mixed, None])
        self._model.solve()
        told = self._model.values(inputs[None])[0, :, 0]
        self._range = [float(told.quantile(one)) for one in _RANGE]
        told = told.clamp(*self._range)
        square = left.square().mean(1)
        self._shift = float(((square / told.exp()).mean() / square.mean()).log())
        self.gain = -(float(told.mean()) + self._shift) / 2
        """Likelihood of what is left that it adds, in nats per output."""

    def __call__(self, inputs: Tensor) -> Tensor:
        """Relative variance at inputs ``(..., p)``, ``(...)``."""
        told = self._model.values(inputs.flatten(0, -2)[None])[0, :, 0]
        return (told.clamp(*self._range) + self._shift).exp().view(inputs.shape[:-1])


def local_noise(inputs: Tensor, left: Tensor, scale: Tensor) -> LocalNoise | None:
    """Where noise is larger and smaller; None if it is the same everywhere, or hardly noise.

    What neighbours have in common is the model's misfit: where that is large, it is to be mended,
    and not to be told that it counts for little.

    Args:
        inputs: Inputs, ``(B, p)``.
        left: What a model that did not learn from them leaves of the outputs, ``(B, q)``.
        scale: Standard deviations of the outputs, ``(q,)``.
    """
    size = left.square().mean(0).sqrt()
    left = (left / size)[:, size > EXACT * scale]
    if not left.shape[1]:
        return None
    noise = LocalNoise(inputs, left)
    if noise.gain < _GAIN:
        return None
    places, one = inputs / inputs.std(0).clamp_min(1e-300), torch.ones_like(left[0, 0])
    scaled = left / noise(inputs).sqrt()[:, None]  # of variance 1
    misfit = [float(shared(places, column, one, _COMPARED).share) for column in scaled.mT]
    return noise if max(misfit) < _MOSTLY else None
