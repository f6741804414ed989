"""The benchmark of stacked agents runs, and measures every part."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import stacked


def test_every_part_is_timed():
    found = stacked.measure(2, 2, 1)
    assert set(found) == {"stacked", "one by one"}
    assert all(len(times) == 3 and min(times) > 0 for times in found.values())
