"""Steps of Gauss-Newton: derivatives along the group, and fits that share nothing."""

import math
from dataclasses import replace

import pytest
import torch
from geometries import (
    NOISE,
    SPACE,
    bowl_model,
    circle,
    geometry_of,
    linear_model,
    transitions,
    translations,
    uniform,
)
from systems import randn
from torch.testing import assert_close

from hgm.adaptation import OnlineAdaptation
from hgm.adaptation.fitting import Fitting
from hgm.adaptation.observations import Observations


def starts(fitting, seen, coords):
    row = torch.arange(len(coords))
    # Cloned, since a fit replaces them in place.
    return fitting.sums(row, coords.clone(), torch.zeros(len(coords), 2).double(), seen)[0]


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
