"""Adaptation step by step is that of all transitions at once; its options."""

import math

import pytest
import torch
from geometries import NOISE, bowl_model, circle, sphere_tasks, transitions, uniform, wrapped
from torch.testing import assert_close

from hgm.adaptation import OnlineAdaptation, adapt


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


def test_modes_that_meet_in_one_step_are_one():
    geometry = circle(bowl_model())
    points, rewards = transitions(geometry, torch.tensor([[0.4]]).double(), 24, NOISE)
    online = OnlineAdaptation(geometry, 1, False)
    online.observe(points, rewards)
    best = online.posterior
    fitting, one, seen = online._fitting, online._modes.at([0, 0]), online._seen
    apart = best.coords + torch.tensor([[-1.2], [1.2]]).double() * best.deviation
    online._modes, _, _ = fitting.sums(one.row, apart, one.extra, seen)
    online.observe(points[:, 0], rewards[:, 0], torch.tensor([False]))
    assert len(online._modes.row) == 1
    assert_close(online.posterior.coords, best.coords, atol=0.1 * float(best.deviation), rtol=0)
