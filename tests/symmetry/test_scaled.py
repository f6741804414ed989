"""Groups made of others obey the laws of groups, and mean the same elsewhere."""

import math

import pytest
import torch
from systems import TURN, randn
from torch.testing import assert_close

from hgm import lie
from hgm.groups import GL, SO, Affine, Compact
from hgm.symmetry.scaled import Scaled, Spanned
from hgm.testing import check_group

UNITS = torch.diag(torch.tensor([2.0, 0.3, 1.0])).double()
CENTRED = UNITS.clone()
CENTRED[:2, 2] = torch.tensor([4.0, -1.0]).double()
"""The affine map from scaled to raw points."""

GROUPS = {
    "rotations": (SO(3), UNITS),
    "learned": (Compact(3), UNITS),
    "all": (GL(2), UNITS[:2, :2]),
    "affine": (Affine(2), CENTRED),
}


@pytest.fixture(params=GROUPS)
def scaled(request):
    group, frame = GROUPS[request.param]
    return Scaled(group.double(), frame)


def test_a_scaled_group_is_a_group(scaled):
    check_group(scaled)


@pytest.mark.parametrize("name", ["so(2)", "so(3)", "shifts"])
def test_a_span_that_is_closed_is_a_group(name):
    shifts = torch.zeros(2, 3, 3).double()
    shifts[0, 0, 2] = shifts[1, 1, 2] = 1.0
    generators = {"so(2)": TURN, "so(3)": lie.so_generators(3).double(), "shifts": shifts}[name]
    check_group(Spanned(generators, 2 if name == "shifts" else len(generators[0])))


def test_scaled_points_are_moved_as_raw_ones_are(scaled):
    points, coords = randn(5, scaled.dim_space), 0.5 * randn(5, scaled.dim_algebra, seed=1)
    raw = lie.act(scaled.frame, points)
    there = lie.act(scaled.frame, scaled.action(scaled.exp(coords), points))
    assert_close(there, scaled.group.action(scaled.group.exp(coords), raw))


def test_scaled_coordinates_are_those_of_the_group(scaled):
    coords = 0.3 * randn(4, scaled.dim_algebra)
    assert_close(scaled.log(scaled.exp(coords)), coords)
    assert_close(scaled.frame @ scaled.hat(coords), scaled.group.hat(coords) @ scaled.frame)


def test_a_scaled_group_starts_at_the_inner_product_of_the_raw_points():
    root = randn(3, 3, seed=2)
    covariance = root @ root.mT + torch.eye(3)  # of scaled points
    values, vectors = torch.linalg.eigh(covariance)
    scaled, plain = Scaled(Compact(3).double(), UNITS), Compact(3).double()
    scaled.warm_start((vectors / values.sqrt()) @ vectors.mT)
    values, vectors = torch.linalg.eigh(UNITS @ covariance @ UNITS)
    plain.warm_start((vectors / values.sqrt()) @ vectors.mT)
    assert_close(scaled.group.generators, plain.generators)
    # so that its elements keep the covariance of scaled points
    element = scaled.exp(randn(3, seed=3))
    kept = element @ covariance @ element.mT
    assert_close(kept / kept.trace(), covariance / covariance.trace(), rtol=0, atol=0.02)


def test_spread_starts_at_the_identity_and_fills_a_rotation_s_whole_circle():
    starts = Spanned(2 * TURN, 2).spread(32, torch.tensor([[0.0], [0.1]]).double())
    assert starts.shape == (32, 1)
    assert starts[0] == 0
    assert starts.abs().max() <= math.pi / 2  # radians are twice the coordinates
    assert starts.sort(0).values.diff(dim=0).max() < 2 * math.pi / 32 * 1.5


def test_spread_goes_twice_as_far_as_elements_of_an_open_group_went():
    grow = torch.eye(2).double()[None]
    starts = Spanned(grow, 2).spread(64, torch.tensor([[0.0], [-0.4], [0.3]]).double())
    assert starts.abs().max() <= 0.8
    assert starts.max() > 0.7
    assert starts.min() < -0.7


def test_spread_is_repeatable():
    group, coords = Spanned(lie.so_generators(3).double(), 3), torch.zeros(1, 3).double()
    assert torch.equal(group.spread(10, coords), group.spread(10, coords))
