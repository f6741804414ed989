"""What one reward model for all tasks describes rewards by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from hgm.numerics.basis import Basis
from hgm.numerics.fourier import LENGTHSCALES, Whitening

TAIL = 9.0
"""Cauchy beyond 3 deviations; loses 3% of efficiency on Gaussian noise."""


class Effort(NamedTuple):
    """What a pooled model describes rewards by.

    Attributes:
        waves: How many there are for at most 2, for 3, and for more coordinates.
        scales: Their length scales, of which that of largest evidence is chosen. All tasks together
            see finer kinks than one.
        choices: Steps that choose it: elements that err look like noise.
        tail: Of the weights of residuals, in squares of their deviation.
        ridge: That of the one length scale, where it is known; else that of largest evidence.
    """

    waves: tuple[int, int, int] = (256, 512, 768)
    scales: Sequence[float] = (0.2, *LENGTHSCALES)
    choices: tuple[int, ...] = (0, 2, 5)
    tail: float = TAIL
    ridge: Tensor | None = None


class Learned(NamedTuple):
    """Features that a network has learned, of points that are whitened so."""

    white: Whitening
    basis: Basis


USUAL = Effort()
MORE = Effort(waves=(768, 1024, 1152), choices=(0, 2, 5, 9))
"""For kinks all over a space that tasks share out: seen once elements are nearly right."""

FINER = Effort((768, 1024, 1152), choices=(0,), tail=1e4)
"""Residuals of more waves are small where rewards are flat: what tells is no outlier."""
