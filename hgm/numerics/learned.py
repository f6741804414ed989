"""Regressions whose features a network learns: of what waves cannot follow."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from hgm.numerics.twins import Twins

FAR = 3.0
"""Times the usual residual, beyond which one counts as far off."""

_WIDTH, _RATE, _BATCH, _STEPS = 64, 0.01, 256, 2000  # units, and steps of Adam


def in_halves(half: Tensor, *parts: Tensor) -> list[Tensor]:
    """Parts ``(N, B, ...)`` as two lists of equal length, ``(2, K, ...)``.

    Args:
        half: Which one a row belongs to, ``(N, B)``.
        *parts: What is parted.
    """
    rows = [(half == number).nonzero(as_tuple=True) for number in range(2)]
    num = min(len(one[0]) for one in rows)
    # Evenly: the last of a list may be of one task.
    even = [torch.arange(num, device=half.device) * len(one[0]) // max(1, num) for one in rows]
    some = [tuple(index[place] for index in one) for one, place in zip(rows, even, strict=True)]
    return [torch.stack([part[one] for one in some]) for part in parts]


def learn(points: Tensor, target: Tensor, worth: Tensor, usual: float) -> Twins:
    """Two networks with two hidden layers of 64 units, each of one half.

    Args:
        points: Whitened points, ``(2, K, q)``.
        target: Standardised targets, ``(2, K)``.
        worth: What residuals are multiplied by, about 1, ``(2, K)``.
        usual: What residuals usually are; beyond three times that they count linearly.
    """

    def loss(value: Tensor, told: Tensor) -> Tensor:
        residual = told[..., 1] * (value[..., 0] - told[..., 0])
        zero = torch.zeros_like(residual)
        return functional.huber_loss(residual, zero, reduction="none", delta=FAR * usual).mean(1)

    told = torch.stack((target, worth), -1).float()
    sizes = [points.shape[-1], _WIDTH, _WIDTH, 1]
    twins = Twins(sizes, points, told, torch.Generator().manual_seed(0))
    twins.descend(_STEPS, min(_BATCH, points.shape[1]), _RATE, loss)
    return twins
