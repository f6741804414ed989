"""The chain as a whole: variances, crossed features, classes, and what no datum tells."""

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from hgm.effects.diagnostics import effective_size
from hgm.effects.expectation import likelihood
from hgm.effects.sweep import State, Table, anchored, centred, draw_effects, predictor, start, sweep


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=1):
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def crossed(num, nums, sigma, seed=0):
    """Fixed part, clusters, and effects of two features."""
    fixed = normal(num, seed=seed)
    clusters = torch.stack(
        [torch.randint(q, (num,), generator=generator(seed + i)) for i, q in enumerate(nums)], 1
    )
    effects = [
        s * normal(q, seed=seed + 7 + i) for i, (q, s) in enumerate(zip(nums, sigma, strict=True))
    ]
    eta = fixed + sum(b[clusters[:, i]] for i, b in enumerate(effects))
    return fixed, clusters, eta, effects


def run(table, targets, nums, num, burn=30, classes=1, dim=1, **options):
    state, seen = start(nums, dim, classes), []
    for step in range(num + burn):
        state = anchored(state) if step <= burn else state
        state = sweep(table, targets, state, generator(1000 + step), **options)
        if step >= burn:
            seen.append(state)
    return seen


def test_crossed_gaussian_effects_have_mean_and_covariance_of_the_closed_form():
    """With the deviations fixed: the joint normal posterior of all effects, and the shift."""
    nums, noise, sigma = (4, 3), 0.5, (1.0, 0.6)
    fixed, clusters, eta, _ = crossed(60, nums, sigma)
    target = eta + noise * normal(60, seed=30)
    table = Table(fixed[:, None], target, clusters)
    design = torch.cat(
        [torch.nn.functional.one_hot(clusters[:, i], q).double() for i, q in enumerate(nums)], 1
    )
    pairs = zip(nums, sigma, strict=True)
    prior = torch.cat([torch.full((q,), s**-2.0).double() for q, s in pairs])
    full = torch.cat((design, torch.ones(60, 1).double()), 1)
    precision = full.mT @ full / noise**2 + torch.diag(torch.cat((prior, torch.tensor([1e-6]))))
    covariance = torch.linalg.inv(precision)
    mean = covariance @ full.mT @ (target - fixed) / noise**2
    state = start(nums, 1, 1)
    pinned = {f"sigma_{i}": torch.full((1, 1), s).double() for i, s in enumerate(sigma)}
    state = State.of(state.tensors() | pinned | {"noise": torch.tensor(noise).double()})
    drawn = []
    for step in range(3000):
        state = draw_effects(table, "gaussian", state, generator(step))
        drawn.append(torch.cat([*(one.flatten() for one in state.effects), state.shift]))
    drawn = torch.stack(drawn[100:])
    spread = covariance.diagonal().sqrt()
    size = effective_size(drawn[None])
    assert size.min() > 500
    assert ((drawn.mean(0) - mean).abs() < 5 * spread / size.sqrt()).all()
    # Correlations within two tenths: with 500 draws their errors are below a twentieth.
    error = (torch.cov(drawn.mT) - covariance) / (spread[:, None] * spread)
    assert error.abs().max() < 0.2


@pytest.mark.parametrize("targets", ["gaussian", "bernoulli"])
def test_deviations_of_crossed_features_are_found(targets):
    nums, sigma = (200, 150), (1.5, 0.7)
    fixed, clusters, eta, effects = crossed(12000, nums, sigma)
    if targets == "gaussian":
        target = eta + 0.8 * normal(12000, seed=9)
    else:
        target = (torch.rand(12000, generator=generator(9)).double() < eta.sigmoid()).double()
    seen = run(Table(fixed[:, None], target, clusters), targets, nums, 80)
    for level in range(2):
        drawn = torch.stack([state.sigma[level][0, 0] for state in seen])
        assert abs(drawn.mean() - effects[level].std()) < 4 * drawn.std() + 0.02
        assert drawn.std() < 0.15
    if targets == "gaussian":
        assert abs(torch.stack([state.noise for state in seen]).mean() - 0.8) < 0.02
    scale = torch.stack([state.scale[0] for state in seen])
    assert abs(scale.mean() - 1) < 4 * scale.std()


def test_deviations_of_classes_are_found():
    num, q, classes = 9000, 150, 3
    sigma = torch.tensor([0.3, 1.0, 2.0]).double()
    fixed, index = normal(num, classes), torch.randint(q, (num,), generator=generator(2))
    effects = sigma * normal(q, classes, seed=3)
    eta = fixed + effects[index]
    target = torch.multinomial(eta.softmax(-1), 1, generator=generator(4))[:, 0].double()
    seen = run(Table(fixed, target, index[:, None]), "categorical", (q,), 100, classes=classes)
    drawn = torch.stack([state.sigma[0][0] for state in seen])
    # Only differences are seen: what is known well is how large they are.
    found = (drawn[:, 1] ** 2 + drawn[:, 2] ** 2).mean()
    exact = (effects[:, 1] - effects[:, 2]).var()
    assert abs(found / exact - 1) < 0.2
    assert drawn[:, 0].mean() < 0.75 < drawn[:, 1].mean() < 1.4 < drawn[:, 2].mean() < 2.6


def test_deviations_of_slopes_are_found():
    num, q = 8000, 200
    design = torch.stack((torch.ones(num).double(), normal(num, seed=5)), 1)
    index = torch.randint(q, (num,), generator=generator(2))
    effects = torch.tensor([0.5, 1.5]).double() * normal(q, 2, seed=3)
    fixed = normal(num)
    target = fixed + (design * effects[index]).sum(-1) + normal(num, seed=8)
    table = Table(fixed[:, None], target, index[:, None], design)
    seen = run(table, "gaussian", (q,), 80, dim=2)
    drawn = torch.stack([state.sigma[0][:, 0] for state in seen])
    assert_close(drawn.mean(0), effects.std(0), rtol=0.1, atol=0)


def test_the_scale_of_the_network_is_found_and_can_be_left():
    nums = (100,)
    fixed, clusters, eta, _ = crossed(8000, nums, (1.0,))
    target = (torch.rand(8000, generator=generator(9)).double() < eta.sigmoid()).double()
    small = Table(fixed[:, None] / 2, target, clusters)
    scale = torch.stack([state.scale[0] for state in run(small, "bernoulli", nums, 40)])
    assert abs(scale.mean() - 2) < 4 * scale.std() < 0.3
    for state in run(small, "bernoulli", nums, 3, rescales=False):
        assert abs(state.scale[0] - 1) < 1e-4


@pytest.mark.parametrize(("targets", "classes"), [("bernoulli", 1), ("categorical", 3)])
def test_a_sweep_changes_nothing_that_it_is_given_and_repeats(targets, classes):
    table = Table(normal(50, classes), (normal(50) > 0).double(), torch.arange(50)[:, None] % 5)
    before = start((5,), 1, classes)
    kept = {name: value.clone() for name, value in before.tensors().items()}
    one, two = (sweep(table, targets, before, generator(3)) for _ in range(2))
    assert_close(before.tensors(), kept, atol=0, rtol=0)
    assert_close(one.tensors(), two.tensors(), atol=0, rtol=0)
    assert not torch.equal(one.effects[0], before.effects[0])


def test_a_cluster_that_was_never_seen_adds_nothing():
    table = Table(normal(4, 1), torch.zeros(4).double(), torch.tensor([[0], [-1], [1], [-1]]))
    state = start((2,), 1, 1)
    state = State.of(state.tensors() | {"effects_0": torch.full((2, 1, 1), 3.0).double()})
    added = (predictor(table, state) - table.fixed)[:, 0]
    assert added.tolist() == pytest.approx([3, 0, 3, 0])


def test_the_last_step_of_a_sweep_leaves_the_predictor_consistent():
    """Effects drawn with others' offsets: a wrong running predictor would bias the noise."""
    nums = (20, 10)
    fixed, clusters, eta, _ = crossed(2000, nums, (1.0, 1.0))
    table = Table(fixed[:, None], eta + 0.1 * normal(2000, seed=4), clusters)
    state = run(table, "gaussian", nums, 1)[-1]
    left = (table.target - predictor(table, state)[:, 0]).std()
    assert abs(left / state.noise - 1) < 0.1
    assert abs(state.noise - 0.1) < 0.01


@pytest.mark.parametrize("sigma", [0.05, 0.4, 8.0])
def test_chains_come_back_from_afar(sigma):
    """Many clusters of few rows: hardly any of which tells its own effect."""
    source = torch.Generator().manual_seed(3)
    clusters = torch.randint(0, 3000, (7500, 1), generator=source)
    eta = 1.3 * torch.randn(3000, generator=source).double()[clusters[:, 0]]
    fixed = torch.randn(7500, 1, generator=source).double()
    chance = torch.rand(7500, generator=source).double()
    target = (chance < (fixed[:, 0] + eta).sigmoid()).double()
    state = start((3000,), 1, 1, sigma)
    for _ in range(20):
        state = sweep(Table(fixed, target, clusters), "bernoulli", anchored(state), source)
    # The posterior's deviation is 0.06 or so.
    assert abs(state.sigma[0] - 1.3) < 0.3


def test_data_that_effects_separate_have_a_wide_posterior():
    """Clusters of all 0 or all 1: no likelihood ends, the prior of deviations does."""
    clusters = torch.arange(60)[:, None] % 5
    target = (clusters[:, 0] < 3).double()
    table = Table(torch.zeros(60, 1).double(), target, clusters)
    state, generator = start((5,), 1, 1), torch.Generator().manual_seed(0)
    sigma = []
    for step in range(300):
        state = anchored(state) if step <= 100 else state
        state = sweep(table, "bernoulli", state, generator)
        sigma.append(float(state.sigma[0]))
    drawn = torch.tensor(sigma[100:])
    assert drawn.isfinite().all()
    assert 10 < drawn.median() < 200


@pytest.mark.parametrize("targets", ["gaussian", "bernoulli", "categorical"])
def test_the_most_likely_effects_are_where_the_posterior_is_flat(targets):
    classes, num = 3 if targets == "categorical" else 1, 400
    source = torch.Generator().manual_seed(0)
    draws = [torch.randn(num, size, generator=source).double() for size in (classes, 2)]
    clusters = torch.stack([torch.randint(0, 6, (num,), generator=source)] * 2, 1)
    clusters[:, 1] = torch.randint(0, 4, (num,), generator=source)
    target = torch.randint(0, max(2, classes), (num,), generator=source).double()
    table, state = Table(draws[0], target, clusters, draws[1]), start((6, 4), 2, classes, 0.8)
    for _ in range(200):  # crossed features come close slowly
        state = centred(table, targets, state)
    effects = [one.clone().requires_grad_() for one in state.effects]
    there = replace(state, effects=tuple(effects))
    density = likelihood(targets, predictor(table, there), target, state.noise).sum()
    density = density - sum((one / 0.8).square().sum() / 2 for one in effects)
    for slope in torch.autograd.grad(density, effects):
        # Rows of a cluster pull with about 40 in all.
        assert slope.abs().max() < 1e-3
