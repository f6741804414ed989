"""Intervals are those that their rule says, and cover as often as they say."""

import math

import numpy as np
import pytest
from scipy import stats

from hgm.evaluation import estimate, slope


def test_slope_is_that_of_least_squares():
    x = np.array([0.0, 0.2, 0.5, 0.9])
    y = 0.3 * x + np.array([0.1, -0.1, 0.05, 0.0])
    assert math.isclose(slope(x, y), np.polyfit(x, y, 1)[0], rel_tol=1e-9)
    assert slope(np.ones(4), y) == 0.0
    both = slope(np.stack((x, x)), np.stack((y, 2 * y)))
    np.testing.assert_allclose(both, [slope(x, y), 2 * slope(x, y)])


@pytest.mark.parametrize("value", [0.1, math.pi, 1e6, 0.0])
@pytest.mark.parametrize("num", [3, 7, 20])
def test_slopes_without_spread_are_zero_though_means_are_rounded(value, num):
    y = np.arange(float(num))
    assert slope(np.full(num, value), y) == 0.0
    both = np.stack((np.full(num, value), y)), np.stack((y, 2 * y))
    np.testing.assert_allclose(slope(*both), [0.0, 2.0])
    near = value + 1e-6 * y * max(value, 1.0)  # little spread is spread
    assert slope(near, 3 * near) == pytest.approx(3.0)


@pytest.mark.parametrize("seed", range(8))
def test_intervals_of_slopes_of_few_tasks_do_not_explode(seed):
    """Many of their resamples have one task only."""
    x, y = np.random.default_rng(seed).uniform(0, 1, (2, 3))
    ends = np.array(estimate([np.stack((x, y))], slope).interval)
    steepest = (
        np.abs(np.subtract.outer(y, y)) / (np.abs(np.subtract.outer(x, x)) + np.eye(3))
    ).max()
    assert (np.abs(ends) <= steepest + 1e-6).all()


def test_intervals_over_seeds_are_students():
    runs = [np.array([0.0, 2.0]), np.array([2.0]), np.array([6.0, 6.0, 6.0])]
    found = estimate(runs)
    # Means 1, 2 and 6: s = sqrt 7, and t = 4.302653 with two degrees of freedom.
    half = 4.302653 * math.sqrt(7 / 3)
    assert found.value == 3.0
    assert found.interval == pytest.approx([3 - half, 3 + half], rel=1e-6)
    known = stats.ttest_1samp([1.0, 2.0, 6.0], 0).confidence_interval(0.95)
    assert found.interval == pytest.approx([known.low, known.high])


def test_slopes_are_one_a_seed():
    x = np.array([0.0, 1.0, 2.0])
    levels = ((1.0, 0.0), (2.0, 50.0), (4.0, -70.0))  # slopes, and means that differ widely
    found = estimate([np.stack((x, k * x + level)) for k, level in levels], slope)
    assert found.value == pytest.approx(7 / 3)
    assert found.interval == pytest.approx(estimate([np.array([k]) for k, _ in levels]).interval)


@pytest.mark.parametrize("num", [2, 3, 5, 12])
def test_intervals_cover_the_mean_as_often_as_they_say_however_few_the_seeds(num):
    generator = np.random.default_rng(0)
    hits = []
    for _ in range(400):
        low, high = estimate([generator.normal(size=4) + generator.normal() for _ in range(num)])[1]
        hits.append(low <= 0 <= high)
    assert 0.925 <= np.mean(hits) <= 0.975


def test_intervals_of_a_single_run_are_over_its_tasks_and_know_that_regrets_are_skewed():
    regrets = np.random.default_rng(1).exponential(size=20)
    value, (low, high) = estimate([regrets])
    assert value == regrets.mean()
    spread = regrets.std(ddof=1) / math.sqrt(20)
    assert 2.5 * spread < high - low < 5 * spread
    assert high - value > 1.2 * (value - low)
    assert estimate([regrets]).interval == [low, high]


def test_slopes_of_a_single_run_are_drawn_in_pairs():
    x = np.linspace(0, 1, 20)
    y = 3 * x + 0.01 * np.random.default_rng(0).normal(size=20)
    low, high = estimate([np.stack((x, y))], slope).interval
    assert 2.95 < low < slope(x, y) < high < 3.05


def test_what_bounds_nothing_has_no_interval():
    for few in (np.array([0.5]), np.array([0.25, 0.75])):
        assert estimate([few]) == (0.5, [None, None])
    line = np.array([0.1, 0.5, 0.9])
    value, ends = estimate([np.stack((line, 3 * line))], slope)
    assert ends == [value, value]
    assert value == pytest.approx(3.0)
    assert estimate([np.full(4, 0.5)]) == (0.5, [0.5, 0.5])
    assert estimate([np.stack((np.zeros(4), np.arange(4.0)))], slope) == (0.0, [0.0, 0.0])
