"""The phase of pooled refinement, on rewards known exactly."""

import math

import pytest
import torch

from hgm import lie
from hgm.differentials import FourierEstimator
from hgm.groups import GL, SO
from hgm.numerics.ranks import ALONE
from hgm.symmetry.pooling import PooledModel
from hgm.symmetry.refinement import Pool, Sharpen
from hgm.symmetry.samples import Seen
from hgm.symmetry.subgroup import LeftActions, Subgroup

ANGLES = torch.tensor([[0.9], [-1.4]]).double()
NOISE = 0.02


def randn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def reward(points):
    return torch.sin(1.3 * points[..., 0] - 0.4) + 0.5 * torch.cos(points[..., 1])


def setting(num, factors=(1.0, 1.0, 1.0)):
    """Samples of three tasks, their fitted models, and elements that start a little off."""
    group, points = SO(2).double(), randn(3, num, 2)
    elements = group.exp(torch.cat((torch.zeros(1, 1).double(), ANGLES)))
    values = reward(lie.act(torch.linalg.inv(elements), points)) + NOISE * randn(3, num, seed=1)
    values = torch.tensor(factors).double()[:, None] * values
    estimator = FourierEstimator(3, 2, 64)
    estimator.update(points, values)
    estimator.finish()
    every = torch.eye(1).double()
    subgroup = Subgroup(group, LeftActions(every, ANGLES + 0.05), fixed=True)
    return Seen(points, values), estimator, subgroup


def run(pool, samples):
    seen = []
    while not pool.done:
        pool.step(samples, ALONE)
        seen.append(pool.snapshot)
    return seen


@pytest.mark.parametrize("num", [400, 3000])
@torch.no_grad()
def test_it_refines_the_elements_and_decides_on_all_transitions(num, monkeypatch):
    samples, estimator, subgroup = setting(num)
    used = []
    pool = Pool(subgroup, subgroup.start, estimator, 8)
    step = PooledModel.step
    monkeypatch.setattr(
        PooledModel,
        "step",
        lambda self, points, *rest: used.append(points.shape[1]) or step(self, points, *rest),
    )
    seen = run(pool, samples)
    assert pool.accepted
    assert not pool.result.calibrated
    error = (pool.result.actions.view(2, 1) - ANGLES).abs()
    assert (error < math.radians(0.3)).all()
    assert len(seen) == pool.taken <= pool.num_steps
    assert seen[-1].loss == float(pool.result.spread)
    # Few of many transitions while elements still move, all of them in the end.
    assert used[0] == (400 if num == 400 else 1500)
    assert used[-1] == num


FACTORS = (1.0, 2.0, 0.5)


@torch.no_grad()
def test_rewards_of_another_scale_are_calibrated():
    samples, estimator, subgroup = setting(400, FACTORS)
    pool = Pool(subgroup, subgroup.start, estimator, 10, calibration="affine")
    run(pool, samples)
    assert pool.accepted
    assert pool.result.calibrated
    assert pool.result.calibration[0].tolist() == pytest.approx(FACTORS, rel=0.02)
    error = (pool.result.actions.view(2, 1) - ANGLES).abs()
    assert (error < math.radians(0.5)).all()


@torch.no_grad()
def test_rewards_of_another_scale_are_not_accepted_as_they_are():
    samples, estimator, subgroup = setting(400, FACTORS)
    pool = Pool(subgroup, subgroup.start, estimator, 10)
    run(pool, samples)
    assert not pool.accepted


def waves(points):
    return torch.sin(9 * points[..., 0]) + torch.cos(7 * points[..., 1] + points[..., 0])


def cusp(points):
    smooth = torch.sin(3 * points[..., 0]) + torch.cos(2 * points[..., 1])
    return smooth + torch.exp(-(points - 0.5).norm(dim=-1) / 0.2)


@pytest.mark.parametrize(("reward", "better"), [(waves, True), (cusp, False)])
@torch.no_grad()
def test_more_waves_are_taken_where_they_tell_the_elements_better(reward, better):
    group, points = GL(2).double(), randn(3, 200, 2)
    truth = ANGLES * group.vee(lie.so_generators(2)[0].double())
    elements = group.exp(torch.cat((torch.zeros_like(truth[:1]), truth)))
    values = reward(lie.act(torch.linalg.inv(elements), points))
    start = truth + 0.08 * randn(*truth.shape, seed=2)
    subgroup = Subgroup(group, LeftActions(torch.eye(4).double(), start), fixed=True)
    model = PooledModel(subgroup, start.flatten(), torch.full((3,), NOISE / 2).double())
    for _ in range(12):
        model.step(points, values)
    phase = Sharpen(model)
    run(phase, Seen(points, values))
    assert phase.model.residue < model.residue
    before, after = (
        (subgroup.elements(one.actions) - elements).norm() for one in (model, phase.model)
    )
    assert (after < before) == better
    assert phase.result is (phase.model if better else model)


@torch.no_grad()
def test_it_gives_up_where_no_one_model_will_explain_all_tasks():
    samples, estimator, subgroup = setting(400, (1.0, -1.0, 1.0))
    pool = Pool(subgroup, subgroup.start, estimator, 30)
    run(pool, samples)
    assert not pool.accepted
    assert pool.taken < 15
    pool = Pool(subgroup, subgroup.start, estimator, 30)
    pool.taken, pool._spreads = 9, [16.0, 8.0, 4.0]
    pool._spreads.append(2.0)  # half as much in every step: it will be there in time
    assert not pool.done
