"""Statistics over runs and tasks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

CONFIDENCE = 0.95
_NUM_RESAMPLES = 2000
_FEWEST = 3
"""Tasks that can be drawn with replacement."""


class Estimate(NamedTuple):
    """A mean over runs, and the ends of its interval: None where the data bound nothing."""

    value: float
    interval: list[float | None]


def slope(x: np.ndarray, y: np.ndarray, axis: int = -1) -> Any:
    """Least-squares slopes of ``y`` against ``x`` along an axis; 0 where ``x`` is all the same."""
    size = x.shape[axis] * (x * x).max(axis)
    x, y = (one - one.mean(axis, keepdims=True) for one in (x, y))
    square = (x * x).sum(axis)
    spread = square > 1e-24 * size  # means of equal numbers are off by rounding
    return (x * y).sum(axis) * spread / np.where(spread, square, 1.0)


def estimate(runs: Sequence[np.ndarray], statistic: Callable[..., Any] = np.mean) -> Estimate:
    r"""Mean over runs of a statistic of their tasks, with a 95% interval.

    *Several runs*, one a seed, with statistics :math:`q_1 \dots q_n`: Student's interval
    :math:`\bar q \pm t_{n - 1} s / \sqrt n`. It assumes that these are about normal, so its ends
    may lie where no statistic can. Three runs, drawn with replacement, would not tell more than
    their range.

    *A single run* says nothing of other seeds. Its interval is over its tasks, whose regrets are
    skewed and many enough to be drawn with replacement, by the bias-corrected and accelerated
    bootstrap of :func:`scipy.stats.bootstrap` (B. Efron, *Better Bootstrap Confidence Intervals*,
    1987). Fewer than three tasks of a single run have no interval.

    Args:
        runs: Values of the tasks of every run, ``(T,)``, or ``(2, T)`` where the statistic is one
            of pairs.
        statistic: Of ``(..., T)``, or of two of these, along ``axis``.

    Example:
        >>> estimate([np.array([1.0, 3.0]), np.array([4.0, 4.0])]).value
        3.0
    """
    rows = [np.atleast_2d(run) for run in runs]
    values = np.array([float(statistic(*own, axis=-1)) for own in rows])
    mean = float(values.mean())
    if len(rows) > 1:
        half = stats.t.ppf((1 + CONFIDENCE) / 2, len(rows) - 1) * stats.sem(values)
        return Estimate(mean, [mean - float(half), mean + float(half)])
    if rows[0].shape[-1] < _FEWEST:
        return Estimate(mean, [None, None])
    without = [statistic(*np.delete(rows[0], i, -1), axis=-1) for i in range(rows[0].shape[-1])]
    if np.ptp(without) <= 1e-9 * np.abs(without).max():  # the bootstrap would give NaN
        return Estimate(mean, [mean, mean])
    found = stats.bootstrap(
        rows[0],
        statistic,
        n_resamples=_NUM_RESAMPLES,
        paired=True,
        confidence_level=CONFIDENCE,
        rng=np.random.default_rng(0),
    ).confidence_interval
    return Estimate(mean, [float(found.low), float(found.high)])
