"""Regression on Fourier features: its jets, its evidence, its sums over batches and processes."""

import math
import threading

import pytest
import torch
from torch.testing import assert_close

from hgm.numerics.fourier import (
    LENGTHSCALES,
    FourierRegression,
    Moments,
    draw_frequencies,
    features,
    fit,
    fit_with,
    moments,
    slope,
    whitening,
)
from hgm.numerics.ranks import ALONE, Ranks


def randn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def in_ranks(num, function):
    """Results of ``function(rank, ranks)`` of threads that add up as processes would."""
    barrier, slots, results = threading.Barrier(num, timeout=60), [None] * num, [None] * num

    def work(rank):
        def total(value):
            slots[rank] = value
            barrier.wait()
            result = torch.stack(list(slots)).sum(0)
            barrier.wait()
            return result

        try:
            results[rank] = function(rank, Ranks(sum=total))
        except BaseException:
            barrier.abort()
            raise

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(num)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert None not in results, "a rank failed"
    return results


def target(points, task):
    """Smooth, neither even nor odd, different in every task."""
    return 3.0 * torch.sin(points[..., 0] + task) * torch.cosh(0.4 * points[..., 1]) + 5.0 * task


def fitted(num=600, dim=2, noise=0.0, **kwargs):
    points = randn(2, num, dim) @ (torch.eye(dim).double() + 0.3 * randn(dim, dim, seed=3)) + 1.0
    values = torch.stack([target(points[task], task) for task in range(2)])
    values = values + noise * randn(2, num, seed=4)
    model = FourierRegression(2, dim, 1, 128, **kwargs)
    model.accumulate(points, values[..., None])
    model.solve()
    return model, points, values


# Whitening.


def test_whitening_leaves_mean_zero_and_covariance_one():
    shear = torch.tensor([[9.0, 2, 0], [0, 0.1, 4], [0, 0, 0.3]]).double()
    points = randn(3, 500, 3) @ shear + 50
    white = whitening(points)(points).flatten(0, 1)
    assert_close(white.mean(0), torch.zeros(3).double(), atol=1e-8, rtol=0)
    assert_close(white.mT @ white / len(white), torch.eye(3).double(), atol=1e-6, rtol=0)


def test_whitening_is_a_symmetric_positive_root():
    root = whitening(randn(1, 200, 3) * torch.tensor([1.0, 7.0, 0.2])).root
    assert_close(root, root.mT)
    assert (torch.linalg.eigvalsh(root) > 0).all()


def test_whitening_leaves_alone_what_never_varies():
    points = torch.cat((5 * randn(1, 300, 1), torch.full((1, 300, 1), 2.0).double()), -1)
    white = whitening(points)(points)
    assert_close(white[..., 1], torch.zeros(1, 300).double(), atol=1e-10, rtol=0)
    assert_close(whitening(points).root[1, 1], torch.tensor(1.0).double())


# Features.


@pytest.mark.parametrize("batch", [(), (1,), (3, 2)])
def test_slope_is_the_derivative_of_the_features(batch):
    omega, phases = draw_frequencies(2, 16, torch.Generator().manual_seed(0))
    points, weights = randn(*batch, 7, 2), randn(19, seed=1)
    points.requires_grad_()
    value = (features(points, omega, phases) @ weights).sum()
    (exact,) = torch.autograd.grad(value, points)
    assert_close(slope(points, omega, phases, weights), exact)


def test_features_approximate_the_squared_exponential_kernel():
    omega, phases = draw_frequencies(2, 40000, torch.Generator().manual_seed(0))
    points = randn(6, 2)
    waves = features(points, omega, phases)[:, :-3]
    exact = torch.exp(-torch.cdist(points, points).square() / 2)
    assert_close(waves @ waves.mT, exact, atol=0.03, rtol=0)


# Evidence.


@pytest.mark.parametrize("sigma", [0.003, 0.05, 1.0])
def test_fit_recovers_the_noise(sigma):
    model, _, _ = fitted(3000, noise=sigma)
    assert_close(model.noise, torch.full((2, 1), sigma).double(), rtol=0.06, atol=0)


def test_fit_without_noise_predicts_exactly_where_the_data_are():
    model, points, values = fitted(1500)
    assert (model.noise < 1e-3).all()
    inside = whitening(points)(points).norm(dim=-1) < 1.5
    error = (model.predict(points)[0][..., 0] - values)[inside]
    assert error.abs().max() < 2e-3 * values.std()


def test_squares_count_by_their_weights():
    """Rows of weight 2 are rows that are there twice, and rows of weight 0 are not there."""
    inputs, targets = randn(1, 400, 2), randn(1, 400, 1, seed=1)
    weights = torch.tensor([0.0, 1.0, 2.0, 1.0]).double().repeat(100)[None]
    one, two = (FourierRegression(1, 2, 1, 16, (1.8,)) for _ in range(2))
    one.accumulate(inputs, targets, weights=weights)
    two.accumulate(inputs, targets, weights=torch.ones_like(weights))
    two.statistics = None
    repeated = torch.arange(400).repeat_interleave(weights[0].long())
    two.accumulate(inputs[:, repeated], targets[:, repeated])
    one.solve()
    two.solve()
    assert_close(one.values(inputs), two.values(inputs), atol=1e-9, rtol=0)


def test_posterior_is_the_ridge_solution_and_its_covariance():
    table, noise = randn(200, 9), 0.1 * randn(200, 2, seed=2)
    targets = table @ randn(9, 2, seed=1) + noise
    found = fit(moments(table, targets))
    normal = table.mT @ table + found.ridge * torch.eye(9)
    assert_close(found.weights, torch.linalg.solve(normal, table.mT @ targets))
    covariance = found.noise * torch.linalg.inv(normal)
    assert_close(found.root @ found.root.mT, covariance)


def test_ridge_has_the_largest_evidence_by_the_marginal_likelihood():
    table = randn(60, 5)
    targets = table @ randn(5, 1, seed=1) + 2.0 * randn(60, 1, seed=2)
    found = fit(moments(table, targets))
    top = torch.linalg.eigvalsh(table.mT @ table)[-1]

    def log_likelihood(ridge):  # of y ~ N(0, s2 (I + table table^T / ridge)), s2 profiled out
        kernel = torch.eye(60) + table @ table.mT / ridge
        square = (targets.mT @ torch.linalg.solve(kernel, targets)).squeeze()
        return -0.5 * (60 * torch.log(square / 60) + torch.logdet(kernel))

    grid = torch.logspace(-12, -1, 45, dtype=torch.float64) * top
    best = max(grid, key=log_likelihood)
    assert_close(found.ridge, best)
    assert_close(found.cost, -2 * log_likelihood(best))


def test_constant_targets_are_fitted_not_divided_by_zero():
    model = FourierRegression(1, 2, 1, 32)
    points = randn(1, 100, 2)
    model.accumulate(points, torch.full((1, 100, 1), 7.0).double())
    model.solve()
    jet = model.jet(points, torch.tensor([0]))
    assert_close(jet.value, torch.full((1, 100), 7.0).double(), atol=1e-8, rtol=0)
    assert_close(jet.gradient, torch.zeros(1, 100, 2).double(), atol=1e-8, rtol=0)


# Jets.


@pytest.mark.parametrize("dim", [2, 3])
def test_jet_agrees_with_finite_differences(dim):
    model, points, _ = fitted(300, dim)
    at, order, step = points[:, :20].flip(0), torch.tensor([1, 0]), 1e-5
    jet = model.jet(at, order)
    for axis, move in enumerate(step * torch.eye(dim).double()):
        up, down = model.jet(at + move, order), model.jet(at - move, order)
        scale = jet.gradient.abs().max()
        gradient = (up.value - down.value) / (2 * step)
        assert_close(jet.gradient[..., axis], gradient, atol=1e-7 * float(scale), rtol=1e-6)
        hessian = (up.gradient - down.gradient) / (2 * step)
        scale = jet.hessian.abs().max()
        assert_close(jet.hessian[..., axis], hessian, atol=1e-7 * float(scale), rtol=1e-6)


def test_jet_answers_for_the_model_asked_and_agrees_with_predict():
    model, points, _ = fitted()
    value, slopes = model.predict(points)
    jet = model.jet(points[[1, 0, 1]], torch.tensor([1, 0, 1]))
    assert_close(jet.value, value[[1, 0, 1], ..., 0])
    assert_close(jet.gradient, slopes[[1, 0, 1], :, 0])


def test_predict_has_the_jacobian_of_several_outputs():
    inputs = randn(1, 200, 3)
    model = FourierRegression(1, 3, 2, 32)
    model.accumulate(inputs, torch.stack((inputs[..., 0].sin(), inputs[..., 1] ** 2), -1))
    model.solve()
    exact = torch.func.vmap(torch.func.jacrev(lambda x: model.predict(x[None, None])[0][0, 0]))(
        inputs[0, :9]
    )
    assert_close(model.predict(inputs[:, :9])[1][0], exact)


def test_a_block_of_infinite_length_scale_enters_linearly():
    inputs = randn(1, 300, 3)
    targets = (inputs[..., 1:2] * 2).sin() + 0.5 * inputs[..., :1]
    scales = [(math.inf, 1.0), (1.0, 1.0)]
    model = FourierRegression(1, 3, 1, 64, scales, blocks=(1, 2))
    model.accumulate(inputs, targets)
    model.solve()
    slope = model.predict(inputs)[1][0, :, 0, 0]
    assert_close(slope, torch.full_like(slope, 0.5), atol=0.02, rtol=0)


def test_jet_recovers_the_derivatives_of_the_target():
    model, points, _ = fitted(3000)
    inside = whitening(points)(points)[0].norm(dim=-1) < 1.0
    jet, (x, y) = model.jet(points[:1], torch.tensor([0])), points[0].unbind(-1)
    exact = 3 * torch.stack((x.cos() * (0.4 * y).cosh(), 0.4 * x.sin() * (0.4 * y).sinh()), -1)
    assert (jet.gradient[0] - exact)[inside].norm(dim=-1).max() < 0.01
    curvature = -3 * x.sin() * (0.4 * y).cosh()
    assert (jet.hessian[0, :, 0, 0] - curvature)[inside].abs().max() < 0.1


def test_variances_are_those_of_the_posterior_and_grow_where_the_data_end():
    model, points, _ = fitted(200, noise=0.3)
    at, first = torch.cat((points[:1, :30], 1e2 + points[:1, :1]), 1), torch.tensor([0])
    jet, white = model.jet(at, first), model.whitening(at)
    table = features(white, model.chosen[0], model.phases)
    exact = (table @ model.fitted.root[0]).square().sum(-1) * model.scale[0] ** 2
    # 32 samples tell a variance to 25%; 3 standard deviations of that.
    assert_close(jet.value_variance, exact, rtol=0.75, atol=0)
    assert jet.value_variance[0, -1] > 100 * jet.value_variance[0, :-1].median()
    assert jet.gradient_variance[0, -1] > 3 * jet.gradient_variance[0, :-1].median()


# Sums.


def test_statistics_of_two_halves_are_those_of_the_whole():
    points, models = randn(2, 80, 2), []
    values = torch.stack((target(points[0], 0), target(points[1], 1)))[..., None]
    for pieces in ((slice(0, 30), slice(30, 80)), (slice(0, 80),)):
        model = FourierRegression(2, 2, 1, 32)
        model.accumulate(points[:, :30], values[:, :30])  # sets the same scales in both
        model.statistics = None
        for piece in pieces:
            model.accumulate(points[:, piece], values[:, piece])
        models.append(model)
    for half, whole in zip(models[0].statistics, models[1].statistics, strict=True):
        assert_close(half, whole)
    assert_close(models[0].statistics.total, torch.full((len(LENGTHSCALES), 2), 80.0).double())
    for model in models:
        model.solve()
    assert_close(models[0].noise, models[1].noise)
    assert_close(models[0].predict(points)[0], models[1].predict(points)[0])


def test_two_ranks_fit_the_model_of_the_whole():
    points = randn(2, 90, 2)
    values = torch.stack((target(points[0], 0), target(points[1], 1)))[..., None]
    values = values + 0.1 * randn(2, 90, 1, seed=9)

    def work(rank, ranks):
        share = slice(0, 40) if rank == 0 else slice(40, 90)
        model = FourierRegression(2, 2, 1, 32)
        model.accumulate(points[:, share], values[:, share], ranks)
        model.solve(ranks)
        return model

    def whole():
        model = FourierRegression(2, 2, 1, 32)
        model.accumulate(points, values, ALONE)
        model.solve(ALONE)
        return model

    # Rounding of the sums, times the condition of the Gram matrix.
    order, expected = torch.tensor([0, 1]), whole()
    jet = expected.jet(points, order)
    for model in in_ranks(2, work):
        for field, exact in zip(model.jet(points, order)[:3], jet[:3], strict=True):
            assert_close(field, exact, rtol=0, atol=1e-6 * float(exact.abs().max()))
        roots = model.fitted.root, expected.fitted.root
        covariance, exact = (root @ root.mT for root in roots)
        assert_close(covariance, exact, rtol=0, atol=1e-5 * float(exact.abs().max()))


def test_whitening_of_two_ranks_is_that_of_the_whole():
    points = randn(1, 100, 3)
    whole = whitening(points)
    shares = points[:, :40], points[:, 40:]
    for part in in_ranks(2, lambda rank, ranks: whitening(shares[rank], ranks)):
        assert_close(part.mean, whole.mean)
        assert_close(part.root, whole.root)


def test_moments_are_the_sums_they_are_called():
    table, values = randn(3, 11, 4), randn(3, 11, 2, seed=1)
    got = moments(table, values)
    assert isinstance(got, Moments)
    assert_close(got.gram, torch.einsum("nbi,nbj->nij", table, table))
    assert_close(got.cross, torch.einsum("nbi,nbq->niq", table, values))
    assert_close(got.square, values.square().sum((1, 2)))
    assert_close(got.total, torch.full((3,), 11.0).double())


def test_variance_is_that_of_the_jet_and_sums_over_outputs():
    model, points, _ = fitted(200, noise=0.3)
    assert_close(model.variance(points), model.jet(points, torch.tensor([0, 1])).value_variance)
    values = randn(1, 200, 1, seed=5)
    two = FourierRegression(1, 2, 2, 32)
    two.accumulate(points[:1], torch.cat((values, 10 * values), -1))
    two.solve()
    one = FourierRegression(1, 2, 2, 32)
    one.accumulate(points[:1], torch.cat((values, values), -1))
    one.solve()
    # Of the second output, deviations are ten times as large.
    assert_close(two.variance(points[:1]), (1 + 100) / 2 * one.variance(points[:1]))


def test_a_known_ridge_gives_what_the_likeliest_one_did():
    table, targets = randn(60, 8, seed=1), randn(60, 2, seed=2)
    statistics = moments(table, targets)
    best = fit(statistics)
    weights, noise = fit_with(statistics, best.ridge)
    torch.testing.assert_close(weights, best.weights, atol=1e-10, rtol=0)
    torch.testing.assert_close(noise, best.noise, atol=1e-12, rtol=0)


def test_values_of_sums_are_values():
    inputs, targets = randn(3, 300, 4, seed=1), randn(3, 300, 2, seed=2)
    model = FourierRegression(3, 4, 2, 16, (1.0, math.inf))
    model.accumulate(inputs, targets)
    model.solve()
    some, shifts = inputs[:, :5], randn(3, 7, 4, seed=3)
    every = (some[:, :, None] + shifts[:, None]).flatten(1, 2)
    found = model.values_of_sums(some, shifts)
    assert_close(found, model.values(every).unflatten(1, (5, 7)), atol=1e-10, rtol=0)
