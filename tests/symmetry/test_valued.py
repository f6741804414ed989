"""Elements by values of rewards, in groups of few dimensions."""

import pytest
import torch
from systems import randn
from torch.testing import assert_close

from hgm import lie
from hgm.differentials import FourierEstimator
from hgm.groups import Affine
from hgm.numerics.ranks import ALONE
from hgm.symmetry import SearchSteps
from hgm.symmetry.findings import Problem
from hgm.symmetry.kept import Kept
from hgm.symmetry.losses import differential_invariance, functional_invariance
from hgm.symmetry.phases import FitRewards
from hgm.symmetry.samples import Seen
from hgm.symmetry.subgroup import LeftActions, Subgroup
from hgm.symmetry.valued import free_elements, settled_by_values, values_agree
from hgm.symmetry.within import Within

MOTIONS = torch.zeros(3, 3, 3).double()
MOTIONS[0, 0, 2] = MOTIONS[1, 1, 2] = 1.0
MOTIONS[2, :2, :2] = torch.tensor([[0.0, -1.0], [1.0, 0.0]])
PLACES = [[0, 0, 0], [0.9, -0.4, 2.4], [-0.5, 0.8, -1.0], [0.3, 0.7, -2.2], [-0.8, -0.6, 0.7]]
PLACES = torch.tensor(PLACES).double()
USUAL = SearchSteps()


def hills(points):
    """Two hills of different heights, which no rigid motion leaves alone."""
    first, second = (points - torch.tensor(top).double() for top in ([0.6, 0.0], [-0.5, 0.7]))
    return torch.exp(-0.8 * first.square().sum(-1)) + 0.6 * torch.exp(
        -1.2 * second.square().sum(-1)
    )


def prepared(seen, kept, steps):
    """A search in the affine group of the plane, and how its stages are run."""
    estimator = FourierEstimator(5, 2)
    group = Affine(2).double()
    problem = Problem(lambda samples: samples, group, estimator, torch.arange(5), True)
    kept = Kept(torch.zeros(6, 6).double(), kept)
    within = Within(problem, None, kept, differential_invariance, steps, 0)

    def done(stage):
        with torch.no_grad():
            while True:
                try:
                    phase = next(stage)
                except StopIteration as end:
                    return end.value
                while not phase.done:
                    phase.step(seen, ALONE)
                    phase.end_pass(ALONE)

    return within, done


def found(own_maps, steps=USUAL):
    """Elements ``(4, 3, 3)`` that are found, the fits, and how to run more."""
    points = 1.2 * randn(5, 1500, 2)
    back = torch.linalg.inv(lie.exp(lie.hat(PLACES, MOTIONS)))
    rewards = hills(lie.act(back, points))
    if own_maps:
        rewards = rewards ** torch.tensor([1.0, 0.3, 3.0, 0.5, 2.0]).double()[:, None]
    seen = Seen(points, rewards)
    within, done = prepared(seen, lie.vee(MOTIONS, Affine(2).double().generators), steps)
    root = done(within.run(FitRewards(within.estimator)))
    inside, prior = within.spanned(within.kept), within.prior_in(within.kept)
    free, alike = done(free_elements(within, inside, prior, root))
    return inside.exp(free.coords), free, alike, lambda stage: done(stage(within, prior))


def missed(elements):
    truth = lie.exp(lie.hat(PLACES[1:], MOTIONS))
    return torch.rad2deg(lie.log(elements @ torch.linalg.inv(truth)).norm(dim=(-2, -1)) / 2**0.5)


def test_rigid_motions_are_found_by_values():
    elements, free, alike, run = found(own_maps=False)
    assert alike is not None
    assert missed(elements).max() < 1
    assert run(lambda within, prior: values_agree(within, free, alike, prior))


def test_where_values_are_not_comparable_gradients_decide():
    elements, _, alike, _ = found(own_maps=True)
    assert alike is None
    assert missed(elements).max() < 20


def test_a_single_point_has_no_deviation_and_two_are_taken():
    elements, *_ = found(False, SearchSteps(num_points=1, start_steps=2, pair_steps=2))
    assert elements.isfinite().all()


def test_elements_that_are_elsewhere_do_not_agree_in_values():
    _, free, alike, run = found(own_maps=False)
    group = free.subgroup.group
    few = Subgroup(group, LeftActions(torch.eye(3).double()[:2], free.coords[:, :2] + 1.5))
    moved = free._replace(subgroup=few, unknowns=few.start)
    assert run(lambda within, prior: values_agree(within, moved, alike, prior)) is None


def test_all_directions_hold_the_elements_that_values_have_found():
    """Wherever gradients led."""
    _, free, alike, run = found(own_maps=False)
    moved = free._replace(unknowns=free.unknowns + 1.5)
    again = run(lambda within, prior: values_agree(within, moved, alike, prior))
    assert_close(again.coords, alike.coords, atol=0.02, rtol=0)


def corners(points):
    """A peak with straight sides: directions of gradients say next to nothing of its size."""
    return -(points[..., 0] - 0.3).abs() - 0.6 * (points[..., 1] + 0.1).abs()


@pytest.mark.parametrize("comparable", [True, False])
def test_what_has_corners_is_found_by_values(comparable):
    """Scales and shifts, up to what the corners themselves do not tell."""
    coords = torch.tensor([[0.5, 0.8], [0.3, -0.5], [-0.4, 0.9], [-0.2, -0.9]]).double()
    basis = torch.zeros(2, 3, 3).double()
    basis[0, [0, 1], [0, 1]] = basis[1, [0, 1], 2] = 1.0
    truth = torch.cat((torch.eye(3).double()[None], lie.exp(lie.hat(coords, basis))))
    points = 1.2 * randn(5, 1500, 2)
    rewards = corners(lie.act(torch.linalg.inv(truth), points))
    if not comparable:
        rewards = -((-rewards) ** torch.tensor([1.0, 0.3, 3.0, 0.5, 2.0]).double()[:, None])
    within, done = prepared(Seen(points, rewards), torch.zeros(0, 6).double(), USUAL)
    root = done(within.run(FitRewards(within.estimator)))
    found = done(settled_by_values(within, root))
    assert (found is not None) == comparable
    if not comparable:
        return
    free, alike = found

    def missed_by(fit):
        carried = lie.act(within.group.exp(fit.coords), points[0])
        values = corners(lie.act(torch.linalg.inv(truth[1:]), carried))
        return (values - rewards[0]).square().mean(-1).sqrt() / rewards[0].std()

    assert missed_by(alike).max() < 0.05
    assert missed_by(alike).max() < missed_by(free).max() < 0.5  # gradients move them away again


def test_where_values_were_searched_they_are_not_looked_for_again():
    within, done = prepared(Seen(randn(5, 50, 2), randn(5, 50)), torch.zeros(0, 6).double(), USUAL)
    within.invariance = functional_invariance
    assert done(settled_by_values(within, None)) is None
