"""One statement about a symmetry: its deviation, how sure that is, and whether it holds."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from scipy.stats import t as student
from torch import Tensor

_BLOCKS = 40
LEVEL = 0.99
"""Of the intervals."""


class Tolerance(NamedTuple):
    """What a deviation may be.

    Attributes:
        small: Up to here it does not matter.
        large: Above this it might matter, so that the data must exclude it.
        approximate: Up to here a transfer has a price that is worth paying.
    """

    small: float
    large: float
    approximate: float


class Statement(NamedTuple):
    r"""A deviation from symmetry, as a share of what there is to explain.

    It is a mean of products of independent estimates of one deviation, so that noise has mean zero:
    0 where the symmetry holds, whatever the noise, and possibly below 0 by chance.

    Attributes:
        effect: The share.
        low: Lower end of its 99% interval, over stretches of transitions.
        high: Upper end.
        tolerance: What it is judged by.
    """

    effect: float
    low: float
    high: float
    tolerance: Tolerance

    @property
    def holds(self) -> bool | None:
        """Whether the deviation does not matter; None where the data cannot tell."""
        if self.broken:
            return False
        return True if self.high <= self.tolerance.large else None

    @property
    def broken(self) -> bool:
        """Whether there is a deviation, as far as one can be sure; NaN is one."""
        return not self.low <= self.tolerance.small

    @property
    def tolerable(self) -> bool:
        """Whether the deviation, whatever it is, has a price that is worth paying."""
        return self.effect <= self.tolerance.approximate

    def record(self) -> dict[str, Any]:
        """Plain numbers; ends of the interval that the data do not bound are None."""
        ends = (self.low, self.high)
        return {
            "effect": self.effect,
            "interval": [end if math.isfinite(end) else None for end in ends],
            "holds": self.holds,
            "tolerance": self.tolerance.small,
        }


def measure(
    deviation: Tensor, total: Tensor, tolerance: Tolerance, doubt: float = 0.0
) -> Statement:
    """The statement that a share is small, from its parts.

    Args:
        deviation: Products of independent estimates, one row per unit of resampling, ``(U,)``.
        total: What they are shares of, ``(U,)``.
        tolerance: What it is judged by.
        doubt: Standard deviation of the share that all units have in common.
    """
    blocks = min(_BLOCKS, len(deviation))
    if blocks < 2:
        return Statement(0.0, -math.inf, math.inf, tolerance)
    size = len(deviation) // blocks
    parts, whole = (some[: blocks * size].view(blocks, size).mean(1) for some in (deviation, total))
    scale = whole.mean().clamp_min(1e-300)
    effect = parts.mean() / scale
    spread = (parts - effect * whole).std() / scale / math.sqrt(blocks)
    reach = float(student.ppf((1 + LEVEL) / 2, blocks - 1)) * math.hypot(float(spread), doubt)
    return Statement(float(effect), float(effect) - reach, float(effect) + reach, tolerance)


def stronger(*statements: Statement) -> Statement:
    """Of statements on one deviation: the largest that is broken, or else the one most sure."""
    broken = [one for one in statements if one.broken]
    if broken:
        return max(broken, key=lambda one: one.effect)
    return min(statements, key=lambda one: one.high)


def nothing(tolerance: Tolerance) -> Statement:
    """The statement of a deviation that cannot be, as there is nothing that could deviate."""
    return Statement(0.0, 0.0, 0.0, tolerance)


def ignorance(tolerance: Tolerance) -> Statement:
    """The statement of which the data say nothing."""
    return Statement(0.0, -torch.inf, torch.inf, tolerance)
