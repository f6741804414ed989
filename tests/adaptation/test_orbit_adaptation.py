"""Which orbit a new task is on, where on it, or that it is on none."""

import pytest
import torch
from torch.testing import assert_close

from hgm import lie
from hgm.adaptation import OnlineAdaptation, OrbitAdaptation
from hgm.adaptation.orbits import chi_squared_tail
from hgm.geometry import Geometry, Orbit, RewardModel
from hgm.numerics.fourier import draw_frequencies, features, fit, moments, whitening

PLANE = lie.so_generators(2).double()
RADII = (1.0, 2.0)


def randn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def well(points, goal):
    return torch.exp(-(points - goal).square().sum(-1) / 2)


def model(radius, noise=0.02):
    """Of a well at a distance from the origin."""
    points = 1.2 * randn(1500, 2)
    white = whitening(points)
    omega, phases = draw_frequencies(2, 200, torch.Generator().manual_seed(0))
    target = well(points, torch.tensor([radius, 0.0]).double())[:, None]
    found = fit(moments(features(white(points), omega, phases), target))
    spread, noise = found.root[:, :8], torch.tensor(noise).double()
    return RewardModel(white.mean, white.root, omega, phases, found.weights[:, 0], spread, noise)


MODELS = [model(radius) for radius in RADII]


def two_circles(models=MODELS):
    orbits = (Orbit([0, 2], models[0]), Orbit([1, 3], models[1]))
    coords = torch.tensor([[0.0], [0.0], [1.0], [-2.0]]).double()
    return Geometry(PLANE, PLANE, coords, 2, "found", "so(2)", orbits=orbits)


def met(radii, num, seed=0, noise=0.02, num_tasks=100):
    """Points and rewards of tasks at random angles, ``(T, K, 2)``, and the angles."""
    angles = 3.14 * (2 * torch.rand(num_tasks, generator=torch.Generator().manual_seed(seed)) - 1)
    angles, radii = angles.double(), torch.tensor(radii).double().repeat(num_tasks)[:num_tasks]
    goals = radii[:, None] * torch.stack((angles.cos(), angles.sin()), -1)
    points = randn(num_tasks, num, 2, seed=seed + 1)
    rewards = well(points, goals[:, None]) + noise * randn(num_tasks, num, seed=seed + 2)
    return points, rewards, angles


def adapted(points, rewards, geometry=None):
    online = OrbitAdaptation(two_circles() if geometry is None else geometry, len(points))
    online.observe(points, rewards)
    return online


def test_orbit_and_element_are_inferred():
    points, rewards, angles = met(RADII, 20)
    online = adapted(points, rewards)
    orbit, weights, outside = online.places
    assert torch.equal(orbit, torch.arange(100) % 2)
    assert not outside.any()
    assert_close(weights.sum(-1), torch.ones(100).double())
    assert (weights.gather(1, orbit[:, None]) > 0.5).all()
    error = online.coords(orbit)[:, 0] - angles
    assert torch.atan2(error.sin(), error.cos()).abs().max() < 0.1


def test_before_the_first_observation_nothing_is_known():
    places = OrbitAdaptation(two_circles(), 3).places
    assert_close(places.weights, torch.full((3, 2), 0.5).double(), atol=0.02, rtol=0)
    assert not places.outside.any()


@pytest.mark.parametrize("radius", [0.2, 1.5, 3.0])
def test_tasks_beside_the_orbits_are_outside(radius):
    points, rewards, _ = met([radius], 25)
    assert adapted(points, rewards).places.outside.double().mean() > 0.9


@pytest.mark.parametrize("num", [3, 5, 10, 50])
def test_tasks_of_an_orbit_are_hardly_ever_said_to_be_outside(num):
    points, rewards, _ = met(RADII, num, seed=7, num_tasks=200)
    assert int(adapted(points, rewards).places.outside.sum()) <= 1


def test_one_observation_never_says_that_a_task_is_outside():
    points, rewards, _ = met([3.0], 1)
    assert not adapted(points, rewards + 5.0).places.outside.any()


def test_one_orbit_is_adapted_to_as_ever():
    whole = two_circles().orbit(0)
    points, rewards, _ = met([1.0], 12)
    alone = OnlineAdaptation(whole, len(points))
    alone.observe(points, rewards)
    online = adapted(points, rewards, whole)
    assert torch.equal(online.coords(online.places.orbit), alone.posterior.coords)


def test_an_orbit_without_a_reward_model_is_not_inferred():
    points, rewards, _ = met(RADII, 20)
    orbit, weights, outside = adapted(points, rewards, two_circles([None, MODELS[1]])).places
    assert (orbit == 1).all()
    assert (weights[:, 0] == 0).all()
    assert outside[::2].double().mean() > 0.9
    assert not outside[1::2].any()


def test_tails_of_the_chi_squared_distribution():
    value, num = torch.tensor([0.0, 3.841, 18.307, 5.0]).double(), torch.tensor([3, 1, 10, 0])
    expected = torch.tensor([1.0, 0.05, 0.05, 0.0]).double()
    assert_close(chi_squared_tail(value, num), expected, atol=1e-4, rtol=0)


def test_what_is_hopeless_is_left_alone_and_what_is_outside_too():
    points, rewards, _ = met([1.0, 2.0, 6.0], 40, num_tasks=12)
    online = OrbitAdaptation(two_circles(), 12)
    for part in range(4):
        some = slice(10 * part, 10 * part + 10)
        online.observe(points[:, some], rewards[:, some])
        places = online.places
    parts = online._online
    seen = torch.stack([one._seen.num_seen for one in parts], 1)
    assert (seen[torch.arange(12), places.orbit][~places.outside] == 40).all()
    assert (seen[0::3, 1] < 40).all()
    assert (seen[1::3, 0] < 40).all()
    assert torch.equal(places.orbit[0::3], torch.zeros(4, dtype=torch.int64))
    assert torch.equal(places.orbit[1::3], torch.ones(4, dtype=torch.int64))


def test_masked_observations_do_not_count():
    points, rewards, _ = met([3.0], 25, num_tasks=4)
    online = OrbitAdaptation(two_circles(), 4)
    mask = torch.zeros(4, 25, dtype=torch.bool)
    mask[:2] = True
    online.observe(points, rewards, mask)
    assert online.places.outside[2:].tolist() == [False, False]


def test_one_adaptation_is_to_one_orbit():
    with pytest.raises(ValueError, match="one orbit, but its tasks are on 2"):
        OnlineAdaptation(two_circles(), 3)
