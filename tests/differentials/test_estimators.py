"""All estimators on cones and bowls, whose differentials are known; then their own promises."""

import math
from functools import cache, partial

import pytest
import torch
from torch.testing import assert_close

from hgm.differentials import (
    DifferentialEstimator,
    FourierEstimator,
    LevelSetEstimator,
    LocalEstimator,
    NetworkEstimator,
)
from hgm.numerics.ranks import ALONE, Ranks

MAKE = {
    "fourier": FourierEstimator,
    "network": partial(NetworkEstimator, num_passes=300, num_members=2),
    "local": LocalEstimator,
    "level_set": LevelSetEstimator,
}
# Largest and median angle of a gradient to the true one, in degrees: the worst of what was measured
# on cones and bowls in R^2 and R^3, with about a third to spare.
DEGREES = {
    "fourier": (4.0, 1.0),  # features of one length scale, near the tip of a cone in R^3
    "network": (15.0, 1.5),  # half the default steps; worst at the edge, on the weak axis of a bowl
    "local": (5.5, 0.6),  # the cubic term that a quadratic leaves out, none for a bowl
    "level_set": (60.0, 7.0),  # one plane through some 20 points, in R^3; one-sided at the edge
}
HESSIAN = {"fourier": 0.01, "network": 0.6, "local": 1e-4}  # relative; a level set's is a stand-in
GOALS = torch.tensor([[0.4, -0.3, 0.2], [-0.5, 0.1, 0.4]], dtype=torch.float64)
SHAPE = torch.tensor([[1.0, 0.3, 0.0], [0.3, 0.4, 0.1], [0.0, 0.1, 0.7]], dtype=torch.float64)
TASKS = torch.arange(2)


def cone(points):
    return -(points - GOALS[:, None, : points.shape[-1]]).norm(dim=-1)


def bowl(points):
    apart = points - GOALS[:, None, : points.shape[-1]]
    return -(apart @ SHAPE[: apart.shape[-1], : apart.shape[-1]] * apart).sum(-1)


REWARD = {"cone": cone, "bowl": bowl}


def draw(dim, num=500, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.rand(2, num, dim, generator=generator, dtype=torch.float64) - 1


def inside(dim):
    """Queries at least 0.4 away from the goals, where a gradient has a direction."""
    points = 0.8 * draw(dim, 400, seed=1)
    far = (points - GOALS[:, None, :dim]).norm(dim=-1) > 0.4
    return torch.stack([row[keep][:100] for row, keep in zip(points, far, strict=True)])


def fit(name, batches, ranks=ALONE):
    estimator = MAKE[name](len(GOALS), batches[0][0].shape[-1])
    for _ in range(estimator.num_passes):
        for points, rewards in batches:
            estimator.update(points, rewards, ranks)
        estimator.finish(ranks)
    return estimator


@cache
def fitted(name, reward, dim):
    points = draw(dim)
    return fit(name, [(points, REWARD[reward](points))])


@torch.no_grad()
def jet_of(estimator, points):
    return estimator.jet(points, TASKS)


def truth(reward, points):
    points = points.clone().requires_grad_()
    return torch.autograd.grad(REWARD[reward](points).sum(), points)[0]


def degrees(a, b):
    cosine = torch.nn.functional.cosine_similarity(a, b, dim=-1)
    return torch.rad2deg(torch.acos(cosine.clamp(-1, 1)))


@pytest.fixture(params=list(MAKE))
def name(request):
    return request.param


@pytest.fixture(params=list(REWARD))
def reward(request):
    return request.param


@pytest.fixture(params=[2, 3])
def dim(request):
    return request.param


def test_jet_has_the_shapes_of_the_contract(name, reward, dim):
    estimator, points = fitted(name, reward, dim), inside(dim)
    jet = jet_of(estimator, points)
    shape = points.shape[:2]
    assert isinstance(estimator, DifferentialEstimator)
    assert jet.value.shape == jet.value_variance.shape == jet.gradient_variance.shape == shape
    assert jet.gradient.shape == (*shape, dim)
    assert jet.hessian.shape == (*shape, dim, dim)
    assert all(field.dtype == torch.float64 and field.isfinite().all() for field in jet)
    assert (jet.gradient_variance >= 0).all()
    assert (jet.value_variance >= 0).all()


def test_rows_follow_their_tasks(name):
    points = inside(2)[:1, :7].expand(3, -1, -1)
    estimator = fitted(name, "cone", 2)
    with torch.no_grad():
        jet = estimator.jet(points, torch.tensor([1, 0, 1]))
    assert_close(jet.gradient[0], jet.gradient[2])
    assert (jet.value[0] - jet.value[1]).abs().max() > 0.1


def test_gradient_direction(name, reward, dim):
    points = inside(dim)
    error = degrees(jet_of(fitted(name, reward, dim), points).gradient, truth(reward, points))
    largest, median = DEGREES[name]
    assert error.max() < largest
    assert error.median() < median


def test_gradient_length(name, reward, dim):
    points = inside(dim)
    length = jet_of(fitted(name, reward, dim), points).gradient.norm(dim=-1)
    ratio = length / truth(reward, points).norm(dim=-1)
    # The slope over a whole neighbourhood is flatter than the tip of a cone.
    least, most = {"level_set": (0.2, 1.3), "network": (0.7, 1.3)}.get(name, (0.8, 1.15))
    assert ratio.min() > least
    assert ratio.max() < most


@pytest.mark.parametrize("name", ["fourier", "network"])
def test_gradient_is_the_derivative_of_the_value(name, dim):
    estimator, points, eps = fitted(name, "cone", dim), inside(dim)[:, :20], 1e-2
    jet = jet_of(estimator, points)
    for axis in range(dim):
        step = torch.zeros(dim, dtype=torch.float64)
        step[axis] = eps
        ahead, behind = jet_of(estimator, points + step), jet_of(estimator, points - step)
        # Networks answer in float32: steps of 1e-2 balance its rounding and the third derivative.
        slope = (ahead.value - behind.value) / (2 * eps)
        assert_close(slope, jet.gradient[..., axis], rtol=0, atol=2e-3)
        bend = (ahead.gradient - behind.gradient) / (2 * eps)
        assert_close(bend, jet.hessian[..., axis], rtol=0, atol=2e-2)


@pytest.mark.parametrize("name", list(HESSIAN))
def test_hessian_of_a_quadratic(name, dim):
    hessian = jet_of(fitted(name, "bowl", dim), inside(dim)).hessian
    true = -2 * SHAPE[:dim, :dim]
    error = (hessian - true).norm(dim=(-2, -1)) / true.norm()
    assert error.max() < HESSIAN[name]


def test_level_set_hessian_turns_with_the_cone(dim):
    points = inside(dim)
    apart = points - GOALS[:, None, :dim]
    length = apart.norm(dim=-1, keepdim=True)
    unit = apart / length
    true = -(torch.eye(dim) - unit[..., None] * unit[..., None, :]) / length[..., None]
    hessian = jet_of(fitted("level_set", "cone", dim), points).hessian
    cosine = (hessian * true).sum((-2, -1)) / hessian.norm(dim=(-2, -1)) / true.norm(dim=(-2, -1))
    assert cosine.median() > 0.8
    assert cosine.min() > 0.0


def test_variance_grows_outside_the_data(name, reward, dim):
    estimator = fitted(name, reward, dim)
    near, far = jet_of(estimator, inside(dim)), jet_of(estimator, 4 * draw(dim, 100, 2).sign())
    for here, there in (
        (near.gradient_variance, far.gradient_variance),
        (near.value_variance, far.value_variance),
    ):
        assert there.min() > 4 * here.median()


def test_rescaled_rewards_have_the_same_directions(name):
    points, queries = draw(2), inside(2)
    rewards = cone(points)
    plain = jet_of(fitted(name, "cone", 2), queries).gradient
    linear = jet_of(fit(name, [(points, 1000 * rewards - 7)]), queries).gradient
    # Standardised targets differ by rounding, which float32 training lets grow.
    assert degrees(linear, plain).max() < (5.0 if name == "network" else 1e-3)
    assert (linear.norm(dim=-1) / plain.norm(dim=-1) / 1000 - 1).abs().max() < 0.1
    bent = jet_of(fit(name, [(points, torch.exp(rewards))]), queries).gradient
    # exp flattens the cone's outskirts, so the same relative error turns gradients further there.
    assert degrees(bent, truth("cone", queries)).max() < 2.5 * DEGREES[name][0]


def test_noise_is_told(name):
    points = draw(2)
    generator = torch.Generator().manual_seed(3)
    noise = torch.randn(points.shape[:2], generator=generator, dtype=torch.float64)
    size = torch.tensor([0.1, 0.2], dtype=torch.float64)
    ratio = fit(name, [(points, cone(points) + size[:, None] * noise)]).noise / size
    assert ratio.shape == (2,)
    assert (ratio.log().abs() < math.log(2)).all()


@pytest.mark.parametrize("name", ["fourier", "local", "level_set"])
def test_batches_add_up(name):
    points, queries = draw(2), inside(2)
    pieces = points.split([200, 150, 150], 1)
    few = [(pieces[0], cone(pieces[0])), (points[:, 200:], cone(points[:, 200:]))]
    # The first batch is the same in both: Fourier features take their scales from it.
    many = [(piece, cone(piece)) for piece in pieces]
    one, other = jet_of(fit(name, few), queries), jet_of(fit(name, many), queries)
    assert_close(one[:3], other[:3], rtol=1e-8, atol=1e-8)
    # Variances divide by eigenvalues that are 1e-10 of the largest.
    assert_close(one[3:], other[3:], rtol=1e-3, atol=1e-7)


def test_network_learns_from_batches():
    points, queries = draw(2), inside(2)
    batches = [(piece, cone(piece)) for piece in points.split(250, 1)]
    gradient = jet_of(fit("network", batches), queries).gradient
    assert degrees(gradient, truth("cone", queries)).max() < DEGREES["network"][0]


def test_network_averages_over_processes():
    points, queries = draw(2), inside(2)
    batches = [(points, cone(points))]
    twice = fit("network", batches, Ranks(lambda value: 2 * value, lambda value, dim: value))
    alone = fitted("network", "cone", 2)
    assert_close(twice.noise, alone.noise)
    assert_close(jet_of(twice, queries).gradient, jet_of(alone, queries).gradient)


@pytest.mark.parametrize("name", ["local", "level_set"])
def test_points_of_other_processes_count(name):
    points, queries = draw(2), inside(2)
    mine, theirs = points.split(250, 1)

    def cat(value, dim):
        assert dim == 1
        return torch.cat((value, theirs if value.ndim == 3 else cone(theirs)), dim)

    apart = fit(name, [(mine, cone(mine))], Ranks(lambda value: 2 * value, cat))
    assert_close(jet_of(apart, queries), jet_of(fitted(name, "cone", 2), queries))


def test_network_is_reproducible_and_leaves_the_global_generator_alone():
    state = torch.random.get_rng_state()
    points = draw(2)
    again = fit("network", [(points, cone(points))])
    assert torch.equal(state, torch.random.get_rng_state())
    assert_close(again.noise, fitted("network", "cone", 2).noise, rtol=0, atol=0)


def test_local_counts_grow_with_noise():
    points = draw(2)
    generator = torch.Generator().manual_seed(3)
    noise = torch.randn(points.shape[:2], generator=generator, dtype=torch.float64)
    noisy = fit("local", [(points, cone(points) + 0.1 * noise)])
    assert min(noisy.chosen) > 2 * max(fitted("local", "cone", 2).chosen)


def test_constant_rewards_have_no_gradient(name):
    points = draw(2)
    jet = jet_of(fit(name, [(points, torch.full_like(points[..., 0], 3.0))]), inside(2))
    assert all(field.isfinite().all() for field in jet)
    assert jet.gradient.abs().max() < 0.2
    assert (jet.value - 3).abs().max() < 0.1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FourierEstimator(0, 2), "`num_tasks`.*at least 1.*, got 0"),
        (lambda: LocalEstimator(2, 0), "`dim_state`.*at least 1.*, got 0"),
        (lambda: FourierEstimator(2, 2, num_features=4), "`num_features`.*at least 8.*, got 4"),
        (lambda: FourierEstimator(2, 2, lengthscales=[]), "positive `lengthscales`"),
        (lambda: FourierEstimator(2, 2, lengthscales=[1.0, 0.0]), "positive `lengthscales`"),
        (lambda: NetworkEstimator(2, 2, width=0), "`width`.*at least 1.*, got 0"),
        (lambda: NetworkEstimator(2, 2, depth=0), "`depth`.*at least 1.*, got 0"),
        (lambda: NetworkEstimator(2, 2, num_passes=0), "`num_passes`.*at least 1.*, got 0"),
        (lambda: NetworkEstimator(2, 2, learning_rate=0.0), "`learning_rate`.*above 0, got 0.0"),
        (lambda: NetworkEstimator(2, 2, num_members=1), "`num_members`.*at least 2.*, got 1"),
        (lambda: NetworkEstimator(2, 2, seed=-1), "`seed`.*at least 0.*, got -1"),
        (lambda: LocalEstimator(2, 2, counts=[]), "`counts` to hold an int"),
        (lambda: LocalEstimator(2, 2, counts=[12, 1]), "`counts`.*at least 2.*, got 1"),
        (lambda: LocalEstimator(2, 2, counts=[12.5]), "`counts`.*at least 2.*, got 12.5"),
        (lambda: LevelSetEstimator(2, 2, counts=[]), "`counts` to hold an int"),
        (lambda: LevelSetEstimator(2, 2, band=0.0), "`band`.*above 0, got 0.0"),
        (lambda: LevelSetEstimator(2, 2, band=1.0), "`band` to be below 1, got 1.0"),
    ],
)
def test_arguments_are_checked(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(("name", "most"), [("local", 9), ("level_set", 24)])
def test_too_few_points_are_named(name, most):
    points = draw(2, most + 1)
    assert jet_of(fit(name, [(points, cone(points))]), inside(2)).value.isfinite().all()
    with pytest.raises(ValueError, match="Expected more than .* points of every task"):
        fit(name, [(points[:, :most], cone(points[:, :most]))])


OTHERS = {
    "fourier": FourierEstimator(3, 4, num_features=64, lengthscales=[0.5, 2.0]),
    "network": NetworkEstimator(3, 4, width=8, depth=1, num_passes=7, num_members=3, seed=5),
    "local": LocalEstimator(3, 4, counts=[20, 40]),
    "level_set": LevelSetEstimator(3, 4, counts=[20, 40], band=0.2),
}


def test_resized_is_the_same_kind_with_the_same_settings_for_other_sizes(name):
    old, settings = (
        OTHERS[name],
        {
            "fourier": {"num_features": 64, "lengthscales": [0.5, 2.0]},
            "network": {"width": 8, "depth": 1, "num_passes": 7, "num_members": 3, "seed": 5},
            "local": {"counts": [20, 40]},
            "level_set": {"counts": [20, 40], "band": 0.2},
        }[name],
    )
    new, expected = old.resized(2, 2), type(old)(2, 2, **settings)
    assert type(new) is type(old)
    assert (new.num_tasks, new.dim_state, new.num_passes) == (2, 2, expected.num_passes)
    points = draw(2, 200)
    for estimator in (new, expected):
        for _ in range(estimator.num_passes):
            with torch.enable_grad():
                estimator.update(points, cone(points))
            estimator.finish()
    one, two = (jet_of(estimator, inside(2)) for estimator in (new, expected))
    assert torch.equal(one.gradient, two.gradient)
    assert torch.equal(one.gradient_variance, two.gradient_variance)


def test_an_estimator_need_not_know_other_sizes():
    assert DifferentialEstimator.resized(OTHERS["local"], 2, 2) is None
