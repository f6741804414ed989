"""Regression by a pooled prior is that of the formulas, and helps where tasks are alike."""

import pytest
import torch
from torch.testing import assert_close

from hgm.numerics.pooled import PooledPosterior, PooledPrior


def data(num_tasks, num, seed=0, noise=0.01):
    """Tasks that differ in one amplitude and one shift only."""
    generator = torch.Generator().manual_seed(seed)

    def randn(*size):
        return torch.randn(*size, generator=generator, dtype=torch.float64)

    inputs = randn(num_tasks, num, 2)
    amplitude, shift = 1 + 0.5 * randn(num_tasks, 1), randn(num_tasks, 1)
    targets = amplitude * torch.sin(2 * inputs[..., 0]) + inputs[..., 1] + shift
    return inputs, targets + noise * randn(num_tasks, num)


def told(prior, inputs, targets):
    posterior = PooledPosterior(prior, len(inputs))
    everywhere = torch.ones(len(inputs), dtype=torch.bool)
    for one, target in zip(inputs.unbind(1), targets.unbind(1), strict=True):
        posterior.observe(one, target, everywhere)
    return posterior


def test_one_by_one_is_the_same_as_all_at_once():
    prior = PooledPrior(*data(5, 200), num_features=16, pooled=True)
    inputs, targets = data(3, 7, seed=1)
    posterior = told(prior, inputs, targets)
    table = prior.table(inputs)
    precision = torch.linalg.inv(prior.covariance)
    spread = torch.linalg.inv(precision + table.mT @ table / prior.noise)
    pull = precision @ prior.mean + (table.mT @ targets[..., None])[..., 0] / (
        prior.scale * prior.noise
    )
    assert_close(posterior.covariance, spread, rtol=1e-5, atol=1e-8)
    mean = (spread @ pull[..., None])[..., 0]
    assert_close(posterior.mean, mean, rtol=1e-5, atol=1e-6)
    where = torch.tensor([2, 0])
    expected = (prior.table(inputs[where]) @ mean[where][..., None])[..., 0] * prior.scale
    assert_close(posterior.values(inputs[where], where), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("value", [0.0, -3.0])
def test_a_task_without_rewards_is_named(value):
    """One noise and one variance are for all: a task of neither would spoil them."""
    inputs, targets = data(4, 50)
    targets[2] = value
    with pytest.raises(ValueError, match="rewards that vary, but those of task 2 are all equal"):
        PooledPrior(inputs, targets, 16, pooled=False)


def test_only_tasks_that_gave_an_observation_learn_and_copies_go_their_own_way():
    prior = PooledPrior(*data(5, 200), num_features=16, pooled=True)
    inputs, targets = data(2, 1, seed=1)
    both = told(prior, inputs, targets)
    one = PooledPosterior(prior, 2)
    one.observe(inputs[:, 0], targets[:, 0], torch.tensor([False, True]))
    assert_close(one.mean, torch.stack((prior.mean, both.mean[1])))
    assert_close(one.covariance, torch.stack((prior.covariance, both.covariance[1])))
    copies = both.repeat(2)
    assert_close(copies.mean, both.mean[[0, 0, 1, 1]])
    four = torch.tensor([True, False, False, True])
    copies.observe(inputs[[0, 0, 1, 1], 0] + 1.0, targets[[0, 0, 1, 1], 0], four)
    changed = (copies.mean != both.mean[[0, 0, 1, 1]]).any(1)
    assert changed.tolist() == four.tolist()


def test_a_pooled_prior_needs_fewer_observations_and_does_not_exclude_the_rest():
    train, test = data(12, 200), data(6, 60, seed=1)
    errors = {}
    for pooled in (True, False):
        prior = PooledPrior(*train, num_features=64, pooled=pooled)
        for num in (4, 40):
            posterior = told(prior, *(part[:, :num] for part in test))
            miss = posterior.values(test[0][:, 40:], torch.arange(6)) - test[1][:, 40:]
            errors[pooled, num] = float(miss.square().mean().sqrt())
    assert errors[True, 4] < 0.15 < 0.5 < errors[False, 4]
    assert errors[True, 40] < 0.05
    strange = 3 * test[1] * test[0][..., 1]  # unlike all training tasks
    posterior = told(PooledPrior(*train, num_features=64, pooled=True), test[0], strange)
    miss = posterior.values(test[0], torch.arange(6)) - strange
    assert miss.square().mean().sqrt() < 0.3 * strange.std()


def test_units_of_the_data_do_not_matter():
    inputs, targets = data(4, 100)
    prior = PooledPrior(inputs, targets, 16, pooled=True)
    other = PooledPrior(1000 * inputs, 0.01 * targets, 16, pooled=True)
    assert other.lengthscale == prior.lengthscale
    new = data(2, 5, seed=1)
    here = told(prior, *new).values(new[0] + 0.5, torch.arange(2))
    there = told(other, 1000 * new[0], 0.01 * new[1])
    assert_close(
        100 * there.values(1000 * (new[0] + 0.5), torch.arange(2)), here, rtol=1e-4, atol=1e-4
    )
