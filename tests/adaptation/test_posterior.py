"""Posteriors against those known in closed form, and against their own symmetries."""

import math
from dataclasses import replace

import pytest
import torch
from geometries import (
    NOISE,
    PLANE,
    SPACE,
    bowl,
    bowl_model,
    circle,
    geometry_of,
    linear_model,
    sphere_tasks,
    transitions,
    translations,
    uniform,
    wrapped,
)
from systems import randn
from torch.testing import assert_close

from hgm import lie
from hgm.adaptation import OnlineAdaptation, adapt
from hgm.adaptation.posterior import log_of


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


def test_carrying_points_out_of_the_data_is_no_explanation():
    model = bowl_model()
    geometry = translations((1.0, 0.3), (0.2, 1.0), model=model, far=5.0)
    truth = torch.tensor([[0.5, -0.3], [-0.4, 0.1]]).double()
    posterior = adapt(geometry, *transitions(geometry, truth, 12, NOISE))
    assert (posterior.coords - truth).abs().max() < 0.2
    assert (posterior.weights[:, 0] > 0.999).all()


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
