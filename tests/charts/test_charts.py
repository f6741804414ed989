"""Charts: their contract, what a file holds of them, and what a chart does to a geometry."""

import sys

import pytest
import torch
from torch.testing import assert_close

from hgm import adapt, lie, load_geometry
from hgm.charts import Chart, Flow, Identity, chart_of_state
from hgm.envs.warped import Bend
from hgm.geometry import Geometry, RewardModel
from hgm.testing import ConformanceError, check_chart

TURN = lie.so_generators(2).double()


class Logarithms(Chart):
    """Coordinates log(1 + s): a chart with nothing to learn, and no closed form of its slope."""

    def _bend(self, points):
        return torch.log1p(points.abs()) * points.sign()

    def _unbend(self, points):
        return torch.expm1(points.abs()) * points.sign()


class Leaning(Chart):
    """Its inverse is wrong."""

    def _bend(self, points):
        return points + 0.1 * points**3

    def _unbend(self, points):
        return points


class Boasting(Leaning):
    """Its slope is wrong, too, but its inverse is right where it is asked."""

    def _unbend(self, points):
        guess = points
        for _ in range(60):
            guess = guess - (guess + 0.1 * guess**3 - points) / (1 + 0.3 * guess**2)
        return guess

    def _log_slope(self, points):
        return points.sum(-1)


class Forgetful(Logarithms):
    """It does not keep its argument."""

    def __init__(self, dim_space, power=1.0):
        super().__init__(dim_space)


@pytest.mark.parametrize("chart", [Identity(3), Flow(2), Flow(5, 4, 8), Bend(), Logarithms(2)])
def test_charts_keep_the_contract(chart):
    check_chart(chart)


@pytest.mark.parametrize(
    ("chart", "rule"),
    [
        (Leaning(2), "inverse after forward: off by"),
        (Boasting(2), "log_slope: off by"),
        (Forgetful(2), "state: .*power"),
        ("identity", "not a Chart"),
    ],
)
def test_check_chart_names_the_rule(chart, rule):
    with pytest.raises(ConformanceError, match=rule):
        check_chart(chart)


def test_a_flow_starts_as_the_identity_and_knows_its_seed():
    points = torch.randn(5, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert_close(Flow(2).double()(points), points)
    first, same, other = (Flow(2, seed=seed).couplings[0].hyper[0].weight for seed in (1, 1, 2))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def test_settling_keeps_the_units_of_the_states():
    chart = Bend().double()
    points = torch.randn(200, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    chart.settle(points)
    best = torch.linalg.lstsq(chart(points), points).solution
    assert_close(best, torch.eye(2, dtype=torch.float64))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Flow(1), "dim_space"),
        (lambda: Flow(2, transforms=1), "transforms"),
        (lambda: Flow(2, width=0), "width"),
        (lambda: Flow(2, transforms=65), "transforms"),
        (lambda: Flow(4096, width=2**14), r"`dim_space` \* `width` \* `transforms`"),
        (lambda: Flow(2, seed=2**70), "seed"),
        (lambda: Identity(4097), "dim_space"),
        (lambda: Identity(2)(torch.zeros(3)), r"shape \(..., 2\)"),
    ],
)
def test_arguments_out_of_range_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_without_zuko_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "zuko.flows", None)
    with pytest.raises(ImportError, match=r"hgm\[charts\]"):
        Flow(2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "os.system"}, "a chart of hgm"),
        ({"kind": "hgm.charts.base.Chart.state"}, "a chart of hgm"),
        ({"kind": "tests.charts.test_charts.Logarithms"}, "a chart of hgm"),
        ({"kind": 3}, "a chart of hgm"),
        ({"arguments": {"size": 2}}, "arguments and tensors"),
        ({"tensors": {}}, "arguments and tensors"),
    ],
)
def test_a_file_may_name_charts_only(change, message):
    with pytest.raises(ValueError, match=message):
        chart_of_state({**Identity(2).state(), **change})
    with pytest.raises(ValueError, match="kind"):
        chart_of_state({})


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("scale", torch.tensor([1.0, torch.nan]), "finite"),
        ("scale", torch.tensor([1.0, 0.0]), "positive `scale`"),
        ("frame", torch.ones(2, 2), "invertible `frame`"),
    ],
)
def test_what_a_file_holds_goes_there_and_back(name, value, message):
    broken = Identity(2).state()
    broken["tensors"][name] = value
    with pytest.raises(ValueError, match=message):
        chart_of_state(broken)


def bent_geometry(chart):
    """Rotations in a chart, and a reward that is the first coordinate there."""
    reward = RewardModel(
        *(torch.zeros(2), torch.eye(2), torch.zeros(1, 2), torch.zeros(1)),
        *(torch.tensor([0.0, 1 / 3, 0.0, 0.0]), torch.zeros(4, 1), torch.tensor(0.01)),
    )
    coords = torch.tensor([[0.0], [0.5]], dtype=torch.float64)
    return Geometry(TURN, TURN, coords, 2, "found", "so(2)", reward=reward, chart=chart)


def test_the_group_acts_in_the_chart_and_a_file_keeps_it(tmp_path):
    chart = Bend().double()
    geometry = bent_geometry(chart)
    geometry.save(tmp_path / "geometry.pt")
    for one in (geometry, load_geometry(tmp_path, allow=["hgm"])):
        states = torch.randn(7, 2, generator=torch.Generator().manual_seed(0)).double()
        moved, turned = one.act(torch.tensor([0.5]), states, states)
        turn = lie.exp(0.5 * TURN[0])
        assert_close(chart(moved), chart(states) @ turn.mT)
        assert_close(turned, states @ turn.mT)
        assert_close(one.act(torch.tensor([-0.5]), moved, turned)[0], states)


def test_a_new_task_is_told_by_states_as_they_are_seen():
    chart = Bend().double()
    geometry = bent_geometry(chart)
    places = torch.randn(1, 9, 2, generator=torch.Generator().manual_seed(0)).double()
    rewards = (places @ lie.exp(-0.7 * TURN[0]).mT)[..., 0]
    states = chart.inverse(places)
    points, told = geometry.observed(states, states, rewards, states)
    assert torch.equal(points, states)
    assert float(adapt(geometry, points, told).coords) == pytest.approx(0.7, abs=0.01)


def test_changes_of_state_are_those_of_coordinates():
    chart = Bend().double()
    geometry = Geometry(**{**vars(bent_geometry(chart)), "reward_of": "change"})
    state, after = torch.randn(2, 4, 2, generator=torch.Generator().manual_seed(0)).double()
    points, _ = geometry.observed(state, state, state[:, 0], after)
    assert_close(points, chart(after) - chart(state))
    assert torch.equal(geometry.charted(points), points)


def test_a_chart_of_another_size_is_refused(tmp_path):
    state = {**bent_geometry(Bend().double()).state(), "chart": Identity(3).state()}
    with pytest.raises(ValueError, match="`chart` of 2 dimensions, got 3"):
        Geometry.of_state(state)
