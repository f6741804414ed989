"""A chart is learned from the dynamics, and believed only where held-out transitions ask for it."""

import pytest
import torch
from torch.testing import assert_close

from hgm.charts import Flow, Identity
from hgm.charts.likelihood import Moves, action_features, fit_linear, surprise
from hgm.charts.straighten import interval, parted, straighten
from hgm.envs.point import bound_disc
from hgm.envs.warped import Bend

BEND = Bend(0.9, 0.5).double()


def walk(step, num=600, seed=0):
    """Transitions ``(4, num, 2)`` of a noisy point; states are spread evenly."""
    random = torch.Generator().manual_seed(seed)
    state = 1.2 * torch.randn(4, num, 2, generator=random, dtype=torch.float64)
    action = 0.4 * torch.rand(4, num, 2, generator=random, dtype=torch.float64) - 0.2
    noise = 0.03 * torch.randn(4, num, 2, generator=random, dtype=torch.float64)
    return state, action, step(state, action) + noise


def plain(state, action):
    return state + bound_disc(action, 0.1)


def small():
    return Flow(2, transforms=4, width=16)


def moves_of(parts):
    state, action, after = (part.flatten(0, 1) for part in parts)
    return Moves(state, action_features(action), after)


@pytest.fixture(scope="module")
def learned():
    parts = walk(plain)
    seen = tuple(part if i == 1 else BEND.inverse(part) for i, part in enumerate(parts))
    return parts, seen, straighten(small(), *seen)


def test_it_straightens_dynamics_that_are_bent(learned):
    (_, _, inside), seen, found = learned
    assert found.low > 0
    assert found.over_free > 0
    places = found.chart(seen[2]).flatten(0, 1)
    true = inside.flatten(0, 1)
    bare = torch.cat((seen[2].flatten(0, 1), torch.ones(len(true), 1)), -1)
    charted = torch.cat((places, torch.ones(len(true), 1)), -1)
    left, without = (
        (table @ torch.linalg.lstsq(table, true).solution - true).norm() / true.norm()
        for table in (charted, bare)
    )
    assert left < 0.06
    assert without > 3 * left
    assert_close(found.chart.inverse(found.chart(seen[0])), seen[0])
    assert not any(part.requires_grad for part in found.chart.parameters())


def test_the_record_says_why(learned):
    record = learned[2].record()
    assert record["accepted"] is True
    assert record["interval"][0] < record["gain"] < record["interval"][1]


def test_dynamics_that_are_linear_keep_their_coordinates():
    found = straighten(small(), *walk(plain, 300))
    assert found.chart is None
    assert not found.low > 0


def test_dynamics_that_no_chart_makes_linear_keep_theirs():
    # An attracting and a repelling place: no linear dynamics have both.
    found = straighten(small(), *walk(lambda s, a: s + 0.3 * torch.sin(2 * s) + a, 300))
    assert found.chart is None
    assert found.over_free <= 0


def test_the_likelihood_knows_no_units_and_counts_the_slope():
    moves = moves_of(walk(plain, 100))
    chart, other = Identity(2).double(), Identity(2).double()
    other.frame = torch.tensor([[3.0, 1.0], [0.0, 0.5]]).double()
    (linear, first), (scaled, second) = (fit_linear(one, moves) for one in (chart, other))
    one, two = surprise(chart, linear, moves), surprise(other, scaled, moves)
    assert_close(first, second, rtol=0, atol=1e-4)
    assert_close(one, two, rtol=0, atol=1e-3)
    assert_close(surprise(chart, linear, moves).mean(), first)
    assert fit_linear(BEND, moves)[1] > first + 0.1


def test_stretches_are_held_out_whole():
    whole = parted(*walk(plain, 400))
    assert len(whole.held) == 1600
    assert 0.2 < float(whole.held.double().mean()) < 0.3
    for stretch in whole.stretch.unique():
        assert len(whole.held[whole.stretch == stretch].unique()) == 1
    assert len(whole.stretch.unique()) == 4 * 8


def test_an_interval_needs_two_stretches():
    gain = torch.tensor([1.0, 3.0, 2.0, 2.0])
    mean, low, high = interval(gain, torch.tensor([0, 0, 0, 0]))
    assert (mean, low, high) == (2.0, -float("inf"), float("inf"))
    mean, low, high = interval(gain, torch.tensor([0, 0, 1, 1]))
    assert (mean, low, high) == (2.0, 2.0, 2.0)
