"""Adaptation against posteriors known in closed form, and against its own symmetries."""

import json
import math
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from hgm import lie
from hgm.adaptation import OnlineAdaptation, Posterior, adapt
from hgm.adaptation.candidates import Candidates
from hgm.adaptation.fitting import Fitting
from hgm.adaptation.observations import Observations
from hgm.adaptation.posterior import log_of
from hgm.adaptation.reward import Reward
from hgm.geometry import Geometry
from hgm.geometry.reward_model import RewardModel
from hgm.numerics.fourier import draw_frequencies, features, fit, moments

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import adaptation as benchmark

NOISE = 0.05
PLANE = lie.so_generators(2).double()
SPACE = lie.so_generators(3).double()


def randn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def uniform(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def linear_model(slope, noise=NOISE, error=0.0, width=4.0):
    """The reward ``slope . p`` of points as wide as `width`, but for a shift of about `error`."""
    slope = torch.as_tensor(slope, dtype=torch.float64)
    n = len(slope)
    weights, spread = torch.zeros(n + 2, 2).double().unbind(1)
    weights[1 : n + 1], spread[-1] = width * slope / 3, error / 3
    zero = torch.zeros(n).double()
    noise = torch.tensor(noise).double()
    return RewardModel(
        zero, torch.eye(n).double() / width, zero[None], zero[:1], weights, spread[:, None], noise
    )


def bowl(points):
    """The reward ``-log(1 + |p - (1, 0)|^2)``."""
    return -torch.log1p((points - torch.tensor([1.0, 0.0])).square().sum(-1))


def bowl_model(noise=NOISE, seed=0, reward=bowl):
    """A regression on a smooth reward."""
    points = randn(1500, 2, seed=seed)
    rewards = reward(points)[:, None]
    frequencies, phases = draw_frequencies(2, 128, torch.Generator().manual_seed(seed))
    found = fit(moments(features(points, frequencies, phases), rewards))
    eye, zero = torch.eye(2).double(), torch.zeros(2).double()
    spread, noise = found.root[:, -40:], torch.tensor(noise).double()
    return RewardModel(zero, eye, frequencies, phases, found.weights[:, 0], spread, noise)


def geometry_of(generators, model, coords=None, **more):
    d = len(generators)
    coords = torch.zeros(1, d).double() if coords is None else coords
    return Geometry(
        generators, generators, coords, len(model.mean), "found", "", None, model, **more
    )


def circle(model=None, **more):
    return geometry_of(PLANE, linear_model([1.0, 0.0]) if model is None else model, **more)


def translations(*directions, model, far=1.0):
    """Shifts of the plane along `directions`, of at most twice `far`."""
    generators = torch.zeros(len(directions), 3, 3).double()
    for generator, direction in zip(generators, directions, strict=True):
        generator[:2, 2] = torch.tensor(direction)
    coords = far * torch.eye(len(directions)).double()
    return geometry_of(generators, model, coords)


def transitions(geometry, coords, num, noise=0.0, seed=0, radius=1.0):
    """Points and rewards of tasks at `coords`."""
    n = geometry.dim_state
    points = radius * randn(len(coords), num, n, seed=seed)
    points = points / points.norm(dim=-1, keepdim=True).clamp_min(2.5) * 2.5
    none = torch.zeros(len(coords), num, geometry.dim_action).double()
    carried, _ = geometry.act(
        -coords[:, None].expand(-1, num, -1),
        points,
        none[..., :0].expand(-1, -1, 0) if geometry.dim_action == 0 else none,
    )
    rewards = geometry.reward(carried).value
    return points, rewards + noise * randn(*rewards.shape, seed=seed + 1000)


def wrapped(angles):
    return torch.atan2(angles.sin(), angles.cos())


def variance_of(geometry):
    """Variance that adaptation gives an observation where the model is sure."""
    return float(OnlineAdaptation(geometry, 1)._fitting.model.noise)


@pytest.mark.parametrize("miss", [0.0, 0.04])
def test_mean_and_variance_of_a_linear_gaussian_task_are_exact(miss):
    geometry = translations((1.0, 0.5), model=linear_model([2.0, -1.0]))
    points, shift = randn(3, 8, 2), torch.tensor([0.7, -1.1, 2.6]).double()[:, None]
    slope = 2.0 * 1.0 - 1.0 * 0.5
    miss = miss * torch.tensor([1.0, -1.0]).double().repeat(4)
    rewards = 2 * points[..., 0] - points[..., 1] - slope * shift + miss
    posterior = adapt(geometry, points, rewards)
    assert_close(posterior.coords, shift, atol=1e-4, rtol=0)
    # Residuals of equal size all have the same weight in a likelihood with tails.
    variance = variance_of(geometry) + float(miss.square().mean()) / 9
    expected = 1 / (8 * slope**2 / variance + 3 / geometry.reach.square())
    assert_close(posterior.covariance, expected.expand(3, 1, 1), rtol=1e-6, atol=0)
    assert_close(posterior.deviation, expected.sqrt().expand(3), rtol=1e-6, atol=0)
    assert (posterior.num_modes == 1).all()
    assert_close(posterior.calibration, torch.tensor([[1.0, 0.0]] * 3).double())


def test_errors_of_the_model_do_not_average_out():
    model = linear_model([1.0, 0.0], error=0.1)
    geometry = translations((1.0, 0.0), model=model)
    for num in (1, 100):
        points = 0.5 * randn(2, num, 2)
        found = adapt(geometry, points, points[..., 0]).covariance
        variance, prior = variance_of(geometry) + 0.1**2, 3 / geometry.reach.square()
        inverse = 1 / (num / variance + prior)
        expected = inverse + (inverse * num / variance * 0.1).square()
        assert_close(found, expected.expand(2, 1, 1), rtol=1e-6, atol=0)
    assert (found > 0.1**2).all()


def test_estimate_maximises_the_likelihood_of_the_docstring():
    geometry = circle(bowl_model())
    truth = torch.tensor([[0.4], [-2.0], [3.0], [1.5]]).double()
    points, rewards = transitions(geometry, truth, 12, NOISE)
    rewards[:, 3] += 1.0
    posterior = adapt(geometry, points, rewards)
    angles = torch.linspace(-math.pi, math.pi, 20001).double()[:, None]
    inverse = geometry.element(-angles)
    online = OnlineAdaptation(geometry, 1)
    for row in range(4):
        value, _, variance, _ = online._fitting.model(points[row] @ inverse.mT)
        square = (rewards[row] - value).square() / variance
        loss = 4.5 * torch.log1p(square / 9) + variance.log() / 2
        best = angles[loss.sum(-1).argmin()]
        # What is left is the variance's own slope, which a step freezes.
        assert wrapped(best - posterior.coords[row]).abs() < 0.1 * posterior.deviation[row]


def test_weights_of_modes_count_their_width_and_their_variance():
    def bumps(points):  # a narrow one and a wide one
        x = points[:, 0]
        return torch.exp(-6 * (x + 1).square()) + torch.exp(-1.2 * (x - 0.8).square())

    model = bowl_model(reward=bumps, noise=0.02)
    spread = torch.zeros_like(model.spread)
    spread[-3, 0] = 0.05 / 3  # and the model is the less sure, the larger x is
    geometry = translations((1.0, 0.0), model=replace(model, spread=spread))
    point = torch.tensor([[[0.1, 0.0]]]).double()
    posterior = adapt(geometry, point, torch.tensor([[0.6]]))
    shifts = torch.linspace(-2, 2, 4001).double()
    carried = point[0] - torch.stack((shifts, 0 * shifts), -1)
    value, _, variance, _ = OnlineAdaptation(geometry, 1)._fitting.model(carried)
    loss = 4.5 * torch.log1p((0.6 - value).square() / variance / 9) + variance.log() / 2
    density = torch.softmax(-loss, -1)
    nearest = (shifts[:, None] - posterior.modes[0, :, 0]).abs().argmin(-1)
    share = torch.stack([density[nearest == mode].sum() for mode in range(4)])
    assert posterior.num_modes == 4
    assert share.max() > 1.5 * share.min()
    assert_close(posterior.weights[0], share, atol=0.05, rtol=0)


def test_weights_of_modes_are_their_shares_of_the_likelihood():
    geometry = circle(bowl_model())
    truth = 2 * math.pi * uniform(150, 1) - math.pi
    points = torch.tensor([0.6, 0.03]) * randn(150, 4, 2)  # nearly on a line: a mirror image
    rewards = geometry.reward(points @ geometry.element(truth)).value
    rewards += NOISE * randn(150, 4, seed=1)
    posterior = adapt(geometry, points, rewards)
    angles = torch.linspace(-math.pi, math.pi, 1001)[:-1].double()
    inverse = geometry.element(-angles[:, None])
    model = OnlineAdaptation(geometry, 1)._fitting.model
    value, _, variance, _ = model(torch.einsum("gij,tkj->tgki", inverse, points))
    square = (rewards[:, None] - value).square() / variance
    loss = (4.5 * torch.log1p(square / 9) + variance.log() / 2).sum(-1)
    density = torch.softmax(-loss, -1)
    two = posterior.num_modes == 2
    assert two.sum() > 50
    modes = posterior.modes[two, :2, 0]
    nearest = wrapped(angles[:, None] - modes[:, None]).abs().argmin(-1)
    share = (density[two] * (nearest == 0)).sum(-1)
    gap = (share - posterior.weights[two, 0]).abs()
    assert gap.median() < 0.02
    assert gap.max() < 0.1


def test_carrying_points_out_of_the_data_is_no_explanation():
    model = bowl_model()
    geometry = translations((1.0, 0.3), (0.2, 1.0), model=model, far=5.0)
    truth = torch.tensor([[0.5, -0.3], [-0.4, 0.1]]).double()
    posterior = adapt(geometry, *transitions(geometry, truth, 12, NOISE))
    assert (posterior.coords - truth).abs().max() < 0.2
    assert (posterior.weights[:, 0] > 0.999).all()


@pytest.mark.parametrize("case", ["circle", "sphere", "shifts", "calibrated"])
@pytest.mark.parametrize("at_identity", [True, False])
def test_jacobian_is_the_derivative_along_the_group(case, at_identity):
    geometry = {
        "circle": lambda: circle(bowl_model()),
        "calibrated": lambda: circle(bowl_model()),
        "shifts": lambda: translations((1.0, 0.3), (0.2, 1.0), model=bowl_model()),
        "sphere": lambda: geometry_of(SPACE, linear_model([0.3, -0.5, 1.0])),
    }[case]()
    d = geometry.dim_algebra
    fitting = Fitting(geometry, geometry.reward, case == "calibrated", num_steps=1)
    coords = torch.zeros(1, d).double() if at_identity else 0.8 * randn(1, d, seed=5)
    extra = torch.tensor([[0.2, -0.3]]).double() * (case == "calibrated")
    points, rewards = 0.7 * randn(1, 1, geometry.dim_state), randn(1, 1)
    seen, row = Observations(points, rewards, torch.ones(1, 1).bool()), torch.tensor([0])
    modes, residual, variance = fitting.sums(row, coords, extra, seen)
    pull = modes.slope[0] * (variance + residual.square() / 9)[0] / residual[0]

    def moved(step):
        some = fitting.sums(modes.row, *fitting.moved(modes, step[None]), seen)
        return some[1][0, 0]

    step = 1e-5 * torch.eye(len(pull)).double()
    numeric = torch.stack([(moved(row) - moved(-row)) / 2e-5 for row in step])
    assert_close(pull, numeric, atol=1e-7, rtol=0)
    assert pull.abs().max() > 0.1


def test_steps_are_right_perturbations_to_first_order():
    geometry = geometry_of(SPACE, linear_model([0.3, -0.5, 1.0]))
    online = OnlineAdaptation(geometry, 20)
    modes = online._modes._replace(coords=randn(20, 3))
    step = 1e-4 * randn(20, 3, seed=1)
    moved, _ = online._fitting.moved(modes, step)
    expected = geometry.element(modes.coords) @ geometry.element(step)
    assert_close(geometry.element(moved), expected, atol=1e-7, rtol=0)


@pytest.mark.parametrize("generators", [PLANE, SPACE], ids=["circle", "sphere"])
def test_half_turns_have_coordinates_though_no_principal_logarithm(generators):
    half = torch.zeros(2, len(generators)).double()
    half[0, 0], half[1, 0] = math.pi, 1.0
    element = lie.exp(lie.hat(half, generators))
    element[0] = torch.diag(element[0].diagonal().round())  # exactly half a turn
    assert lie.log(element)[0].isnan().all()
    coords = log_of(element, generators)
    assert_close(coords[1], half[1])
    assert coords[0].norm() == pytest.approx(math.pi, abs=0.1)
    # The coordinates are those of an element nearby: to first order in the nudge.
    assert_close(lie.exp(lie.hat(coords, generators))[0], element[0], atol=0.1, rtol=0)


def test_turning_the_context_turns_the_answer():
    geometry = circle(bowl_model())
    truth, turn = torch.tensor([[0.3], [2.9], [-1.0]]).double(), torch.tensor([1.234]).double()
    points, rewards = transitions(geometry, truth, 9, NOISE)
    plain = adapt(geometry, points, rewards)
    turned = adapt(geometry, points @ geometry.element(turn).mT, rewards)
    assert_close(
        wrapped(turned.coords - plain.coords - turn), torch.zeros(3, 1).double(), atol=1e-4, rtol=0
    )
    assert_close(turned.covariance, plain.covariance, rtol=1e-3, atol=0)


def test_points_on_a_line_leave_a_task_and_its_mirror_image():
    geometry = circle()
    along, truth = torch.tensor([0.3, -2.0]).double(), torch.tensor([[1.5], [-1.2]]).double()
    lengths = torch.linspace(-1.5, 1.5, 7).double()[:, None]
    points = torch.stack((along.cos(), along.sin()), -1)[:, None] * lengths
    rewards = lengths[:, 0] * torch.cos(truth - along[:, None])
    posterior = adapt(geometry, points, rewards)
    assert (posterior.num_modes == 2).all()
    assert_close(posterior.weights[:, :2], torch.full((2, 2), 0.5).double(), atol=1e-4, rtol=0)
    mirror = 2 * along[:, None] - truth
    for image in (truth, mirror):
        gap = wrapped(posterior.modes[:, :2, 0] - image).abs().amin(1)
        assert_close(gap, torch.zeros(2).double(), atol=1e-4, rtol=0)
        assert posterior.contains(image).all()
    assert not posterior.contains(along[:, None]).any()


def test_an_outlier_does_not_move_the_estimate():
    geometry, truth = circle(), torch.tensor([[0.8]]).double()
    points, rewards = transitions(geometry, truth, 20, NOISE)
    plain = adapt(geometry, points, rewards)
    rewards[0, 4] += 30
    spoilt = adapt(geometry, points, rewards)
    assert ((spoilt.coords - plain.coords).abs() < plain.deviation).all()


def test_points_far_from_the_training_data_tell_little():
    geometry, truth = circle(bowl_model()), torch.tensor([[0.5], [1.5]]).double()
    points, rewards = transitions(geometry, truth, 12)
    near = adapt(geometry, points, rewards).deviation
    far = 5 * points / points.norm(dim=-1, keepdim=True)
    carried = far @ geometry.element(truth)
    theirs = bowl(carried)
    assert (geometry.reward(carried).value - theirs).abs().max() > 10 * NOISE
    posterior = adapt(geometry, torch.cat((points, far), 1), torch.cat((rewards, theirs), 1))
    assert (wrapped(posterior.coords - truth).abs()[:, 0] < 3 * near).all()
    assert (posterior.deviation > 0.5 * near).all()


@pytest.mark.parametrize("factor", [1.0, 1e-3, 50.0])
def test_calibration_is_recovered_and_does_not_move_the_answer(factor):
    geometry = circle(bowl_model())
    truth = 2 * math.pi * uniform(20, 1) - math.pi
    points, rewards = transitions(geometry, truth, 25, NOISE)
    base = adapt(geometry, points, rewards, calibrate=True)
    assert_close(base.calibration, torch.tensor([[1.0, 0.0]] * 20).double(), atol=0.15, rtol=0)
    scaled = adapt(geometry, points, factor * (rewards - 20), calibrate=True)
    assert_close(
        wrapped(scaled.coords - base.coords), torch.zeros(20, 1).double(), atol=2e-3, rtol=0
    )
    expected = factor * torch.stack((base.calibration[:, 0], base.calibration[:, 1] - 20), -1)
    assert_close(scaled.calibration, expected, rtol=2e-3, atol=0)
    assert_close(scaled.covariance, base.covariance, rtol=2e-2, atol=0)
    assert (wrapped(base.coords - truth).abs()[:, 0] < 4 * base.deviation).all()


def test_calibration_is_exact_without_noise():
    geometry = circle(bowl_model(noise=1e-4))
    truth = torch.tensor([[0.5], [2.0], [-2.5]]).double()
    points, rewards = transitions(geometry, truth, 15)
    posterior = adapt(geometry, points, 3 * rewards - 7, calibrate=True)
    assert_close(posterior.coords, truth, atol=1e-3, rtol=0)
    assert_close(posterior.calibration, torch.tensor([[3.0, -7.0]] * 3).double(), atol=5e-3, rtol=0)
    wrong = adapt(geometry, points, 3 * rewards - 7, calibrate=False)
    assert (wrapped(wrong.coords - truth).abs() > 0.01).any()


def test_one_rescaled_reward_tells_nothing():
    geometry = circle(bowl_model())
    points, rewards = transitions(geometry, torch.tensor([[2.0]]).double(), 1)
    posterior = adapt(geometry, points, rewards, calibrate=True)
    assert (posterior.deviation > 1.5).all()
    assert_close(posterior.calibration[:, 0], torch.ones(1).double(), atol=1e-4, rtol=0)


def test_calibrates_by_default_if_the_training_tasks_needed_it():
    calibration = torch.ones(1, 2).double()
    plain = circle(bowl_model())
    rescaled = Geometry(**{**vars(plain), "calibration": calibration})
    assert not OnlineAdaptation(plain, 1).calibrate
    assert OnlineAdaptation(rescaled, 1).calibrate
    assert not OnlineAdaptation(rescaled, 1, calibrate=False).calibrate


@pytest.mark.parametrize("calibrate", [False, True])
def test_mask_drops_entries(calibrate):
    geometry = circle(bowl_model())
    truth = torch.tensor([[0.5], [2.0], [-2.5], [1.0]]).double()
    points, rewards = transitions(geometry, truth, 9, NOISE)
    lengths = torch.tensor([9, 6, 4, 0])
    mask = torch.arange(9) < lengths[:, None]
    points[~mask], rewards[~mask] = math.nan, math.inf
    masked = adapt(geometry, points, rewards, mask=mask, calibrate=calibrate)
    for row, num in enumerate(lengths.tolist()):
        some = adapt(
            geometry, points[row : row + 1, :num], rewards[row : row + 1, :num], calibrate=calibrate
        )
        for name in ("modes", "mode_covariances", "weights", "calibration"):
            assert_close(
                getattr(masked, name)[row : row + 1], getattr(some, name), atol=1e-7, rtol=1e-6
            )


@pytest.mark.parametrize("calibrate", [False, True])
@pytest.mark.parametrize("kind", ["circle", "sphere", "shifts"])
def test_without_transitions_the_answer_is_uniform(kind, calibrate):
    geometry = {
        "circle": circle(bowl_model()),
        "sphere": geometry_of(SPACE, linear_model([0.3, -0.5, 1.0])),
        "shifts": translations((1.0, 0.3), (0.2, 1.0), model=bowl_model()),
    }[kind]
    n, d = geometry.dim_state, geometry.dim_algebra
    nothing = torch.zeros(2, 3, dtype=torch.bool)
    for posterior in (
        adapt(geometry, torch.zeros(2, 0, n), torch.zeros(2, 0), calibrate=calibrate),
        adapt(geometry, torch.zeros(2, 3, n), torch.zeros(2, 3), mask=nothing, calibrate=calibrate),
        OnlineAdaptation(geometry, 2, calibrate).posterior,
    ):
        assert_close(posterior.coords, torch.zeros(2, d).double())
        uniform = torch.diag(geometry.reach.square() / 3).expand(2, d, d)
        assert_close(posterior.covariance, uniform, atol=1e-9, rtol=1e-9)
        assert_close(posterior.weights, torch.tensor([[1.0, 0.0, 0.0, 0.0]] * 2).double())
        assert_close(posterior.calibration, torch.tensor([[1.0, 0.0]] * 2).double())
        assert posterior.contains(geometry.reach.expand(2, d) * 0.9).all()


def test_groups_of_two_dimensions_are_found():
    turns = torch.zeros(2, 4, 4).double()
    turns[0, :2, :2], turns[1, 2:, 2:] = PLANE[0], PLANE[0]
    torus = geometry_of(turns, linear_model([1.0, 0.0, 0.7, 0.0]))
    shifts = translations((1.0, 0.3), (0.2, 1.0), model=bowl_model())
    for geometry, reach in ((torus, math.pi), (shifts, 0.7)):
        truth = reach * (2 * uniform(40, 2) - 1)
        points, rewards = transitions(geometry, truth, 15, NOISE)
        posterior = adapt(geometry, points, rewards)
        gap = posterior.coords - truth
        gap = wrapped(gap) if geometry is torus else gap
        assert posterior.symmetries.shape == (2, 0)
        assert (gap.norm(dim=-1) < 4 * posterior.deviation).all()
        assert (posterior.deviation < 0.2).all()
        square = (gap * torch.linalg.solve(posterior.covariance, gap)).sum(-1)
        assert 0.6 < square.mean() / 2 < 1.5
        assert (posterior.num_modes == 1).all()


def sphere_tasks(num=12, seed=0, ripple=0.0):
    pole = torch.tensor([0.6, 0.0, 0.8]).double()
    model = linear_model(pole)
    # A learned reward is not quite symmetric.
    model.weights[0] = ripple
    model = replace(model, frequencies=torch.tensor([[0.0, 4.0, 0.0]]).double())
    geometry = geometry_of(SPACE, model)
    turns = randn(num, 3, seed=seed)
    coords = turns / turns.norm(dim=-1, keepdim=True) * (math.pi * uniform(num, 1, seed=seed + 1))
    return geometry, pole, coords


@pytest.mark.parametrize("ripple", [0.0, 0.02])
def test_symmetries_of_the_base_task_are_not_told_and_do_no_harm(ripple):
    geometry, pole, truth = sphere_tasks(ripple=ripple)
    points, rewards = transitions(geometry, truth, 8, NOISE)
    posterior = adapt(geometry, points, rewards)
    goals, found = geometry.element(truth) @ pole, geometry.element(posterior.coords) @ pole
    angle = 2 * ((goals - found).norm(dim=-1) / 2).asin()
    assert (angle < 4 * posterior.deviation).all()
    assert (posterior.deviation < 0.2).all()
    assert (posterior.num_modes == 1).all()
    # Rotations about the pole, and their variance is that of the uniform distribution.
    about_pole = lie.vee(
        lie.log(lie.exp(torch.linalg.cross(pole.expand(3, 3), torch.eye(3).double()).mT)),
        geometry.generators,
    )
    cosine = (posterior.symmetries[:, 0] @ about_pole).abs()
    assert_close(cosine, torch.tensor(1.0).double(), atol=1e-3, rtol=0)
    along = posterior.symmetries.mT @ posterior.covariance @ posterior.symmetries
    assert_close(along, torch.full((12, 1, 1), math.pi**2 / 3).double(), rtol=1e-3, atol=0)
    for turn in (0.0, 1.0, 2.5, -3.0):
        same = geometry.element(truth) @ geometry.element(turn * about_pole)
        coords = lie.vee(lie.log(same), geometry.generators)
        assert posterior.contains(coords, 0.99).double().mean() > 0.9


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


def test_tasks_beyond_the_reach_of_a_group_that_is_not_compact_are_reached():
    geometry = translations((1.0, 0.0), model=linear_model([1.0, 0.3]))
    assert geometry.reach == 2
    truth = torch.tensor([[2.5], [-3.0]]).double()
    posterior = adapt(geometry, *transitions(geometry, truth, 6))
    assert_close(posterior.coords, truth, atol=1e-6, rtol=0)


def test_half_a_turn_is_found():
    geometry = circle()
    truth = torch.tensor([[math.pi], [-math.pi], [0.0]]).double()
    posterior = adapt(geometry, *transitions(geometry, truth, 6))
    assert_close(wrapped(posterior.coords - truth), torch.zeros(3, 1).double(), atol=1e-6, rtol=0)
    assert posterior.contains(truth).all()


@pytest.mark.parametrize("calibrate", [False, True])
def test_online_equals_batch(calibrate):
    geometry = circle(bowl_model())
    truth = 2 * math.pi * uniform(60, 1) - math.pi
    points, rewards = transitions(geometry, truth, 24, NOISE, radius=0.6)
    mask = torch.arange(24) < 30 * uniform(60, 1, seed=4)
    online = OnlineAdaptation(geometry, 60, calibrate)
    for step in range(24):
        online.observe(points[:, step], rewards[:, step], mask[:, step])
        if step in (11, 23):
            batch = adapt(
                geometry,
                points[:, : step + 1],
                rewards[:, : step + 1],
                mask=mask[:, : step + 1],
                calibrate=calibrate,
            )
            told = (batch.num_modes == 1) & (mask[:, : step + 1].sum(1) > 5)
            assert told.sum() > 20
            gap = wrapped(online.posterior.coords - batch.coords)[:, 0].abs() / batch.deviation
            assert (gap[told] < 0.1).all()
            ratio = online.posterior.deviation / batch.deviation
            assert_close(ratio[told], torch.ones_like(ratio[told]), atol=0.1, rtol=0)
            assert_close(
                online.posterior.calibration[told], batch.calibration[told], atol=0.02, rtol=0.02
            )


def test_online_in_pieces_equals_online_at_once():
    geometry = circle(bowl_model())
    points, rewards = transitions(geometry, torch.tensor([[0.4], [2.0]]).double(), 12, NOISE)
    online = OnlineAdaptation(geometry, 2)
    online.observe(points[:, :8], rewards[:, :8])
    online.observe(points[:, 8:].float(), rewards[:, 8:].float())
    batch = adapt(geometry, points, rewards)
    assert ((online.posterior.coords - batch.coords).abs()[:, 0] < 0.05 * batch.deviation).all()


def test_modes_that_lose_are_kept_in_reach_of_a_comeback():
    geometry = circle()
    lengths = torch.linspace(-1.0, 1.0, 4).double()
    online = OnlineAdaptation(geometry, 1)
    for length in lengths:  # all on one line: 1.0 and -1.0 are alike
        online.observe(torch.tensor([[length, 0.0]]), (length * math.cos(1.0)).view(1))
    assert online.posterior.num_modes == 2
    online.observe(torch.tensor([[0.0, 1.0]]), torch.tensor([math.sin(-1.0)]))
    assert online.posterior.num_modes == 1
    assert_close(online.posterior.coords, torch.tensor([[-1.0]]).double(), atol=1e-3, rtol=0)


def test_options_change_the_effort_and_seeds_do_not_change_the_answer():
    geometry, _, truth = sphere_tasks(3)
    points, rewards = transitions(geometry, truth, 8, NOISE)
    plain = adapt(geometry, points, rewards)
    other = adapt(geometry, points, rewards, seed=7, num_candidates=300, num_modes=2, num_steps=30)
    assert other.modes.shape == (3, 2, 3)
    pole = torch.tensor([0.6, 0.0, 0.8]).double()
    assert_close(
        geometry.element(plain.coords) @ pole,
        geometry.element(other.coords) @ pole,
        atol=2e-2 * NOISE,
        rtol=0,
    )
    for name, value in vars(adapt(geometry, points, rewards)).items():
        if name != "geometry":
            assert_close(value, getattr(plain, name), msg=name)


def spoil(tensor, value):
    spoilt = tensor.clone()
    spoilt.view(-1)[0] = value
    return spoilt


POINTS, REWARDS = torch.zeros(2, 3, 2), torch.zeros(2, 3)
MISTAKES = {
    r"`points` of shape \(T, K, 2\), but got \(2, 2\)": {"points": POINTS[:, 0]},
    r"`points` of shape \(2, 2\) or \(2, B, 2\), but got \(2, 3, 1\)": {"points": POINTS[..., :1]},
    r"`rewards` of shape \(2, 3\), but got \(2, 2\)": {"rewards": REWARDS[:, :2]},
    r"`mask` of shape \(2, 3\), but got \(2,\)": {"mask": torch.ones(2, dtype=torch.bool)},
    r"`mask` of dtype torch.bool, but got torch.float32": {"mask": torch.ones(2, 3)},
    "`points` to be finite where `mask` is true, but 1 of 6": {"points": spoil(POINTS, math.nan)},
    "`rewards` to be finite where": {"rewards": spoil(REWARDS, math.inf)},
    "`num_modes` to be an int, at least 1": {"num_modes": 0},
    "`num_steps` to be an int, at least 1": {"num_steps": 0},
    "`num_candidates` to be an int, at least 2": {"num_candidates": 1},
    "`seed` to be an int, at least 0": {"seed": -1},
    "`num_tasks` to be an int, at least 1": {"points": POINTS[:0], "rewards": REWARDS[:0]},
}


@pytest.mark.parametrize("message", MISTAKES)
def test_mistakes_are_named(message):
    arguments = {"points": POINTS, "rewards": REWARDS, **MISTAKES[message]}
    with pytest.raises(ValueError, match=message):
        adapt(circle(), **arguments)


def test_geometries_that_cannot_adapt_are_named():
    good = circle()
    for change, message in (
        ({"reward": None}, "`reward` is None: no one model explained the training tasks.$"),
        (
            {"generators": PLANE[:0], "coords": torch.zeros(1, 0)},
            "carries the base task into another one",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            adapt(Geometry(**{**vars(good), **change}), POINTS, REWARDS)
    with pytest.raises(
        ValueError,
        match="^Expected `geometry` to reach out in every direction, but the training tasks' coord",
    ):
        adapt(translations((1.0, 0.0), model=bowl_model(), far=0.0), POINTS, REWARDS)


def test_regions_check_their_arguments():
    posterior = adapt(circle(), POINTS, REWARDS)
    with pytest.raises(ValueError, match=r"`coords` of shape \(2, 1\)"):
        posterior.contains(torch.zeros(2, 2))
    for level in (0.0, 1.0, math.nan):
        with pytest.raises(ValueError, match="`level`"):
            posterior.contains(torch.zeros(2, 1), level)


@pytest.mark.slow
def test_quick_benchmark_prints_tables_and_writes_json(tmp_path, capsys):
    path = tmp_path / "report.json"
    benchmark.main(["--quick", "--out", str(path)])
    report = json.loads(path.read_text())
    rows = {(row["reward_noise"], row["transitions"], row["calibrate"]) for row in report["rows"]}
    assert len(rows) == 8
    assert report["verdict"]["median at most 0.5 deg without noise"]
    assert report["verdict"]["100 times faster than Adam"]
    assert report["online"]["gap_to_batch_median_deviations"] < 0.1
    assert "Cramer-Rao" in capsys.readouterr().out


def test_cramer_rao_bound_of_the_benchmark_is_that_of_a_cone():
    goals, points = torch.tensor([[1.0, 0.0]]).double(), torch.tensor([[[0.0, 1.0], [9.0, 9.0]]])
    mask, rewards = torch.tensor([[True, False]]), torch.zeros(1, 2)
    bound = benchmark.cramer_rao(benchmark.Context(goals, points.double(), rewards, mask), 0.1)
    # |s - z(t)|^2 = 2 - 2 sin t: the distance changes by 1 / sqrt 2 per radian at t = 0.
    assert_close(bound, torch.tensor([0.1 * math.sqrt(2)]).double())


def test_doubt_grows_from_the_edge_of_the_data_wherever_they_lie():
    centre = torch.tensor([10.0, -4.0]).double()
    reward = Reward(replace(linear_model([1.0, 0.0], width=1.0), mean=centre), torch.float64, 2)
    points = torch.stack((centre, centre + 1, centre + 8, -centre))
    _, _, variance, _ = reward(points)
    assert_close(variance[:2], reward.noise.expand(2), rtol=1e-6, atol=0)
    assert variance[2] > 10 * variance[1]
    assert variance[3] > variance[2]


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


def test_candidates_are_spread_evenly_over_the_group():
    seen = torch.tensor([[0.0], [0.3]]).double()
    geometry = replace(circle(), coords=seen)
    coords = Candidates(geometry, geometry.reward, 6, seed=0).coords[:, 0]
    even = math.pi * torch.tensor([-5, -3, -1, 1, 3, 5]).double() / 6
    assert_close(
        coords, torch.cat((torch.tensor([0.0, 0.0, 0.3]).double(), even)), rtol=1e-12, atol=0
    )


def test_candidates_of_two_dimensions_fill_every_part_of_the_box():
    geometry = translations((1.0, 0.3), (0.2, 1.0), model=bowl_model(), far=5.0)
    assert_close(geometry.reach, torch.tensor([10.0, 10.0]).double())
    places = [Candidates(geometry, geometry.reward, 256, seed).coords for seed in (0, 0, 1)]
    for coords in places:
        assert coords.shape == (1 + 2 + 256, 2)
        cells = ((coords[3:] + 10) / 5).floor()
        _, counts = cells.unique(dim=0, return_counts=True)
        assert counts.tolist() == [16] * 16
    assert torch.equal(places[0], places[1])
    assert not torch.equal(places[0], places[2])


def test_candidates_of_equal_rewards_are_neighbours():
    geometry, pole, _ = sphere_tasks(1)
    candidates = Candidates(geometry, geometry.reward, 500, seed=0)
    goals = geometry.element(candidates.coords) @ pole
    apart = (goals[candidates.near] - goals[:, None]).norm(dim=-1)
    nearest = torch.cdist(goals, goals).sort(-1).values[:, : apart.shape[1]]
    # The same goals whatever turns about them: as near as any, but for the rewards' own measure.
    assert apart.max(1).values.median() < 1.5 * nearest[:, -1].median()


@pytest.mark.parametrize("calibrate", [False, True])
@pytest.mark.parametrize(("num", "unit"), [(1, 1.0), (2, 1.0), (6, 1.0), (6, 1e3)])
def test_candidates_are_scored_by_their_likeliest_calibration(calibrate, num, unit):
    geometry = circle(bowl_model().scaled(unit))
    truth = torch.tensor([[0.4], [-2.0]]).double()
    points, rewards = transitions(geometry, truth, num, unit * NOISE)
    rewards = 3 * rewards + unit
    online = OnlineAdaptation(geometry, 2, calibrate)
    online.observe(points, rewards)
    loss, extra = online._score()
    coords, cell = online._candidates.coords, online._candidates.cell
    carried = torch.einsum("gij,tkj->tgki", geometry.element(-coords), points)
    value, _, variance = online._candidates._model(carried, slope=False)
    variance = variance.double() + cell

    def explicit(factor, shift):  # r = a (R + e) + b, with 1 / a and b / a
        error = factor[..., None] * rewards[:, None] - shift[..., None] - value
        normal = (error.square() / variance + variance.log()).sum(-1) / 2
        return normal - (num - 1) * calibrate * factor.log()

    factor, shift = extra[..., 0].exp(), extra[..., 1]
    assert_close(loss, explicit(factor, shift), rtol=1e-5, atol=1e-5)
    if not calibrate:
        assert extra.eq(0).all()
        return
    for turn in (0.99, 1.01):
        assert num == 1 or (explicit(turn * factor, shift) > loss).all()
        assert (explicit(factor, shift + (turn - 1) * unit) > loss).all()


def starts(fitting, seen, coords):
    row = torch.arange(len(coords))
    # Cloned, since a fit replaces them in place.
    return fitting.sums(row, coords.clone(), torch.zeros(len(coords), 2).double(), seen)[0]


@pytest.mark.parametrize("calibrate", [False, True])
def test_tasks_that_are_fitted_together_do_not_touch(calibrate):
    geometry = circle(bowl_model())
    truth = 2 * math.pi * uniform(8, 1) - math.pi
    points, rewards = transitions(geometry, truth, 20, NOISE)
    seen = Observations(points, rewards, torch.ones(8, 20).bool())
    fitting = Fitting(geometry, geometry.reward, calibrate, num_steps=4)
    begin = truth + 0.8 * randn(8, 1, seed=7)
    together = fitting.fit(starts(fitting, seen, begin), seen, 0.0, 1e-9)
    for index in range(8):
        own = seen.at(torch.tensor([index]))
        alone = fitting.fit(starts(fitting, own, begin[index, None]), own, 0.0, 1e-9)
        for name in ("coords", "extra", "loss"):
            gap = getattr(together, name)[index] - getattr(alone, name)[0]
            assert_close(gap, torch.zeros_like(gap), atol=1e-8, rtol=0)


def test_slack_is_noise():
    model, slack = bowl_model(), 0.3
    noisy = replace(model, noise=(model.noise.square() + slack).sqrt())
    geometry = circle(model)
    truth = 2 * math.pi * uniform(8, 1) - math.pi
    points, rewards = transitions(geometry, truth, 6, NOISE)
    seen = Observations(points, rewards, torch.ones(8, 6).bool())
    begin = truth + 1.5 * randn(8, 1, seed=7)
    found = []
    for reward, more in ((model, slack), (noisy, 0.0)):
        fitting = Fitting(geometry, reward, False, num_steps=5)
        found.append(fitting.fit(starts(fitting, seen, begin), seen, more, 1e-9))
    assert_close(found[0].coords, found[1].coords)
    assert_close(found[0].loss, found[1].loss)
    assert ((found[0].coords - begin).abs() > 0.1).any()


def test_precision_of_the_factor_is_the_curvature_of_the_likelihood():
    geometry = circle(linear_model([0.15, 0.0]))  # rewards of three deviations
    points, rewards = transitions(geometry, torch.tensor([[0.4]]).double(), 40)
    posterior = OnlineAdaptation(geometry, 1, calibrate=True)
    posterior.observe(points, rewards)
    fitting, modes, seen = posterior._fitting, posterior._modes, posterior._seen
    precision = torch.linalg.inv(fitting.solve(modes, seen.num_seen).covariance)[0, 1, 1]

    def loss(step):
        extra = modes.extra + torch.tensor([[step, 0.0]]).double()
        some = fitting.sums(modes.row, modes.coords, extra, seen)[0]
        return some.loss - fitting.power(seen.num_seen) * extra[:, 0] + extra[:, 0] ** 2 / 18

    curvature = (loss(1e-3) - 2 * loss(0.0) + loss(-1e-3)) / 1e-6
    assert_close(precision, curvature[0], rtol=0.05, atol=0)


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


@pytest.mark.parametrize("calibrate", [False, True])
def test_no_step_of_a_fit_makes_a_task_less_likely(calibrate):
    geometry = circle(linear_model([1.0, 0.0], noise=0.02))  # the same variance everywhere
    truth = 2 * math.pi * uniform(40, 1) - math.pi
    points, rewards = transitions(geometry, truth, 4, 0.02)
    seen = Observations(points, 2 * rewards, torch.ones(40, 4).bool())
    begin = 2 * math.pi * uniform(40, 1, seed=8) - math.pi
    losses = []
    for num_steps in range(1, 9):
        fitting = Fitting(geometry, geometry.reward, calibrate, num_steps)
        found = fitting.fit(starts(fitting, seen, begin), seen, 0.0, 1e-9)
        losses.append(found.loss - fitting.power(seen.num_seen) * found.extra[:, 0])
    change = torch.stack(losses).diff(dim=0)
    assert (change < 1e-9).all()
    assert change.min() < -1.0


def test_share_of_a_mode_is_that_where_its_step_leads():
    geometry = translations((1.0, 0.0), model=linear_model([1.0, 0.3]))
    points, rewards = transitions(geometry, torch.zeros(1, 1).double(), 10)
    seen = Observations(points, rewards, torch.ones(1, 10).bool())
    fitting = Fitting(geometry, geometry.reward, False, num_steps=5)
    off = 0.3 * NOISE / math.sqrt(10)
    here, there = (
        fitting.solve(starts(fitting, seen, torch.tensor([[place]]).double()), seen.num_seen)
        for place in (0.0, off)
    )
    assert_close(there.asked, torch.tensor([0.3**2]).double(), rtol=0.02, atol=0)
    assert_close(there.loss, here.loss, rtol=0, atol=2e-3)


@pytest.mark.parametrize(("generators", "num"), [(PLANE, 48), (SPACE, 1024)])
def test_number_of_candidates_grows_with_the_dimension(generators, num):
    model = linear_model([0.3, -0.5, 1.0][: generators.shape[1]])
    online = OnlineAdaptation(geometry_of(generators, model), 1)
    assert len(online._candidates.coords) == num + 2  # with 0, and the one training task's
    plane = translations((1.0, 0.3), (0.2, 1.0), model=bowl_model())
    assert len(OnlineAdaptation(plane, 1)._candidates.coords) == 512 + 3


@pytest.mark.parametrize("calibrate", [False, True])
def test_rewards_may_see_a_part_of_the_state(calibrate):
    """What they do not see is carried along, and tells nothing."""
    turn = torch.zeros(1, 4, 4).double()
    turn[0, 2, 0], turn[0, 0, 2] = 1.0, -1.0
    turn[0, 3, 1], turn[0, 1, 3] = 2.0, -2.0
    seen = [0, 2]
    flat = bowl_model()
    root = torch.zeros(4, 2).double()
    root[seen] = flat.root
    model = replace(flat, mean=torch.zeros(4).double(), root=root)
    whole, part = geometry_of(turn, model), geometry_of(PLANE, flat)
    coords = torch.tensor([[0.7], [-2.0]]).double()
    points = randn(2, 60, 4, seed=5)
    rewards = bowl(lie.act(part.element(-coords), points[..., seen]))
    rewards = rewards + NOISE * randn(2, 60, seed=6)
    found = adapt(whole, points, rewards, calibrate=calibrate)
    same = adapt(part, points[..., seen], rewards, calibrate=calibrate)
    assert_close(found.coords, coords, atol=0.1, rtol=0)
    # The same likelihood; only candidates and landmarks are elsewhere.
    assert_close(found.coords, same.coords, atol=0.02, rtol=0)
    assert_close(found.covariance, same.covariance, atol=0, rtol=0.3)
    other = points.clone()
    other[..., [1, 3]] = 100 * randn(2, 60, 2, seed=7)
    assert_close(adapt(whole, other, rewards, calibrate=calibrate).coords, found.coords)


def test_a_mirror_image_next_to_a_mode_is_not_missed():
    """Of two images closer than three candidates, rewards off the line tell the right one."""
    geometry = circle(linear_model([1.0, 0.0], noise=1e-4))
    angle, num = torch.linspace(0.05, 0.5, 60).double(), 60
    truth = angle.repeat(2) * torch.tensor([1.0, -1.0]).double().repeat_interleave(num)
    online = OnlineAdaptation(geometry, 2 * num)
    for direction in (0.0, 0.3, 0.4, 0.35):  # the first leaves both images
        point = torch.tensor([math.cos(direction), math.sin(direction)]).double()
        rewards = (truth - direction).cos()
        online.observe(point.expand(2 * num, 2), rewards)
    error = (online.posterior.coords[:, 0] - truth).abs()
    assert (error < 5 * online.posterior.deviation).all()
    assert error.max() < 0.01


def test_how_often_modes_are_sought_anew_does_not_depend_on_the_units_of_rewards(monkeypatch):
    """What is missed is missed in any units: a calibrated likelihood has a power of ``1/a``."""
    sought, starts = [], OnlineAdaptation._starts

    def counted(self, *known):
        found = starts(self, *known)
        sought[-1].append(len(found.row))
        return found

    monkeypatch.setattr(OnlineAdaptation, "_starts", counted)
    geometry, num = circle(bowl_model()), 30
    truth = torch.linspace(-3, 3, num).double()[:, None]
    for factor in (0.2, 1.0, 5.0):
        sought.append([])
        online = OnlineAdaptation(geometry, num, calibrate=True)
        for step in range(12):
            points = randn(num, 2, seed=step)
            rewards = bowl(lie.act(geometry.element(-truth), points[:, None])[:, 0])
            online.observe(points, factor * (rewards + NOISE * randn(num, seed=50 + step)))
    # At first the prior of log a, which does have a unit, counts.
    small, same, large = (torch.tensor(row[5:]).double() for row in sought)
    assert_close(small, same, atol=3, rtol=0.1)
    assert_close(large, same, atol=3, rtol=0.1)
    assert same[-4:].sum() < num  # of 4 num: not at every step for ever


def test_points_where_the_model_is_off_tell_less():
    model = linear_model([1.0, 0.0], noise=0.01)
    slope = torch.tensor([0.0, 1.0, 0.0, 2 * math.log(0.01) / 3]).double()  # log v = x / 12 + ...
    geometry = translations((1.0, 0.0), model=replace(model, misfit=slope))
    points = torch.tensor([-2.0, 2.0]).double()[:, None, None] * torch.tensor([1.0, 0.0]).double()
    posterior = adapt(geometry, points, points[..., 0])
    variance = geometry.reward.scatter(points)[:, 0]
    assert variance[1] > 2 * variance[0]
    expected = 1 / (1 / variance + 3 / geometry.reach.square())
    assert_close(posterior.covariance[:, 0, 0], expected, rtol=1e-3, atol=0)
