"""Quadrics that states are on, and which generators keep states on them."""

import math

import pytest
import torch
from systems import randn, spin
from torch.testing import assert_close

from hgm import lie
from hgm.dynamics import FourierDynamics, choose
from hgm.symmetry.completion import shadow
from hgm.symmetry.invariance import equivariance_form
from hgm.symmetry.support import leaving, quadrics, staying

GL4 = lie.gl_generators(4).double()


def circle(num, seed=0, radius=1.0, thickness=0.0):
    """Points on a circle in the first two of four coordinates."""
    angle = math.pi * (2 * torch.rand(num, generator=torch.Generator().manual_seed(seed)) - 1)
    angle = angle.double()
    around = radius * torch.stack((angle.cos(), angle.sin()), -1)
    around = around * (1 + thickness * randn(num, 1, seed=seed + 1))
    return torch.cat((around, randn(num, 2, seed=seed + 2)), -1)


def test_a_circle_is_found_whatever_its_radius_and_units():
    for points in (circle(1000), 7 * circle(1000), circle(1000) * torch.tensor([3.0, 0.5, 1, 2])):
        (found,) = quadrics(points)
        around = lie.homogeneous(points, 5)
        off = torch.einsum("bi,ij,bj->b", around, found, around)
        assert off.abs().max() < 1e-9
        slope = 2 * around @ found[:, :4]
        assert float(slope.norm(dim=-1).max()) > 0.1


def test_points_all_over_the_place_are_on_none():
    assert len(quadrics(randn(1000, 4))) == 0
    assert staying(GL4, randn(1000, 4)) is None


def test_noisy_circles_are_circles_as_long_as_they_are_thin():
    assert len(quadrics(circle(1000, thickness=0.01))) == 1
    assert len(quadrics(circle(1000, thickness=0.1))) == 0


def test_few_points_tell_nothing():
    assert len(quadrics(circle(50))) == 0


def test_few_straight_ways_are_on_quadrics_of_their_own():
    """Two free particles: on each way there are three polynomials of degree 2, of fourteen."""
    time = torch.linspace(-1, 1, 500).double()[:, None]
    ways = [
        torch.cat((place + time * speed, speed.expand(500, 2)), -1)
        for place, speed in randn(2, 2, 1, 2)
    ]
    assert len(quadrics(torch.cat(ways))) == 0


@pytest.mark.parametrize("seed", range(3))
def test_few_slow_ways_are_on_quadrics_of_their_own(seed):
    generator = torch.Generator().manual_seed(seed)
    state, seen = torch.randn(4, 6, generator=generator, dtype=torch.float64), []
    for _ in range(500):
        push = 0.005 * torch.randn(4, 3, generator=generator, dtype=torch.float64)
        speed = state[:, 3:] + push
        state = torch.cat((state[:, :3] + 0.05 * speed, speed), -1)
        seen.append(state)
    assert len(quadrics(torch.stack(seen, 1).flatten(0, 1))) == 0


@pytest.mark.parametrize("level", [0.0, 2.0])
@pytest.mark.parametrize("num", [1, 3])
def test_to_leave_a_plane_costs_no_more_than_to_leave_a_circle(level, num):
    plane = torch.cat((randn(2000, 3), torch.full((2000, num), level).double()), -1)
    assert len(quadrics(plane)) == num
    costs = leaving(plane, 3 + num).diagonal().view(3 + num, 3 + num)
    assert_close(costs[3:, :3], torch.ones(num, 3).double(), atol=0.1, rtol=0)


def test_coordinates_that_add_up_to_a_constant_are_on_a_plane():
    points = randn(1000, 3)
    points = torch.cat((points, 2 - points.sum(-1, keepdim=True)), -1)
    kept = staying(GL4, points)
    moved = lie.field(kept, points).sum(-1)
    assert moved.abs().max() < 1e-6
    assert len(kept) == 12


def test_a_circle_is_turned_and_neither_stretched_nor_mixed():
    points = circle(1000)
    kept = staying(GL4, points)
    assert len(kept) == 1 + 2 * 4  # and anything may move the other two coordinates
    for inside in (spin(4, 0), spin(4, 2), GL4[10:11], GL4[8:9]):
        assert_close(lie.hat(lie.vee(inside, kept), kept), inside, atol=1e-6, rtol=0)
    for outside in (torch.diag(torch.tensor([1.0, 1, 0, 0])).double()[None], GL4[2:3]):
        assert lie.vee(outside, kept).norm() < 1e-6


def test_shifts_along_what_is_free_keep_a_circle():
    affine = torch.zeros(4, 5, 5).double()
    affine[torch.arange(4), torch.arange(4), 4] = 1.0
    kept = staying(affine, circle(1000))
    assert_close(lie.vee(affine, kept).norm(dim=-1), torch.tensor([0.0, 0.0, 1.0, 1.0]).double())


def test_how_fast_it_is_left():
    form = leaving(circle(4000), 4)
    stretch = torch.diag(torch.tensor([1.0, 1, 0, 0])).double().flatten()
    # The radius is the root of two of the deviations of either coordinate.
    assert float(stretch @ form @ stretch) == pytest.approx(2, rel=0.05)
    turn = spin(4, 0).flatten()
    assert float(turn @ form @ turn) < 1e-9


def test_what_leaves_the_states_is_not_kept_by_their_dynamics():
    """Stretching both circles of a map that turns the first one is a symmetry of its formula."""
    state, action = circle(2000), randn(2000, 1, seed=9)
    turned = lie.act(lie.exp(0.3 * action.tanh()[..., None] * spin(4, 0)), state[:, None])[:, 0]
    change = turned - state
    change[:, 2:] = -0.5 * (1 + 0.3 * state[:, 2:].square().sum(-1, True)).log() * state[:, 2:]
    model = choose([FourierDynamics(4, 1)], torch.cat((state, action), -1), change, half(2000))
    form = shadow(equivariance_form(model, state, action, 4), torch.arange(4))
    kept = lie.hat(form.kept(GL4.flatten(1)), GL4)
    assert float(lie.field(kept, state)[..., :2].mul(state[:, None, :2]).sum(-1).abs().max()) < 0.2


def half(num):
    return torch.arange(num) // 20 % 2
