"""The base task's reward, prepared: its errors in few columns, and doubt beyond its data."""

import math
from dataclasses import replace

import torch
from geometries import linear_model
from systems import randn
from torch.testing import assert_close

from hgm.adaptation.reward import Reward
from hgm.geometry.reward_model import RewardModel
from hgm.numerics.fourier import draw_frequencies
from hgm.numerics.tails import Tails


def rough_model(num_errors=5, offset=0.0):
    """A model of which nothing is zero, symmetric or of size one, but for its random numbers."""
    root = torch.tensor([[0.8, 0.3], [0.3, 0.5]]).double()
    frequencies, phases = draw_frequencies(2, 7, torch.Generator().manual_seed(1))
    weights, spread = randn(10, seed=2), 0.1 * randn(10, num_errors, seed=3)
    weights[-1] += offset / 3
    mean, noise = torch.tensor([2.0, -1.0]).double(), torch.tensor(0.2).double()
    return RewardModel(mean, root, frequencies, phases, weights, spread, noise)


def test_prepared_rewards_are_those_of_the_model():
    model = rough_model()
    reward = Reward(model, torch.float64, 5)
    points = model.mean + randn(2, 700, 2, seed=4).clamp(-1.2, 1.2) @ torch.linalg.inv(model.root)
    value, error, variance, gradient = reward(points)
    expected = model(points)
    assert_close(value, expected.value)
    assert_close(gradient, expected.gradient)
    assert_close(error.square().sum(-1), expected.variance)
    assert_close(variance, reward.noise + expected.variance)
    assert_close(reward.noise, 0.2**2 + (1e-3 * model(reward.base).value.std()).square())
    again = reward(points, slope=False)
    assert len(again) == 3
    assert_close(again, (value, error, variance))


def test_long_tails_are_bent_first():
    tails = Tails(randn(3, 2, seed=5), randn(2, seed=6), torch.tensor([0.5, 3.0]).double())
    model = replace(rough_model(), tails=tails.packed)
    reward = Reward(model, torch.float64, 5)
    points = tails.undone(model.mean + randn(40, 2, seed=4).clamp(-1.2, 1.2) @ model.root.inverse())
    value, error, _, gradient = reward(points)
    expected = model(points)
    assert_close(value, expected.value)
    assert_close(gradient, expected.gradient)
    assert_close(error.square().sum(-1), expected.variance)
    assert reward.base.shape[1] == 3
    assert_close(tails(reward.base), Reward(rough_model(), torch.float64, 5).base)


def test_points_like_those_of_the_fit_have_its_mean_and_covariance():
    model = rough_model()
    base = Reward(model, torch.float64, 5).base
    white = (base - model.mean) @ model.root
    assert white.mean(0).norm() < 0.4
    assert_close(white.mT @ white / len(base), torch.eye(2).double(), atol=0.4, rtol=0)


def test_few_columns_stand_for_many_errors():
    model = rough_model(num_errors=400)
    reward = Reward(model, torch.float64, 200)
    assert reward.num_errors == 200
    _, error, _, _ = reward(model.mean[None])
    assert error.shape == (1, 200)
    exact = model(model.mean[None]).variance
    assert_close(error.square().sum(-1), exact, rtol=3 * math.sqrt(2 / 200), atol=0)


def test_doubt_grows_from_the_edge_of_the_data_wherever_they_lie():
    centre = torch.tensor([10.0, -4.0]).double()
    reward = Reward(replace(linear_model([1.0, 0.0], width=1.0), mean=centre), torch.float64, 2)
    points = torch.stack((centre, centre + 1, centre + 8, -centre))
    _, _, variance, _ = reward(points)
    assert_close(variance[:2], reward.noise.expand(2), rtol=1e-6, atol=0)
    assert variance[2] > 10 * variance[1]
    assert variance[3] > variance[2]


def test_doubt_is_the_span_or_what_is_claimed_for_every_deviation_beyond_the_data():
    centre = torch.tensor([10.0, -4.0]).double()
    model = replace(linear_model([1.0, 0.0], width=1.0), mean=centre)
    reward = Reward(model, torch.float64, 2)
    beyond = torch.tensor([0.0, 0.5, 2.0]).double()
    step = beyond + math.sqrt(2) + 1.6
    for direction in ((0.0, 1.0), (1.0, 0.0)):
        points = centre + step[:, None] * torch.tensor(direction).double()
        value, _, variance, _ = reward(points)
        claimed = (value - model(reward.base).value.mean()).abs()
        doubt = beyond * (model(reward.base).value.std() + claimed)
        assert_close(variance, reward.noise + doubt.square())


def test_a_constant_in_the_reward_changes_no_variance():
    points = 10 * randn(50, 2)
    plain, shifted = (
        Reward(rough_model(offset=offset), torch.float64, 5)(points) for offset in (0.0, 1e3)
    )
    assert_close(shifted[0], plain[0] + 1e3)
    assert_close(shifted[2], plain[2])
