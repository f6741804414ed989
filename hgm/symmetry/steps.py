"""Effort of the search."""

from __future__ import annotations

from dataclasses import dataclass, fields

from hgm.checks import check_int

_MOST = {"num_starts": 1_000_000, "num_points": 1_000_000, "num_refits": 64}
"""Largest values of steps that are not counted in steps."""


@dataclass(frozen=True)
class SearchSteps:
    """Effort of the search.

    Args:
        num_starts: Starts of every left action; None: 12 per dimension of the points.
        num_points: Points of every task that a start is judged by.
        start_steps: Gauss-Newton steps from every start.
        pair_steps: Steps of every joint fit.
        pool_steps: Steps of pooled refinement.
        max_directions: Most shared directions that are tried.
        num_refits: Fits of halves of the transitions, which intervals come from; 0: no intervals.
    """

    num_starts: int | None = None
    num_points: int = 64
    start_steps: int = 7
    pair_steps: int = 10
    pool_steps: int = 15
    max_directions: int = 6
    num_refits: int = 8

    def __post_init__(self) -> None:
        """Checks the arguments.

        Raises:
            ValueError: If one is no positive int, or `num_refits` is negative.
        """
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None or field.name != "num_starts":
                least = 0 if field.name == "num_refits" else 1
                check_int(field.name, value, least, _MOST.get(field.name, 10_000))
