"""The base task's reward as adaptation reads it."""

from dataclasses import replace

import torch
from torch.testing import assert_close

from hgm.geometry.reward_model import RewardModel
from hgm.numerics.tails import Tails


def randn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def model(dim=2, num=12):
    root = torch.eye(dim).double() + 0.2 * randn(dim, dim, seed=1)
    return RewardModel(
        mean=randn(dim, seed=2),
        root=root @ root.mT,
        frequencies=randn(num, dim, seed=3),
        phases=randn(num, seed=4),
        weights=randn(num + dim + 1, seed=5),
        spread=0.1 * randn(num + dim + 1, 7, seed=6),
        noise=torch.tensor(0.3).double(),
    )


def test_shapes_and_gradient():
    points = randn(3, 4, 2, seed=7).requires_grad_()
    value, gradient, variance = model()(points)
    assert value.shape == variance.shape == (3, 4)
    assert_close(gradient, torch.autograd.grad(value.sum(), points)[0])
    assert (variance > 0).all()


def test_variance_is_that_of_values_under_random_weights():
    reward, points = model(), randn(5, 2, seed=8)
    values = torch.stack(
        [
            RewardModel(**{**vars(reward), "weights": reward.weights + column})(points).value
            for column in reward.spread.mT
        ]
    )
    assert_close((values - reward(points).value).square().sum(0), reward(points).variance)


def test_scaled_is_the_model_of_the_scaled_reward():
    reward, points = model(), randn(5, 2, seed=9)
    there = reward.scaled(3.0)
    assert_close(there(points).value, 3 * reward(points).value)
    assert_close(there(points).gradient, 3 * reward(points).gradient)
    assert_close(there(points).variance, 9 * reward(points).variance)
    assert_close(there.noise, 3 * reward.noise)


def test_single_precision_points_are_read_in_the_models_precision():
    points = randn(5, 2, seed=9)
    assert model()(points.float()).value.dtype == torch.float64


def test_a_model_of_some_coordinates_is_read_at_whole_states():
    of_two, shift = model(), randn(4, seed=10)
    into = torch.zeros(4, 2).double()
    into[[3, 1], [0, 1]] = torch.tensor([0.5, 7.0]).double()
    whole, states = of_two.seen_through(shift, into), randn(6, 4, seed=11).requires_grad_()
    found, expected = whole(states), of_two((states - shift) @ into)
    assert_close(found.value, expected.value)
    assert_close(found.variance, expected.variance)
    assert_close(found.gradient, expected.gradient @ into.mT)
    assert_close(found.gradient, torch.autograd.grad(found.value.sum(), states)[0])
    assert (found.gradient[:, [0, 2]] == 0).all()  # of which it sees nothing


def with_tails():
    tails = Tails(randn(3, 2, seed=12), randn(2, seed=13), torch.tensor([0.4, 2.0]).double())
    return replace(model(), tails=tails.packed), tails


def test_long_tails_are_bent_first():
    (found, tails), points = with_tails(), randn(3, 4, 3, seed=7).requires_grad_()
    value, gradient, variance = found(points)
    assert_close(value, model()(tails(points)).value)
    assert_close(variance, model()(tails(points)).variance)
    assert_close(gradient, torch.autograd.grad(value.sum(), points)[0])
    other = replace(found, misfit=randn(15, seed=14))
    assert_close(
        other.scatter(points), replace(model(), misfit=other.misfit).scatter(tails(points))
    )


def test_long_tails_are_bent_at_whole_states_too():
    (found, _), points = with_tails(), randn(6, 5, seed=15)
    shift, into = randn(5, seed=16), randn(5, 3, seed=17)
    assert_close(
        found.seen_through(shift, into)(points).value, found((points - shift) @ into).value
    )
