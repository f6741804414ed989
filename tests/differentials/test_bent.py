"""Reward differentials in coordinates whose long tails are bent."""

import torch
from systems import randn
from torch.func import jacfwd, vmap
from torch.testing import assert_close

from hgm.differentials import FourierEstimator
from hgm.differentials.bent import Bent
from hgm.numerics.tails import long_tails
from hgm.symmetry.tails import worth_bending

POINTS = randn(2, 800, 2).exp()
TASKS = torch.arange(2)


def rewards(points):
    return -(points.log() - torch.tensor([[0.5], [-0.3]]).double()[..., None]).square().sum(-1)


def fitted(estimator, points=POINTS):
    estimator.update(points, rewards(points))
    estimator.finish()
    return estimator


def bent():
    return Bent(FourierEstimator(2, 2), long_tails(POINTS.flatten(0, 1)))


def test_derivatives_are_those_of_the_values():
    found, points = fitted(bent()), POINTS[:, :5]

    def value(point):
        return found.jet(point[None, None].expand(2, 1, -1), TASKS).value[:, 0]

    jet = found.jet(points, TASKS)
    for task in TASKS:
        gradient = vmap(jacfwd(value))(points[task])[:, task]
        hessian = vmap(jacfwd(jacfwd(value)))(points[task])[:, task]
        assert_close(jet.gradient[task], gradient)
        assert_close(jet.hessian[task], hessian)
    rough = found.rough_jet(points, TASKS)
    assert_close(rough.gradient, jet.gradient, atol=1e-3, rtol=1e-3)


def test_what_spans_decades_is_described_better():
    plain, other = fitted(FourierEstimator(2, 2)), fitted(bent())
    assert (other.noise < 0.1 * plain.noise).all()
    truth = -2 * (POINTS.log() - torch.tensor([[0.5], [-0.3]]).double()[..., None]) / POINTS
    errors = [(one.jet(POINTS, TASKS).gradient - truth).norm() for one in (plain, other)]
    assert errors[1] < 0.1 * errors[0]


def test_other_tasks_have_an_estimator_of_the_same_kind():
    other = bent().resized(5, 2)
    assert isinstance(other, Bent)
    assert other.num_tasks == 5
    assert bent().resized(5, 3) is None


def test_rewards_decide_whether_it_is_worth_it():
    assert worth_bending(POINTS, rewards(POINTS)) is not None
    noisy = rewards(POINTS) + 0.3 * rewards(POINTS).std() * randn(*POINTS.shape[:-1], seed=9)
    assert worth_bending(POINTS, noisy) is not None  # noise is left in either coordinates
    assert worth_bending(POINTS, torch.sin(2 * POINTS).sum(-1)) is None
    assert worth_bending(randn(2, 800, 2), rewards(randn(2, 800, 2).exp())) is None


def test_only_what_rewards_need_is_bent():
    """Both have tails, and rewards are waves of the second as it is."""
    level = -(POINTS[..., 0].log() - 0.3).square()
    found = worth_bending(POINTS, level + torch.sin(POINTS[..., 1]))
    some = POINTS[0, :50]
    assert (found.slope(some)[:, 0] < 0.5).any()
    assert_close(found.slope(some)[:, 1], torch.ones(50).double())
