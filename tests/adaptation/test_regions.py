"""Regions of posteriors hold what they say, and samples are drawn from the same."""

import math

import pytest
import torch
from geometries import NOISE, circle, linear_model, sphere_tasks, transitions, translations, uniform
from torch.testing import assert_close

from hgm.adaptation import Posterior, adapt


@pytest.mark.parametrize("level", [0.6, 0.9])
@pytest.mark.parametrize("dim", [1, 2])
def test_regions_are_where_the_density_is_highest(dim, level):
    directions = [(1.0, 0.0), (0.0, 1.0)][:dim]
    geometry = translations(*directions, model=linear_model([1.0, 0.3]), far=5.0)
    spread = torch.tensor([0.5, 0.1]).double()
    modes, weights = torch.zeros(2, dim).double(), torch.tensor([0.7, 0.3]).double()
    modes[1, 0] = 3.0
    steps = torch.linspace(-3, 4, 141 if dim == 2 else 5601).double()
    grid = torch.cartesian_prod(*dim * [steps]).view(-1, dim)
    square = ((grid[:, None] - modes) / spread[:, None]).square().sum(-1)
    density = (weights / spread**dim * torch.exp(-square / 2)).sum(-1)
    order = density.argsort(descending=True)
    mass = density[order].cumsum(0) / density.sum()
    least = density[order[(mass < level).sum()]]
    num = len(grid)
    posterior = Posterior(
        geometry,
        modes.expand(num, 2, dim),
        torch.diag_embed(spread.square()[:, None].expand(2, dim)).expand(num, 2, dim, dim),
        weights.expand(num, 2),
        torch.ones(num, 2).double(),
        torch.zeros(dim, 0).double(),
    )
    inside = posterior.contains(grid, level)
    clear = (density / least).log().abs() > 0.2
    assert torch.equal(inside[clear], (density > least)[clear])
    assert 0 < inside.sum() < num


def test_regions_wrap_around():
    none = torch.zeros(1, 0).double()
    modes, covariances = torch.tensor([[[3.1]]]).double(), torch.tensor([[[[0.01]]]]).double()
    ones = torch.ones(1, 1).double()
    posterior = Posterior(circle(), modes, covariances, ones, torch.ones(1, 2).double(), none)
    for inside in (3.1, -3.1, 2.95, -3.0, 3.1 + 2 * math.pi):
        assert posterior.contains(torch.tensor([[inside]]).double()).all()
    for outside in (2.8, -2.9, 0.0, 3.1 - math.pi):
        assert not posterior.contains(torch.tensor([[outside]]).double()).any()


@pytest.mark.parametrize("level", [0.5, 0.95])
def test_regions_of_gaussian_tasks_cover(level):
    geometry = translations((1.0, 0.0), model=linear_model([1.0, 0.3]))
    truth = 2 * uniform(2000, 1) - 1
    points, rewards = transitions(geometry, truth, 10, NOISE)
    posterior = adapt(geometry, points, rewards)
    share = float(posterior.contains(truth, level).double().mean())
    assert abs(share - level) < 0.03
    efficiency = (posterior.coords - truth).square().mean() / (NOISE**2 / 10)
    assert efficiency < 1.15


def test_samples_are_in_the_region_as_often_as_it_says():
    generator = torch.Generator().manual_seed(0)
    modes = torch.tensor([[3.0], [1.0]]).double().expand(4000, 2, 1)
    covariances = torch.tensor([0.2, 0.01]).double()[:, None, None].expand(4000, 2, 1, 1)
    weights = torch.tensor([0.7, 0.3]).double().expand(4000, 2)
    calibration, none = torch.ones(4000, 2).double(), torch.zeros(1, 0).double()
    flat = Posterior(circle(), modes, covariances, weights, calibration, none)
    geometry, _, truth = sphere_tasks(1)
    curved = adapt(geometry, *transitions(geometry, truth, 5))
    many = (
        field.expand(4000, *field.shape[1:])
        for field in (curved.modes, curved.mode_covariances, curved.weights, curved.calibration)
    )
    for posterior in (flat, Posterior(geometry, *many, curved.symmetries)):
        draws = posterior.sample(generator)
        for level in (0.5, 0.95):
            share = float(posterior.contains(draws, level).double().mean())
            # Coordinates are periodic: what is beyond half a turn comes back inside.
            assert level - 0.02 < share < level + 0.04
        again = posterior.sample(torch.Generator().manual_seed(1))
        assert_close(again, posterior.sample(torch.Generator().manual_seed(1)))


def test_regions_check_their_arguments():
    posterior = adapt(circle(), torch.zeros(2, 3, 2), torch.zeros(2, 3))
    with pytest.raises(ValueError, match=r"`coords` of shape \(2, 1\)"):
        posterior.contains(torch.zeros(2, 2))
    for level in (0.0, 1.0, math.nan):
        with pytest.raises(ValueError, match="`level`"):
            posterior.contains(torch.zeros(2, 1), level)
