"""Metrics of a finished run, sorted by how a logger can show them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

_PREFIX = "test/"


def numbers_of(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Finite scalars under ``test/``: numbers, truth values, ends of intervals, and dictionaries.

    Example:
        >>> numbers_of({"regret": 1, "regret_interval": [0.5, 2.0], "verdict": "found"})
        {'test/regret': 1.0, 'test/regret_interval/low': 0.5, 'test/regret_interval/high': 2.0}
        >>> numbers_of({"statements": {"rewards": {"effect": 0.1, "interval": [None, 0.2]}}})
        {'test/statements/rewards/effect': 0.1, 'test/statements/rewards/interval/high': 0.2}
    """
    return {
        f"{_PREFIX}{key}": float(value) for key, value in _entries(metrics) if _is_number(value)
    }


def _entries(metrics: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in metrics.items():
        if isinstance(value, Mapping):
            yield from ((f"{key}/{name}", entry) for name, entry in _entries(value))
        elif key.endswith("interval") and isinstance(value, list) and len(value) == 2:
            yield from zip((f"{key}/low", f"{key}/high"), value, strict=True)
        else:
            yield key, value


def texts_of(metrics: Mapping[str, Any]) -> dict[str, str]:
    r"""Words under ``test/``: texts, and lists of texts and statements as Markdown.

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
        elif key == "statements" and isinstance(value, Mapping):
            lines = [f"| {name} | {' | '.join(told(one))} |" for name, one in value.items()]
            head = "| statement | | effect | 95% interval |\n|---|---|---|---|"
            found[f"{_PREFIX}{key}"] = "\n".join((head, *lines))
        elif isinstance(value, list) and all(isinstance(entry, str) for entry in value):
            found[f"{_PREFIX}{key}"] = "\n".join(f"* {entry}" for entry in value) or "none"
    return found


def told(statement: Mapping[str, Any]) -> tuple[str, str, str]:
    """A statement of a discovery in words: whether it holds, its effect, and the interval.

    Example:
        >>> told({"effect": 0.0123, "interval": [None, None], "holds": None})
        ('cannot tell', '0.012', 'not bounded')
    """
    low, high = statement["interval"]
    held = {True: "holds", False: "broken", None: "cannot tell"}[statement["holds"]]
    bounded = low is not None and high is not None
    interval = f"{low:.2g} to {high:.2g}" if bounded else "not bounded"
    return held, f"{statement['effect']:.2g}", interval


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
