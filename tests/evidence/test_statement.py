"""One statement: its interval covers, and what cannot be measured does not hold."""

import math

import pytest
import torch
from systems import randn

from hgm.evidence.statement import Statement, Tolerance, ignorance, measure, nothing, stronger

TOLERANCE = Tolerance(small=0.01, large=0.1, approximate=0.05)


def measured(deviation, total=None):
    return measure(deviation, torch.ones_like(deviation) if total is None else total, TOLERANCE)


@pytest.mark.parametrize("num", [3, 17, 400, 4001])
@pytest.mark.parametrize("effect", [0.0, 0.3])
def test_intervals_cover_in_about_99_of_100_cases(num, effect):
    noise = randn(600, num, seed=num)
    found = [measured(effect + 0.5 * row) for row in noise]
    covered = sum(one.low <= effect <= one.high for one in found) / len(found)
    assert 0.98 < covered < 0.998


def test_intervals_of_ratios_cover_too():
    total = randn(600, 800, seed=1).exp()
    deviation = 0.2 * total + 0.3 * randn(600, 800, seed=2)
    found = [measured(*pair) for pair in zip(deviation, total, strict=True)]
    covered = sum(one.low <= 0.2 <= one.high for one in found) / len(found)
    assert 0.97 < covered < 0.998
    mean = sum(one.effect for one in found) / len(found)
    assert mean == pytest.approx(0.2, abs=3e-3)


def test_transitions_of_one_stretch_count_as_one():
    """Errors that last for a while are as good as fewer errors."""
    lasting = randn(600, 40, seed=3).repeat_interleave(25, 1)
    found = [measured(row) for row in lasting]
    covered = sum(one.low <= 0 <= one.high for one in found) / len(found)
    assert 0.98 < covered < 0.998


def test_effect_is_the_ratio_of_means():
    deviation, total = randn(400), randn(400, seed=1).exp()
    found = measured(deviation, total)
    assert found.effect == pytest.approx(float(deviation.mean() / total.mean()))
    assert found.high - found.effect == pytest.approx(found.effect - found.low)
    assert found.tolerance is TOLERANCE


@pytest.mark.parametrize("factor", [1e-9, 1e9])
def test_units_do_not_matter(factor):
    deviation, total = randn(100), randn(100, seed=1).exp()
    one, two = measured(deviation, total), measured(factor * deviation, factor * total)
    assert tuple(one)[:3] == pytest.approx(tuple(two)[:3])


def test_more_data_make_a_narrower_interval():
    narrow, wide = (measured(randn(num, seed=5)) for num in (40_000, 400))
    assert narrow.high - narrow.low < 0.2 * (wide.high - wide.low)


CASES = {
    # effect, low, high: holds, broken, tolerable
    "surely none": ((0.0, -0.001, 0.001), (True, False, True)),
    "small": ((0.005, 0.001, 0.009), (True, False, True)),
    "at the limits": ((0.05, 0.01, 0.1), (True, False, True)),
    "perhaps large": ((0.05, 0.0, 0.11), (None, False, True)),
    "unknown": ((0.0, -math.inf, math.inf), (None, False, True)),
    "surely there": ((0.03, 0.02, 0.04), (False, True, True)),
    "large": ((0.5, 0.4, 0.6), (False, True, False)),
    "not a number": ((math.nan, math.nan, math.nan), (False, True, False)),
    "no lower end": ((0.0, math.nan, 0.0), (False, True, True)),
}


@pytest.mark.parametrize(("numbers", "expected"), CASES.values(), ids=CASES)
def test_what_a_statement_says(numbers, expected):
    one = Statement(*numbers, TOLERANCE)
    assert (one.holds, one.broken, one.tolerable) == expected
    record = one.record()
    assert record["holds"] is expected[0]
    assert record["tolerance"] == 0.01
    assert len(record["interval"]) == 2


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_what_is_not_finite_counts_as_broken(wrong):
    deviation = randn(100)
    deviation[7] = wrong
    assert measured(deviation).broken


@pytest.mark.parametrize("num", [0, 1])
def test_one_unit_says_nothing(num):
    found = measured(torch.zeros(num).double())
    assert found.holds is None
    assert (found.low, found.high) == (-math.inf, math.inf)


def test_nothing_holds_and_ignorance_does_not_say():
    assert nothing(TOLERANCE).holds is True
    assert ignorance(TOLERANCE).holds is None
    assert not ignorance(TOLERANCE).broken


@pytest.mark.parametrize("effect", [0.0, 0.005, 0.01])
def test_more_data_never_break_what_is_small(effect):
    """A narrower interval about a small effect holds where a wider one does."""
    widths = [0.3, 0.1, 0.08, 0.02, 1e-4]
    seen = [Statement(effect, effect - w, effect + w, TOLERANCE).holds for w in widths]
    assert seen == sorted(seen, key=lambda one: one is True)
    assert seen[-1] is True


def test_of_two_statements_a_broken_one_counts_and_else_the_surer_one():
    small, vague = Statement(0.0, -0.001, 0.001, TOLERANCE), Statement(0.0, -0.2, 0.2, TOLERANCE)
    there, large = Statement(0.03, 0.02, 0.04, TOLERANCE), Statement(0.5, 0.4, 0.6, TOLERANCE)
    assert stronger(vague, small) is small
    assert stronger(small, there) is there
    assert stronger(there, large) is large
