"""Coordinates with long tails, bent."""

import pytest
import torch
from systems import randn
from torch.func import jacfwd, vmap
from torch.testing import assert_close

from hgm.numerics.tails import Tails, long_tails

LONG = {
    "log-normal": lambda x: (0.7 * x).exp(),
    "decades": lambda x: 40 * (1.5 * x).exp(),
    "the other way": lambda x: 3 - x.exp(),
    "both ways": lambda x: x**3,
    "far from the origin": lambda x: 1000 + x.exp(),
}
SHORT = {
    "normal": lambda x: x,
    "uniform": lambda x: torch.special.ndtr(x),
    "on a circle": lambda x: torch.cos(torch.pi * torch.special.ndtr(x)),
    "constant": torch.zeros_like,
    "rounding": lambda x: 1 + 1e-16 * x.exp(),
    "flag": lambda x: (x > 1.6).double(),
    "count": lambda x: torch.floor(torch.special.ndtr(x) * 3),
    "half of it at a stop": lambda x: x.clamp_min(0.0),
    "one side": torch.abs,
    "two clusters": lambda x: x.sign() + 0.02 * x,
    "one outlier": lambda x: torch.where(x == x.max(), 1e6, x),
}


def drawn(shape, num=2000):
    return shape(randn(num, 1))


def tails():
    into = randn(3, 2, seed=1)
    return Tails(into, randn(2, seed=2), torch.tensor([0.3, 2.0]).double())


@pytest.mark.parametrize("name", LONG)
def test_long_tails_become_no_longer_than_those_of_a_normal_distribution(name):
    points = drawn(LONG[name])
    bent = long_tails(points)(points)
    bent = (bent - bent.mean()) / bent.std()
    # Of a normal distribution, 2.5% are beyond 1.96 on either side, and .1% beyond 3.1.
    for side in (-bent, bent):
        assert (side > 1.96).double().mean() < 0.037
        assert (side > 3.1).double().mean() < 0.005


@pytest.mark.parametrize("name", SHORT)
def test_others_are_left_alone(name):
    assert long_tails(drawn(SHORT[name])) is None


def test_each_coordinate_is_judged_by_itself():
    points = torch.cat((drawn(SHORT["normal"]), drawn(LONG["log-normal"]).flip(0)), 1)
    found = long_tails(points)
    bent = found(points) - found(torch.zeros(1, 2).double())
    assert_close(bent[:, 0], points[:, 0], atol=1e-9, rtol=0)
    assert (found.slope(points)[:, 1] < 0.5).double().mean() > 0.5


@pytest.mark.parametrize("units", [1e-3, 1e3])
def test_units_change_nothing(units):
    points = drawn(LONG["both ways"])
    assert_close(long_tails(units * points)(units * points), units * long_tails(points)(points))


def test_derivatives_are_those_of_the_map():
    found, points = tails(), randn(6, 3)
    jacobian = vmap(jacfwd(found))(points)
    assert_close(found.slope(points)[..., None] * found.into.mT, jacobian)
    gradient = randn(6, 2, seed=5)
    assert_close(found.back(gradient, points), (gradient[:, None] @ jacobian)[:, 0])
    change = vmap(jacfwd(found.slope))(points)
    assert_close(found.bend(points)[..., None] * found.into.mT, change)


def test_points_are_found_again():
    found, bent = tails(), randn(6, 2, seed=3)
    assert_close(found(found.undone(bent)), bent)


def test_points_may_be_seen_through_an_affine_map():
    found, points = tails(), randn(6, 4)
    shift, into = randn(4, seed=6), randn(4, 3, seed=7)
    assert_close(found.seen_through(shift, into)(points), found((points - shift) @ into))


def test_some_coordinates_among_others():
    points = torch.cat([drawn(shape) for shape in LONG.values()], 1)
    found = long_tails(points)
    some = found.some([1, 3])
    assert_close(some(points[:, [1, 3]]), found(points)[:, [1, 3]])
    assert_close(some.among([1, 3], 5)(points), found(points)[:, [1, 3]])


def test_one_tensor_holds_it():
    found, points = tails(), randn(6, 3)
    assert found.packed.shape == (5, 2)
    assert torch.equal(Tails.of(found.packed)(points), found(points))


def test_one_coordinate_may_be_left_alone():
    points = torch.cat((drawn(LONG["log-normal"]), drawn(LONG["both ways"])), 1)
    found = long_tails(points)
    other = found.straight(1)
    assert_close(other(points)[:, 0], found(points)[:, 0])
    moved = other(points)[:, 1] - other(torch.zeros(1, 2).double())[:, 1]
    assert_close(moved, points[:, 1], atol=1e-6, rtol=1e-6)


def test_episodes_do_not_hide_what_comes_later():
    """Of each, the first states are alike; a stride as long as an episode sees no others."""
    later = (1.5 * randn(2000, 50)).exp()
    later[:, 0] = 1 + 0.1 * randn(2000)
    assert long_tails(later.flatten()[:, None]) is not None


@pytest.mark.parametrize("num", [0, 1, 2])
def test_a_few_points_have_no_tails(num):
    assert long_tails(randn(num, 2)) is None


def test_beside_what_spans_decades_less_of_a_tail_is_bent():
    far, little = randn(3000, 1, seed=1).mul(1.5).exp(), randn(3000, 1, seed=2).mul(0.35).exp()
    normal = randn(3000, 1, seed=3)
    assert long_tails(torch.cat((little, normal), 1)) is None
    found = long_tails(torch.cat((far, little, normal), 1))
    assert (found.width[:2] < 10).all()
    assert found.width[2] > 1e4


def test_of_few_numbers_chance_is_no_tail():
    bent = 0
    for seed in range(40):
        far, normal = (1.5 * randn(40, 1, seed=seed)).exp(), randn(40, 1, seed=100 + seed)
        found = long_tails(torch.cat((far, normal), 1))
        bent += found is not None and bool(found.width[1] < 1e4)
    assert bent <= 2
