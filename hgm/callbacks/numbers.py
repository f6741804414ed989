"""Metrics of a finished run, sorted by how a logger can show them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

_PREFIX = "test/"


def numbers_of(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Finite scalars under ``test/``: numbers, truth values, ends of intervals, and dictionaries.

    Example:
        >>> numbers_of({"regret": 1, "regret_interval": [0.5, 2.0], "verdict": "found"})
        {'test/regret': 1.0, 'test/regret_interval/low': 0.5, 'test/regret_interval/high': 2.0}
    """
    found: dict[str, Any] = {}
    for key, value in metrics.items():
        if isinstance(value, Mapping):
            found |= {f"{key}/{name}": entry for name, entry in value.items()}
        elif key.endswith("_interval") and isinstance(value, list) and len(value) == 2:
            found |= dict(zip((f"{key}/low", f"{key}/high"), value, strict=True))
        else:
            found[key] = value
    return {f"{_PREFIX}{key}": float(value) for key, value in found.items() if _is_number(value)}


def texts_of(metrics: Mapping[str, Any]) -> dict[str, str]:
    r"""Words under ``test/``: texts, and lists of texts as Markdown.

    Example:
        >>> texts_of({"verdict": "none", "reasons": ["too few tasks", "no gap"], "regret": 1.0})
        {'test/verdict': 'none', 'test/reasons': '* too few tasks\n* no gap'}
        >>> texts_of({"reasons": []})
        {'test/reasons': 'none'}
    """
    found = {}
    for key, value in metrics.items():
        if isinstance(value, str):
            found[f"{_PREFIX}{key}"] = value
        elif isinstance(value, list) and all(isinstance(entry, str) for entry in value):
            found[f"{_PREFIX}{key}"] = "\n".join(f"* {entry}" for entry in value) or "none"
    return found


def histograms_of(metrics: Mapping[str, Any]) -> dict[str, list[float]]:
    """Lists of numbers under ``test/``, but for intervals.

    Example:
        >>> histograms_of({"regret": [0.1, 0.2], "return_interval": [-1.0, -0.5]})
        {'test/regret': [0.1, 0.2]}
    """
    return {
        f"{_PREFIX}{key}": value
        for key, value in metrics.items()
        if isinstance(value, list)
        and value
        and not key.endswith("_interval")
        and all(_is_number(entry) for entry in value)
    }


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
