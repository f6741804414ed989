"""What a regression is linear in: random waves, or units that a network has learned."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from hgm.numerics.fourier import LINEAR_SCALE, features, slope
from hgm.numerics.twins import Twins


class Basis(NamedTuple):
    r"""Features of whitened points `x`, and their linear part :math:`(\kappa x, \kappa)`.

    Waves :math:`\sqrt{2/F} \cos(\Omega x + b)`, see :mod:`hgm.numerics.fourier`; or the last hidden
    layer of a network, :math:`\phi(M^T \phi(\Omega x + b) + c) / \sqrt H` with the SiLU
    :math:`\phi`.

    Attributes:
        frequencies: The :math:`\Omega`, ``(F, q)``.
        phases: The `b`, ``(F,)``.
        hidden: The `M` over `c`, ``(F + 1, H)``; None for waves.
    """

    frequencies: Tensor
    phases: Tensor
    hidden: Tensor | None = None

    @staticmethod
    def of(twins: Twins) -> Basis:
        """The units of both twins, which have two hidden layers."""
        (first, second), (one, two) = twins.weights[:2], twins.biases[:2]
        mix = torch.cat((torch.block_diag(*second), two.flatten()[None]))
        return Basis(first.mT.flatten(0, 1).double(), one.flatten().double(), mix.double())

    @property
    def num_features(self) -> int:
        """Without the linear part."""
        return len(self.phases) if self.hidden is None else self.hidden.shape[1]

    @property
    def size(self) -> int:
        """Number of features, the linear part among them."""
        return self.num_features + self.frequencies.shape[1] + 1

    def table(self, white: Tensor) -> Tensor:
        """Features of whitened points, ``(..., B, q) -> (..., B, size)``."""
        if self.hidden is None:
            return features(white, self.frequencies, self.phases)
        units = functional.silu(functional.silu(self._angle(white)) @ self._mix + self.hidden[-1])
        constant = torch.full_like(white[..., :1], LINEAR_SCALE)
        return torch.cat((units / math.sqrt(self.num_features), LINEAR_SCALE * white, constant), -1)

    def slope(self, white: Tensor, weights: Tensor) -> Tensor:
        """Gradient of ``table @ weights`` in whitened points, ``(..., B, q)``."""
        if self.hidden is None:
            return slope(white, self.frequencies, self.phases, weights)
        num = self.num_features
        angle = self._angle(white)
        inner = functional.silu(angle) @ self._mix + self.hidden[-1]
        back = _bend(inner) * (weights[:num] / math.sqrt(num))
        back = (back @ self._mix.mT) * _bend(angle)
        return LINEAR_SCALE * weights[num:-1] + back @ self.frequencies

    @property
    def _mix(self) -> Tensor:
        assert self.hidden is not None, "only networks have a second layer"
        return self.hidden[:-1]

    def _angle(self, white: Tensor) -> Tensor:
        return white @ self.frequencies.mT + self.phases


def _bend(values: Tensor) -> Tensor:
    """Derivative of the SiLU."""
    sigmoid = torch.sigmoid(values)
    return sigmoid * (1 + values * (1 - sigmoid))
