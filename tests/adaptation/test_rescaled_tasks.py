"""Tasks whose rewards have a unit and an origin of their own."""

import math

import pytest
import torch
from geometries import NOISE, bowl_model, circle, transitions, uniform, wrapped
from torch.testing import assert_close

from hgm.adaptation import OnlineAdaptation, adapt
from hgm.geometry import Geometry


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
