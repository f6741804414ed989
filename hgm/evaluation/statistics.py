"""Statistics over runs and tasks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

CONFIDENCE = 0.95
_NUM_RESAMPLES = 2000


def slope(pairs: np.ndarray) -> float:
    """Least-squares slope of the second row against the first, ``(2, T)``; 0 without spread."""
    x, y = pairs
    x = x - x.mean()
    return float(x @ y / max(x @ x, 1e-300))


def bootstrap(runs: Sequence[np.ndarray], statistic: Callable[[np.ndarray], Any]) -> list[float]:
    """95% percentile interval of a statistic of tasks (last axis) over runs (Efron, 1979).

    Whole runs are drawn with replacement; of a single run, its tasks are.
    """
    generator = np.random.default_rng(0)
    found = []
    for _ in range(_NUM_RESAMPLES):
        if len(runs) > 1:
            picked = np.concatenate(
                [runs[i] for i in generator.integers(len(runs), size=len(runs))], -1
            )
        else:
            picked = runs[0][..., generator.integers(runs[0].shape[-1], size=runs[0].shape[-1])]
        found.append(float(statistic(picked)))
    tail = 50 * (1 - CONFIDENCE)
    return np.percentile(found, [tail, 100 - tail]).tolist()
