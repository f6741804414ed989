"""Directions that rewards see, where these are not coordinates."""

import pytest
import torch
from systems import randn
from torch.testing import assert_close

from hgm.envs.bank import BANK, record
from hgm.symmetry import directions
from hgm.symmetry.directions import seen_directions, turned_towards_axes

MIX = torch.linalg.qr(randn(4, 4, seed=3)).Q
GOALS = torch.tensor([[1.0, 0.2], [-0.4, 0.9], [0.3, -1.1]]).double()


def rewards(points, columns=slice(0, 2), noise=0.0):
    seen = (points @ MIX.mT)[..., columns]
    far = (seen[..., :2] - GOALS[:, None]).square().sum(-1)
    far = far + seen[..., 2:].square().sum(-1)
    return -torch.log1p(far) + noise * randn(*far.shape, seed=9)


@pytest.mark.parametrize(("noise", "tolerance"), [(0.0, 3e-5), (0.05, 0.01)])
def test_mixed_coordinates_are_told_from_what_rewards_see(noise, tolerance):
    points = randn(3, 1500, 4)
    found = seen_directions(points, rewards(points, noise=noise))
    assert found is not None
    assert found.shape == (2, 4)
    assert_close(found @ found.mT, torch.eye(2).double(), atol=1e-12, rtol=0)
    outside = found - found @ MIX[:2].mT @ MIX[:2]
    assert float(outside.norm()) < tolerance  # smooth misfit, and noise of 5%


def test_rewards_that_see_everything_see_no_fewer_directions():
    points = randn(3, 1500, 4)
    assert seen_directions(points, rewards(points, slice(None))) is None


def test_tasks_that_see_different_directions_see_them_all():
    points = randn(2, 1500, 4)
    each = torch.stack((points[0, :, :2].sin().sum(-1), points[1, :, 2:].sin().sum(-1)))
    assert seen_directions(points, each) is None


def test_of_two_coordinates_nothing_is_won():
    points = randn(3, 100, 2)
    assert seen_directions(points, points[..., 0]) is None


def test_a_chart_is_orthogonal_and_near_the_coordinates():
    directions = torch.linalg.qr(torch.eye(5).double()[:, [1, 4]] + 0.1 * randn(5, 2)).Q.mT
    chart, rows = turned_towards_axes(directions)
    assert rows == [1, 4]
    assert_close(chart @ chart.mT, torch.eye(5).double(), atol=1e-12, rtol=0)
    assert float((chart - torch.eye(5).double()).norm()) < 0.5
    span = chart[rows].mT @ chart[rows]
    assert_close(span, directions.mT @ directions, atol=1e-12, rtol=0)


def test_what_is_off_a_circle_hides_no_coordinate():
    """Slopes across the circle are anything, and here ten times those along it."""
    found = record(BANK["camera_dolly"], 2000, seed=120)
    points = torch.from_numpy(found["next_observation"])[..., [0, 2, 3]]
    points = points / points.flatten(0, 1).std(0)
    assert seen_directions(points, torch.from_numpy(found["reward"])) is None


def test_a_small_share_in_slopes_is_dropped_if_the_others_explain_all(monkeypatch):
    monkeypatch.setattr(directions, "_GONE", (0.05, 1e-12))  # misfit has as much
    points = randn(3, 1500, 4)
    found = seen_directions(points, rewards(points))
    assert found is not None
    assert found.shape == (2, 4)


def test_directions_are_seen_in_the_middle_of_long_tails():
    """Three amounts of which rewards see a sum and one: far out, waves tell any directions."""
    points = (0.8 * randn(3, 2000, 3)).exp()
    points = points / points.flatten(0, 1).std(0)
    total, last = points[..., 0] + points[..., 1], points[..., 2]
    reward = 2 * last / (total + last) - (total.log() - GOALS[:, :1]).square().log1p()
    found = seen_directions(points, reward)
    assert found is not None
    assert found.shape == (2, 3)
    unseen = torch.tensor([1.0, -1.0, 0.0]).double() / 2**0.5
    assert (found @ unseen).norm() < 0.01


def test_flags_beside_long_tails_are_seen():
    """Set in 15% of all transitions: among the farthest, if they counted as far out."""
    points = randn(3, 3000, 4)
    points[..., 0] = (1.2 * points[..., 0]).exp()
    points[..., 1] = (points[..., 1] > 1.04).double()
    points = points / points.flatten(0, 1).std(0)
    reward = 0.5 * points[..., 1] + (points[..., 2] - GOALS[:, :1]).sin()
    found = seen_directions(points, reward)
    assert found is not None
    assert found.shape == (2, 4)
    assert found[:, [0, 3]].norm() < 0.05
