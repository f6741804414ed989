r"""Waves of one or two coordinates that residuals follow: what random waves are too long to see.

To fill a space of six dimensions with waves as short as half a standard deviation takes millions
of them. Dynamics are mostly made of functions of a coordinate or two, and there are few pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import torch
from scipy.stats import gamma
from torch import Tensor
from torch.nn.functional import max_pool2d

_STEP, _HIGHEST = 0.6, 16.0  # radians per standard deviation of a coordinate
_LEVEL = 0.01  # that noise has a wave at all
_BUDGET = 1 << 18  # rows times pairs of coordinates times outputs
_ROWS = (512, 2048)  # fewest and most
_TINY = 1e-12


def strongest_waves(inputs: Tensor, left: Tensor, most: int) -> Tensor:
    r"""Frequencies of the largest peaks of the periodogram of residuals, those beyond noise.

    With standardised residuals :math:`e_q` of `B` transitions and frequencies :math:`\omega` that
    have two entries other than 0 at most, on a grid,

    .. math:: P(\omega) = \frac{1}{B} \sum_q \Big| \sum_b e_{bq} e^{i \omega \cdot x_b} \Big|^2,

    which under independent noise is a sum of `q` exponential variables. A peak is larger than its
    neighbours on the grid, and than the largest of so many sums in 99 of 100 cases.

    Args:
        inputs: Inputs in any order, ``(B, p)``; coordinates that never vary have no waves.
        left: Residuals, ``(B, q)``.
        most: Most waves.

    Returns:
        Frequencies in the units of the inputs, the largest peak first, ``(E, p)``.
    """
    size, scale = inputs.std(0), left.std(0)
    vary, told = ((one > _TINY * (1 + one.max())).nonzero()[:, 0] for one in (size, scale))
    pairs = list(combinations(vary.tolist(), 2))
    if not pairs or not len(told):
        return inputs.new_zeros(0, inputs.shape[1])
    num = min(_ROWS[1], max(_ROWS[0], _BUDGET // (len(pairs) * len(told))))
    angle = (inputs[:num] / size.clamp_min(_TINY))[..., None] * _grid().to(inputs)
    waves, residual = (angle.cos(), angle.sin()), left[:num, told] / scale[told]
    tests = len(pairs) * angle.shape[-1] * (2 * angle.shape[-1] - 1)
    least = float(gamma.isf(_LEVEL / tests, len(told)))
    peaks: dict[tuple[tuple[int, int], ...], float] = {}
    for pair in pairs:
        first, second = (tuple(part[:, place] for part in waves) for place in pair)
        power = _power(first, second, residual)
        high = (power == max_pool2d(power[None], 3, 1, 1)[0]) & (power > least)
        high[0, : angle.shape[-1]] = False  # a wave and its reverse are one; and the constant
        for row, column in high.nonzero().tolist():
            numbers = zip(pair, (row, column - angle.shape[-1] + 1), strict=True)
            # Waves of one coordinate are found with every partner.
            key = tuple((place, number) for place, number in numbers if number)
            peaks[key] = float(power[row, column])
    largest = sorted(peaks, key=lambda key: -peaks[key])[:most]
    found = inputs.new_zeros(len(largest), inputs.shape[1])
    for row, key in enumerate(largest):
        for place, number in key:
            found[row, place] = _STEP * number
    return found / size.clamp_min(_TINY)


def _grid() -> Tensor:
    return _STEP * torch.arange(int(_HIGHEST / _STEP) + 1)


def _power(first: Sequence[Tensor], second: Sequence[Tensor], residual: Tensor) -> Tensor:
    """Of frequencies from 0 on in the first and of both signs in the second, ``(K, 2 K - 1)``."""
    (cosine, sine), powers = second, []
    for one in residual.T[..., None]:
        c, s = (one * wave for wave in first)
        cc, ss, cs, sc = c.T @ cosine, s.T @ sine, c.T @ sine, s.T @ cosine
        along = (cc - ss).square() + (cs + sc).square()
        against = (cc + ss).square() + (sc - cs).square()
        powers.append(torch.cat((against[:, 1:].flip(1), along), 1))
    return torch.stack(powers).sum(0) / len(residual)
