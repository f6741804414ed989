"""Starts, derivatives and residuals of left actions, on rewards known exactly."""

import math

import pytest
import torch
from torch.func import grad, hessian, vmap
from torch.testing import assert_close

from hgm import lie
from hgm.differentials import DifferentialEstimator
from hgm.groups import GL, SO, Affine, Compact
from hgm.numerics.fourier import Jet
from hgm.numerics.gauss_newton import GaussNewton, Terms
from hgm.symmetry.alignment import (
    base_residuals,
    concatenate,
    draw_mixtures,
    draw_starts,
    draw_within,
    element_derivative,
    pair_residuals,
    residuals_among,
    score,
)
from hgm.symmetry.losses import INVARIANCES, differential_invariance
from hgm.symmetry.scaled import Spanned
from hgm.symmetry.subgroup import LeftActions, Subgroup


def randn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


class Exact(DifferentialEstimator):
    """Knows the rewards ``r_i(p) = r(L_i^{-1} p)`` and all their derivatives."""

    def __init__(self, reward, elements, variance=0.0):
        super().__init__(len(elements), 1)
        self.inverses = torch.linalg.inv(elements)
        self.reward, self.variance = reward, variance

    def update(self, points, rewards, ranks=None):
        return points.new_zeros(())

    @property
    def noise(self):
        return torch.ones(len(self.inverses))

    def jet(self, points, tasks):
        def task_reward(point, inverse):
            return self.reward(lie.act(inverse, point[None])[0])

        def every(derive):
            return vmap(vmap(derive, (0, None)))(points, self.inverses[tasks])

        value = every(task_reward)
        spread = torch.full_like(value, self.variance)
        return Jet(value, every(grad(task_reward)), every(hessian(task_reward)), spread, spread)


def bowl(point):
    n = len(point)
    stretch = torch.diag(torch.tensor([0.5, 1.5, 1.0]).double()[:n]) + 0.2
    offset = point - torch.tensor([0.8, -0.5, 0.3]).double()[:n]
    return -(offset @ stretch @ offset)


GROUPS = [GL(2), SO(2), SO(3), Affine(2), Compact(3)]


def groups():
    frozen = [group.double().requires_grad_(False) for group in GROUPS]
    return pytest.mark.parametrize("group", frozen, ids=repr)


# Starts.


@groups()
def test_starts_hold_the_identity_and_are_repeatable(group):
    root = torch.eye(group.dim_space).double()
    starts = draw_starts(group, root, 24, generator(3))
    assert starts.shape == (24, group.dim_algebra)
    assert_close(starts[0], torch.zeros(group.dim_algebra).double())
    assert len(starts.unique(dim=0)) == 24
    assert torch.equal(starts, draw_starts(group, root, 24, generator(3)))
    assert not torch.equal(starts, draw_starts(group, root, 24, generator(4)))


@pytest.mark.parametrize("seed", range(5))
def test_starts_in_the_plane_go_all_the_way_round(seed):
    group = SO(2).double()
    starts = group.exp(draw_starts(group, torch.eye(2).double(), 24, generator(seed)))
    angles = torch.atan2(starts[:, 1, 0], starts[:, 0, 0]).sort().values
    gaps = torch.cat((angles.diff(), angles[:1] + 2 * math.pi - angles[-1:]))
    assert gaps.max() < math.pi / 2


def test_starts_in_space_reach_far_from_any_element():
    group = SO(3).double()
    starts = group.exp(draw_starts(group, torch.eye(3).double(), 36, generator()))
    goals = group.exp(2 * randn(100, 3, seed=1))
    relative = torch.einsum("gji,sjk->gsik", goals, starts)
    cosine = (relative.diagonal(dim1=-2, dim2=-1).sum(-1) - 1) / 2
    # 100 degrees is within the basin; the mean of uniform draws is 126 degrees.
    assert cosine.amax(1).clamp(-1, 1).acos().max() < math.radians(100)


def test_three_in_four_starts_nearly_preserve_the_data_s_inner_product():
    root = torch.tensor([[2.0, 0.5], [0.5, 0.4]]).double()
    group = GL(2).double()
    starts = lie.hat(draw_starts(group, root, 40, generator()), group.generators)
    white = root @ starts @ torch.linalg.inv(root)
    symmetric = ((white + white.mT) / 2).norm(dim=(-2, -1))
    near = torch.arange(40) % 4 != 0
    assert (symmetric[near] < 0.6).all()
    assert symmetric[~near][1:].mean() > 0.6
    assert white[near].norm(dim=(-2, -1)).max() > 0.9 * math.pi * math.sqrt(2)


def test_starts_of_affine_maps_also_translate():
    group = Affine(2).double()
    starts = group.hat(draw_starts(group, torch.eye(2).double(), 24, generator()))
    assert (starts[1:, :2, 2].norm(dim=-1) > 0).all()
    # As far as the data go: an element may carry them to where they end.
    assert starts[1:, :2, 2].std() > 1
    assert_close(starts[:, 2], torch.zeros(24, 3).double())


def spanned(*generators):
    return Spanned(torch.stack(generators), len(generators[0]))


J = torch.tensor([[0.0, -1.0], [1.0, 0.0]]).double()
THRICE, ONE = torch.block_diag(J, 3 * J), torch.eye(4).double()


@pytest.mark.parametrize("mix", [0.0, 0.7])
def test_starts_within_a_group_go_half_a_turn_of_its_slowest_plane(mix):
    """However scalings are mixed into the basis, which go as far as a factor of about e."""
    group = spanned(THRICE + mix * ONE, ONE - mix * THRICE)
    starts = draw_within(group, torch.eye(4).double(), 16, generator())
    assert len(starts) == 3 * 16  # of each turn of the fast plane
    assert_close(starts[0], torch.zeros(2).double())
    elements = group.hat(starts)
    turn, growth = elements[:, 1, 0], elements[:, 0, 0]
    assert 0.9 * math.pi < turn.abs().max() < 1.6 * math.pi
    assert 0.3 < growth.abs().max() < 1.5
    gaps = torch.cat((turn, torch.tensor([-math.pi, math.pi]))).sort().values.diff()
    assert gaps.max() < 0.6


def test_starts_within_shifts_go_as_far_as_the_data():
    shift = torch.zeros(3, 3).double()
    shift[0, 2] = 1.0
    group = Spanned(shift[None], 2)
    starts = draw_within(group, torch.eye(2).double() / 5, 12, generator())
    assert 4 < starts.abs().max() <= 5
    starts = draw_within(group, torch.eye(2).double() / 5, 12, generator(), far=2.0)
    assert 8 < starts.abs().max() <= 10


def test_starts_within_a_shear_are_not_stretched():
    shear = torch.zeros(2, 2).double()
    shear[0, 1] = 1.0
    for amiss in (0.0, 0.01):
        group = Spanned((shear + amiss * J)[None], 2)
        starts = draw_within(group, torch.eye(2).double(), 24, generator())
        assert 0.5 < starts.abs().max() < 2


def test_starts_within_a_group_have_a_seed():
    group = spanned(THRICE)
    one, same, other = (
        draw_within(group, torch.eye(4).double(), 8, generator(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_starts_within_a_group_do_not_depend_on_its_basis_much():
    for seed in range(3):
        chart = torch.eye(4).double() + 0.2 * randn(4, 4, seed=seed)
        group = spanned(chart @ THRICE @ torch.linalg.inv(chart))
        starts = draw_within(group, torch.eye(4).double(), 16, generator())
        assert float(starts.abs().max()) == pytest.approx(math.pi, rel=0.1)


# Derivatives.


@groups()
@pytest.mark.parametrize("distance", [0.0, 1e-7, 1.0])
@pytest.mark.parametrize("batch", [(), (1,), (3, 2)])
def test_element_derivative_agrees_with_finite_differences(group, distance, batch):
    coords, step = distance * randn(*batch, group.dim_algebra), 1e-5
    found = element_derivative(group, coords)
    assert found.shape == (*coords.shape, group.dim_matrix, group.dim_matrix)
    for axis, move in enumerate(step * torch.eye(group.dim_algebra).double()):
        difference = (group.exp(coords + move) - group.exp(coords - move)) / (2 * step)
        assert_close(found[..., axis, :, :], difference, atol=1e-8, rtol=1e-8)


# Residuals.


def setting(group, num_tasks=3, num_points=12, scale=0.7):
    coords = scale * randn(num_tasks, group.dim_algebra, seed=2)
    coords[0] = 0.0
    estimator = Exact(bowl, group.exp(coords).detach())
    return coords[1:], estimator, randn(num_tasks, num_points, group.dim_space, seed=6)


@groups()
@pytest.mark.parametrize("loss", INVARIANCES.values(), ids=INVARIANCES)
def test_base_residuals_are_zero_at_the_truth_only(group, loss):
    truth, estimator, points = setting(group)
    residuals = base_residuals(group, estimator, loss, points)
    unknowns = torch.stack((truth, truth + 0.3, torch.zeros_like(truth)), 1)
    terms = residuals(unknowns, False)
    assert terms.residual.shape[:3] == (2, 3, 24)  # both ways
    assert terms.jacobian is None
    assert_close(terms.residual[:, 0], torch.zeros_like(terms.residual[:, 0]), atol=1e-9, rtol=0)
    assert (terms.residual[:, 1:].norm(dim=-1).mean(-1) > 0.02).all()


@groups()
@pytest.mark.parametrize("loss", INVARIANCES.values(), ids=INVARIANCES)
def test_base_residuals_have_the_derivative_they_say(group, loss):
    truth, estimator, points = setting(group)
    residuals = base_residuals(group, estimator, loss, points)
    unknowns = torch.stack((truth + 0.1, torch.zeros_like(truth)), 1)
    found, step = residuals(unknowns, True).jacobian, 1e-5
    for axis, move in enumerate(step * torch.eye(group.dim_algebra).double()):
        up, down = (residuals(unknowns + sign * move, False).residual for sign in (1, -1))
        difference = (up - down) / (2 * step)
        scale = float(found.abs().max())
        assert_close(found[..., axis, :], difference, rtol=0, atol=1e-7 * scale)


@groups()
@pytest.mark.parametrize("loss", INVARIANCES.values(), ids=INVARIANCES)
def test_residuals_among_all_are_zero_at_the_truth_only(group, loss):
    truth, estimator, points = setting(group)
    known = group.exp(torch.cat((torch.zeros_like(truth[:1]), truth))).detach()
    residuals = residuals_among(group, estimator, loss, points, known)
    unknowns = torch.stack((truth, truth + 0.3, torch.zeros_like(truth)), 1)
    terms = residuals(unknowns, False)
    assert terms.residual.shape[:3] == (2, 3, 36)  # from all tasks
    own = terms.variance[:, 0].unflatten(-1, (3, 12)).isinf().all(-1)
    assert torch.equal(own, torch.tensor([[False, True, False], [False, False, True]]))
    assert_close(terms.residual[:, 0], torch.zeros_like(terms.residual[:, 0]), atol=1e-9, rtol=0)
    assert (terms.residual[:, 1:].norm(dim=-1).mean(-1) > 0.02).all()


@groups()
def test_residuals_among_all_have_the_derivative_they_say(group):
    truth, estimator, points = setting(group, num_points=4)
    known = group.exp(torch.cat((torch.zeros_like(truth[:1]), truth + 0.2))).detach()
    residuals = residuals_among(group, estimator, differential_invariance, points, known)
    unknowns = torch.stack((truth + 0.1, torch.zeros_like(truth)), 1)
    terms, step = residuals(unknowns, True), 1e-5
    told = terms.variance.isfinite()[..., None]
    for axis, move in enumerate(step * torch.eye(group.dim_algebra).double()):
        up, down = (residuals(unknowns + sign * move, False).residual for sign in (1, -1))
        found = terms.jacobian[..., axis, :] * told
        scale = float(found.abs().max())
        assert_close(found, (up - down) / (2 * step), rtol=0, atol=1e-7 * scale)


def subgroup_of(group, truth, fixed):
    directions = torch.linalg.svd(truth).Vh[:2] if not fixed else torch.eye(group.dim_algebra)
    directions = directions.double()
    return Subgroup(group, LeftActions(directions, truth @ torch.linalg.pinv(directions)), fixed)


@groups()
@pytest.mark.parametrize("loss", INVARIANCES.values(), ids=INVARIANCES)
@pytest.mark.parametrize("fixed", [True, False])
def test_pair_residuals_are_zero_at_the_truth_only(group, loss, fixed):
    truth, estimator, points = setting(group)
    subgroup = subgroup_of(group, truth, fixed)
    residuals = pair_residuals(subgroup.elements, estimator, loss, points)
    terms = residuals(subgroup.start, False)
    assert len(terms.residual) == 3 * 3 * 12
    assert_close(terms.residual, torch.zeros_like(terms.residual), atol=1e-9, rtol=0)
    wrong = residuals(subgroup.start + 0.3 * randn(len(subgroup.start)), False).residual
    assert wrong.norm(dim=-1).mean() > 0.02


@groups()
@pytest.mark.parametrize("fixed", [True, False])
def test_pair_residuals_have_the_derivative_they_say(group, fixed):
    truth, estimator, points = setting(group, num_points=4)
    subgroup = subgroup_of(group, truth, fixed)
    residuals = pair_residuals(subgroup.elements, estimator, differential_invariance, points)
    unknowns, step = subgroup.start + 0.1, 1e-5
    found = residuals(unknowns, True).jacobian
    for axis, move in enumerate(step * torch.eye(len(unknowns)).double()):
        up, down = (residuals(unknowns + sign * move, False).residual for sign in (1, -1))
        scale = float(found.abs().max())
        assert_close(found[:, axis], (up - down) / (2 * step), rtol=0, atol=1e-7 * scale)


def test_pair_residuals_pair_every_task_with_every_other():
    group = SO(2).double()
    truth, estimator, points = setting(group)
    subgroup = subgroup_of(group, truth, True)
    residuals = pair_residuals(subgroup.elements, estimator, differential_invariance, points)
    wrong = subgroup.start.clone()
    wrong[1] += 0.5  # the element of task 2
    error = residuals(wrong, False).residual.norm(dim=-1).view(3, 3, 12).amax(-1) > 1e-9
    touched = torch.tensor([[0, 0, 1], [0, 0, 1], [1, 1, 0]]).bool()
    assert torch.equal(error, touched)


def test_pairs_are_solved_from_nearby_with_exact_jets():
    group = GL(2).double()
    turns = torch.tensor([0.5, 1.1, -0.8]).double()[:, None] * group.vee(
        lie.so_generators(2)[0].double()
    )
    elements = group.exp(torch.cat((torch.zeros(1, 4).double(), turns)))
    estimator, points = Exact(bowl, elements), randn(4, 20, 2)
    subgroup = Subgroup(group, LeftActions(torch.eye(4).double(), turns + 0.05 * randn(3, 4)), True)
    solver = GaussNewton(subgroup.start, 0.01, 1e-3)
    residuals = pair_residuals(subgroup.elements, estimator, differential_invariance, points)
    for _ in range(25):
        trial = solver.propose(residuals(solver.unknowns, True))
        solver.decide(residuals(trial, False))
    assert_close(subgroup.elements(solver.unknowns), elements, atol=1e-8, rtol=0)


def test_concatenate_keeps_the_order_and_drops_a_jacobian_that_is_missing():
    one = Terms(randn(2, 3, 1), randn(2, 3).abs(), randn(2, 3, 4, 1))
    two = Terms(randn(2, 5, 1), randn(2, 5).abs(), randn(2, 5, 4, 1))
    both = concatenate(one, two)
    for field, first, second in zip(both, one, two, strict=True):
        assert torch.equal(field[:, :3], first)
        assert torch.equal(field[:, 3:], second)
    assert concatenate(one, two._replace(jacobian=None)).jacobian is None


def test_score_prefers_predictions_to_ignorance():
    right = Terms(0.05 * torch.ones(1, 9, 2).double(), torch.full((1, 9), 1e-4).double(), None)
    lost = Terms(torch.ones(1, 9, 2).double(), torch.full((1, 9), 1e6).double(), None)
    wrong = Terms(torch.ones(1, 9, 2).double(), torch.full((1, 9), 1e-4).double(), None)
    scores = [float(score(terms, 0.1)) for terms in (right, lost, wrong)]
    assert scores[0] < scores[2] < scores[1]
    assert scores[0] == pytest.approx(math.log(1e-4 + 0.01 + 2 * 0.05**2))
    assert scores[1] == pytest.approx(math.log(1 + 2))


def test_most_starts_are_turns_by_angles_all_the_way_round():
    group = GL(3).double()
    starts = group.hat(draw_starts(group, torch.eye(3).double(), 32, generator(5)))
    turns = (starts - starts.mT)[1:] / 2
    angles = torch.linspace(-1, 1, 33)[2:].double() * math.pi
    evenly = torch.arange(1, 32) % 4 != 0  # the others are small and random
    length = turns.norm(dim=(1, 2))[evenly]
    assert_close(length, math.sqrt(2) * angles.abs()[evenly], rtol=0, atol=0.4)


def test_mixtures_are_along_what_elements_share():
    """On a line, all are on it; half of them are along one element alone."""
    line = torch.tensor([[0.5], [-1.0], [2.0]]).double() * randn(1, 6)
    starts = draw_mixtures(line, 40, torch.Generator().manual_seed(0))
    assert starts.shape == (40, 6)
    assert_close(starts, (starts @ line[0])[:, None] * line[0] / line[0].square().sum())
    free = randn(5, 6)
    starts = draw_mixtures(free, 40, torch.Generator().manual_seed(0))
    cosines = torch.nn.functional.normalize(starts) @ torch.nn.functional.normalize(free).mT
    along = cosines.abs().amax(1) > 1 - 1e-9
    assert along.sum() >= 20
    assert (starts.norm(dim=1) < 4 * free.norm(dim=1).max()).all()
