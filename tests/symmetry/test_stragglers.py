"""A task in a wrong basin, and the place that all others tell."""

import pytest
import torch

from hgm import lie
from hgm.differentials import FourierEstimator
from hgm.groups import GL, SO
from hgm.numerics.ranks import ALONE
from hgm.symmetry.losses import differential_invariance
from hgm.symmetry.phases import Fit
from hgm.symmetry.samples import Seen
from hgm.symmetry.stragglers import Straggler
from hgm.symmetry.subgroup import LeftActions, Subgroup

ANGLES = torch.tensor([[0.0], [0.9], [-1.4], [2.1]]).double()


def randn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def reward(points):
    return torch.sin(1.3 * points[..., 0] - 0.4) + 0.5 * torch.cos(points[..., 1])


@pytest.fixture(scope="module")
def setting():
    group, points = SO(2).double(), randn(4, 500, 2)
    values = reward(lie.act(torch.linalg.inv(group.exp(ANGLES)), points))
    estimator = FourierEstimator(4, 2, 96)
    estimator.update(points, values)
    estimator.finish()
    return group, Seen(points, values), estimator


@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize("off", [None, 0, 2])
def test_the_one_task_that_is_in_a_wrong_place_is_moved(setting, off, fixed):
    group, samples, estimator = setting
    angles = ANGLES.clone()
    if off is not None:
        angles[off] += 2.5
    start = angles[1:] - angles[0]
    actions = LeftActions(torch.eye(1).double(), start)
    subgroup = Subgroup(group, actions, fixed)
    unknown = torch.eye(len(subgroup.start)).double()
    fit = Fit(subgroup, subgroup.start, unknown, unknown, 1.0)
    phase = Straggler(fit, group.generators, estimator, differential_invariance)
    with torch.no_grad():
        phase.step(samples, ALONE)
    assert phase.done
    if off is None:
        assert phase.result is None
        return
    found = phase.result.elements(phase.result.start)
    error = torch.linalg.matrix_norm(found - group.exp(ANGLES)) / 2**0.5
    assert (error < 0.15).all()


@pytest.mark.parametrize("far", [-350.0, -800.0])
def test_elements_beyond_all_numbers_are_no_error(setting, far):
    """What is no symmetry may lead anywhere."""
    _, samples, estimator = setting
    group = GL(2).double()
    growth = torch.tensor([[1.0, 0.0, 0.0, 0.0]]).double()
    actions = LeftActions(growth, torch.tensor([[300.0], [-300.0], [far]]).double())
    subgroup = Subgroup(group, actions)
    unknown = torch.eye(len(subgroup.start)).double()
    fit = Fit(subgroup, subgroup.start, unknown, unknown, 1.0)
    phase = Straggler(fit, group.generators[:1], estimator, differential_invariance)
    with torch.no_grad():
        phase.step(samples, ALONE)
        places = group.exp(torch.stack((0 * growth[0], 1000 * growth[0])))
        scores = phase._scores(group.exp(0 * growth).repeat(4, 1, 1), 2, places, samples.points)
    assert phase.result is None or phase.result.start.isfinite().all()
    assert scores.isfinite().tolist() == [True, False]
    assert not scores.isnan().any()  # such a place loses against all others
