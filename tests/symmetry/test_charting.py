"""Rewards sharpen a chart of the dynamics, and cannot bend it to ends of their own."""

from types import SimpleNamespace

import pytest
import torch
from systems import TURN, randn

from hgm import lie
from hgm.charts import Chart
from hgm.charts.straighten import Straightened
from hgm.symmetry.charting import sharpen
from hgm.symmetry.relevance import Sight
from hgm.symmetry.samples import Samples
from hgm.symmetry.view import Units, View

SIGHT = Sight("next_observation", [0, 1], None, torch.zeros(3))
TRUE, NEAR = 0.5, 0.44
COORDS = torch.tensor([[0.0], [1.2], [-2.0]]).double()


class Arch(Chart):
    """Lines across the first coordinate are bent, by one parameter."""

    def __init__(self, dim_space, bend=TRUE):
        super().__init__(dim_space)
        self.bend = torch.nn.Parameter(torch.tensor(bend))

    def _shift(self, points):
        return self.bend * ((1 + points[..., :1].square()).sqrt() - 1)

    def _bend(self, points):
        return torch.cat((points[..., :1], points[..., 1:] - self._shift(points)), -1)

    def _unbend(self, points):
        return torch.cat((points[..., :1], points[..., 1:] + self._shift(points)), -1)

    def _log_slope(self, points):
        return points.new_zeros(points.shape[:-1])


def samples(told):
    """A walk in the plane, seen through the arch; rewards `told` of places in the base task."""
    place, action = 1.2 * randn(3, 400, 2, seed=1), 0.3 * randn(3, 400, 2, seed=2)
    after = place + action + 0.1 * randn(3, 400, 2, seed=3)
    base = lie.act(lie.exp(-lie.hat(COORDS, TURN)), after)
    seen = Arch(2).double().requires_grad_(False).inverse
    return Samples(seen(place), action, told(base), seen(after))


def straightened(part):
    return Straightened(part, 1.0, 0.5, 1.5, 1.0, part.double().requires_grad_(False))


def found(**other):
    """What a search in the chart of the dynamics has found: elements a little off."""
    view = View(Units(torch.eye(2).double(), torch.ones(2).double(), 2), SIGHT, [0, 1])
    parts = {"problem": SimpleNamespace(view=view), "coords": COORDS + 0.03 * (COORDS != 0)}
    return SimpleNamespace(**{**parts, "seen": TURN, "orbits": (), **other})


def distance(base):
    return -(base - torch.tensor([1.0, 0.0]).double()).norm(dim=-1)


def test_rewards_move_a_chart_towards_the_truth():
    """These dynamics alone say 0.477."""
    sharp = sharpen(straightened(Arch(2, NEAR)), samples(distance), found())
    assert sharp.gain > 0
    assert sharp.rewards > 0.5
    assert float(sharp.chart.bend) == pytest.approx(TRUE, abs=0.015)
    assert not sharp.chart.bend.requires_grad
    assert sharp.record()["accepted"] is True


def test_rewards_that_no_element_explains_move_none():
    sharp = sharpen(straightened(Arch(2, NEAR)), samples(lambda base: randn(3, 400)), found())
    assert sharp.chart is None
    assert sharp.rewards < 0
    assert sharp.record()["accepted"] is False


@pytest.mark.parametrize(("high", "moves"), [(-0.5, False), (0.2, True)])
def test_a_chart_that_held_out_transitions_surely_speak_against_stays(high, moves, monkeypatch):
    """Where they cannot tell the two apart, rewards decide."""
    monkeypatch.setattr("hgm.symmetry.charting.interval", lambda *_: (-0.7, -0.9, high))
    sharp = sharpen(straightened(Arch(2, NEAR)), samples(distance), found())
    assert sharp.gain < 0 < sharp.rewards
    assert (sharp.chart is not None) == moves


def test_nothing_is_sharpened_without_a_chart_a_group_or_one_orbit():
    part = straightened(Arch(2, NEAR))
    for chart, findings in (
        (part._replace(part=None), found()),
        (part, found(orbits=(1, 2))),
        (part, found(seen=TURN[:0])),
    ):
        assert sharpen(chart, samples(distance), findings) is None
