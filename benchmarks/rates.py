"""Rates of runs, with intervals."""

from typing import Any

from scipy.stats import binomtest


def rate(hits: int, total: int) -> dict[str, Any]:
    """A share with its Clopper-Pearson interval, 95%."""
    if not total:
        return {"hits": 0, "total": 0, "rate": None, "interval": [0.0, 1.0]}
    interval = binomtest(hits, total).proportion_ci(0.95, "exact")
    return {
        "hits": hits,
        "total": total,
        "rate": hits / total,
        "interval": [float(interval.low), float(interval.high)],
    }
