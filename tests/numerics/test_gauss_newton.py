"""Gauss-Newton against problems whose solutions are known."""

import threading

import pytest
import torch
from torch.testing import assert_close

from hgm.numerics.gauss_newton import (
    GaussNewton,
    Terms,
    damped_step,
    misfit,
    next_damping,
    normal_equations,
    shorten,
    trust,
)
from hgm.numerics.ranks import ALONE, Ranks


def randn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def decay(times, values, variance=0.0):
    """Residuals ``a exp(-b t) - y`` of unknowns ``(..., 2)``."""

    def residuals(unknowns, derive):
        a, b = unknowns[..., :1], unknowns[..., 1:]
        wave = torch.exp(-b * times)
        residual = (a * wave - values)[..., None]
        spread = torch.zeros_like(residual[..., 0]) + variance
        jacobian = torch.stack((wave, -a * times * wave), -1)[..., None] if derive else None
        return Terms(residual, spread, jacobian)

    return residuals


def step(solver, residuals, ranks=ALONE):
    trial = solver.propose(residuals(solver.unknowns, True), ranks)
    return solver.decide(residuals(trial, False), ranks)


def run(solver, residuals, num, ranks=ALONE):
    for _ in range(num):
        loss = step(solver, residuals, ranks)
    return loss


TIMES = torch.linspace(0, 3, 25).double()
TRUTH = torch.tensor([[2.0, 0.7], [-1.0, 1.5], [0.5, 0.1], [3.0, 3.0]]).double()
VALUES = TRUTH[:, :1] * torch.exp(-TRUTH[:, 1:] * TIMES)


def test_solves_a_batch_of_problems():
    solver = GaussNewton(torch.ones(4, 2).double(), floor=0.3)
    loss = run(solver, decay(TIMES, VALUES), 60)
    assert_close(solver.unknowns, TRUTH, atol=1e-8, rtol=0)
    assert_close(loss, torch.zeros(4).double(), atol=1e-12, rtol=0)


def test_solves_one_problem_without_a_batch():
    solver = GaussNewton(torch.ones(2).double(), floor=0.3)
    run(solver, decay(TIMES, VALUES[0]), 60)
    assert_close(solver.unknowns, TRUTH[0], atol=1e-8, rtol=0)


def test_solves_the_valley_of_rosenbrock():
    def residuals(unknowns, derive):
        x, y = unknowns.unbind(-1)
        residual = torch.stack((10 * (y - x**2), 1 - x), -1)[..., None]
        zero, one = torch.zeros_like(x), torch.ones_like(x)
        rows = (torch.stack((-20 * x, 10 * one), -1), torch.stack((-one, zero), -1))
        return Terms(residual, torch.zeros_like(residual[..., 0]), torch.stack(rows, -2)[..., None])

    solver = GaussNewton(torch.tensor([[-1.2, 1.0], [2.0, -1.0]]).double(), floor=10.0)
    run(solver, residuals, 150)
    assert_close(solver.unknowns, torch.ones(2, 2).double(), atol=1e-8, rtol=0)


def test_several_residuals_of_an_observation_count_together():
    matrix, truth = randn(6, 3, 2), torch.tensor([0.4, -0.3]).double()
    values = matrix @ truth

    def residuals(unknowns, derive):
        residual = torch.einsum("kqa,...a->...kq", matrix, unknowns) - values
        jacobian = matrix.mT.expand(*unknowns.shape[:-1], 6, 2, 3)
        return Terms(residual, torch.zeros_like(residual[..., 0]), jacobian)

    solver = GaussNewton(torch.zeros(2, 2).double(), floor=1.0)
    first = step(solver, residuals)
    expected = torch.log1p(values.square().sum(-1)).mean()
    assert_close(first, expected.expand(2))
    run(solver, residuals, 40)
    assert_close(solver.unknowns, truth.expand(2, 2), atol=1e-8, rtol=0)


def test_ignores_observations_of_huge_variance():
    values, variance = VALUES.clone(), torch.zeros_like(VALUES)
    values[:, ::3] += 5 * randn(4, 9)
    variance[:, ::3] = 1e14
    solver = GaussNewton(torch.ones(4, 2).double(), floor=0.3)
    run(solver, decay(TIMES, values, variance), 80)
    assert_close(solver.unknowns, TRUTH, atol=1e-8, rtol=0)


def test_a_few_gross_errors_hardly_pull():
    values = VALUES.clone()
    values[:, ::6] += 10.0
    solver = GaussNewton(TRUTH + 0.1, floor=0.01)
    run(solver, decay(TIMES, values), 100)
    assert_close(solver.unknowns, TRUTH, atol=1e-4, rtol=0)


def gauge(unknowns, derive):
    """Only the sum of the first two unknowns matters; the third not at all."""
    residual = (unknowns[..., :1] + unknowns[..., 1:2] - 1.0)[..., None, :]
    row = torch.tensor([1.0, 1.0, 0.0]).double()[:, None]
    jacobian = row.expand(*unknowns.shape[:-1], 1, 3, 1)
    return Terms(residual, torch.zeros_like(residual[..., 0]), jacobian)


def test_gauge_directions_stay_where_they_are():
    start = torch.tensor([[0.3, -0.4, 5.0], [2.0, 1.0, -7.0]]).double()
    solver = GaussNewton(start, floor=1.0)
    run(solver, gauge, 60)
    assert_close(solver.unknowns[:, :2].sum(1), torch.ones(2).double(), atol=1e-8, rtol=0)
    assert_close(solver.unknowns[:, 0] - solver.unknowns[:, 1], start[:, 0] - start[:, 1])
    assert torch.equal(solver.unknowns[:, 2], start[:, 2])


def test_covariance_of_gauge_directions_does_not_blow_up():
    solver = GaussNewton(torch.tensor([0.5, 0.5, 2.0]).double(), floor=0.1)
    step(solver, gauge)
    assert_close(solver.covariance()[2], torch.zeros(3).double(), atol=1e-9, rtol=0)
    # The sum has variance 10 floor^2, on (1, 1) / sqrt 2.
    one = torch.tensor([1.0, 1.0, 0.0]).double()
    assert_close(one @ solver.covariance() @ one, torch.tensor(10 * 0.01).double())


def test_covariance_counts_ten_observations_as_one():
    matrix = randn(30, 2)

    def residuals(unknowns, derive):
        residual = (unknowns @ matrix.mT)[..., None]
        return Terms(residual, torch.full_like(residual[..., 0], 0.03), matrix[..., None])

    solver = GaussNewton(torch.zeros(2).double(), floor=0.1)
    step(solver, residuals)
    assert_close(solver.covariance(), 10 * 0.04 * torch.linalg.inv(matrix.mT @ matrix))


@pytest.mark.parametrize("seed", range(5))
def test_a_step_never_increases_the_loss_of_frozen_variances(seed):
    matrix, centre = randn(20, 3, seed=seed), randn(3, seed=seed + 50)

    def residuals(unknowns, derive):
        angle = 4 * unknowns @ matrix.mT
        residual = (angle.sin() + 0.3 * angle - (4 * centre @ matrix.mT).sin())[..., None]
        slope = 4 * (angle.cos() + 0.3)[..., None] * matrix
        return Terms(residual, 0.1 * angle.square(), slope[..., None])

    solver = GaussNewton(2 * randn(6, 3, seed=seed + 9), floor=0.1)
    for _ in range(25):
        before, place = residuals(solver.unknowns, False), solver.unknowns
        damping = solver.damping
        step(solver, residuals)
        after = residuals(solver.unknowns, False)
        spread = before.variance + 0.01
        old, new = (
            torch.log1p(terms.residual.square().sum(-1) / spread).sum(-1)
            for terms in (before, after)
        )
        assert (new <= old).all()
        moved = (solver.unknowns != place).any(-1)
        assert ((solver.unknowns - place).norm(dim=-1) <= 0.7 + 1e-12).all()
        changed = torch.where(moved, 0.2 * damping, 5 * damping).clamp(1e-8, 1e8)
        assert_close(solver.damping, changed)


def test_losing_steps_are_undone_and_damped():
    def lying(unknowns, derive):  # its Jacobian points the wrong way
        residual = unknowns[..., None]
        return Terms(residual, torch.zeros_like(unknowns), -torch.ones(2, 1, 1, 1).double())

    start = torch.ones(2, 1).double()
    solver = GaussNewton(start, floor=1.0, damping=1e-2)
    step(solver, lying)
    assert torch.equal(solver.unknowns, start)
    assert_close(solver.damping, torch.full((2,), 5e-2).double())


def test_not_finite_problems_leave_the_others_alone():
    def residuals(unknowns, derive):
        terms = decay(TIMES, VALUES)(unknowns, derive)
        broken = torch.tensor([False, True, False, False])[:, None]
        return terms._replace(residual=terms.residual.where(~broken[..., None], torch.nan))

    solver = GaussNewton(torch.ones(4, 2).double(), floor=0.3)
    run(solver, residuals, 60)
    good = [0, 2, 3]
    assert_close(solver.unknowns[good], TRUTH[good], atol=1e-8, rtol=0)
    assert_close(solver.unknowns[1], torch.ones(2).double())


def test_two_ranks_with_half_of_the_data_take_the_steps_of_one():
    values = VALUES + 0.1 * randn(4, 25)
    alone = GaussNewton(torch.ones(4, 2).double(), floor=0.3)
    alone_loss = run(alone, decay(TIMES, values), 6)
    barrier, slots, results = threading.Barrier(2, timeout=60), [None, None], [None, None]

    def work(rank):
        def total(value):
            slots[rank] = value
            barrier.wait()
            result = slots[0] + slots[1]
            barrier.wait()
            return result

        share = slice(0, 9) if rank == 0 else slice(9, 25)
        solver = GaussNewton(torch.ones(4, 2).double(), floor=0.3)
        residuals = decay(TIMES[share], values[:, share])
        results[rank] = (run(solver, residuals, 6, Ranks(sum=total)), solver)

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for loss, solver in results:
        assert_close(loss, alone_loss)
        assert_close(solver.unknowns, alone.unknowns)
        assert_close(solver.damping, alone.damping)
        assert_close(solver.covariance(), alone.covariance())


# The parts.


@pytest.mark.parametrize("tail", [1.0, 9.0])
def test_trust_is_twice_the_derivative_of_the_misfit_in_the_square(tail):
    square, variance = 10 * randn(50).abs(), randn(50, seed=1).abs() + 0.1
    square.requires_grad_()
    (slope,) = torch.autograd.grad(misfit(square, variance, tail).sum(), square)
    assert_close(trust(square, variance, tail), 2 * slope)


def test_misfit_is_gaussian_near_zero_and_cauchy_far_away():
    variance = torch.tensor(0.25).double()
    near, far = torch.tensor(1e-6).double(), torch.tensor(1e12).double()
    assert_close(misfit(near, variance, 9.0), near / (2 * variance), rtol=1e-5, atol=0)
    assert_close(misfit(far, variance, 9.0), 4.5 * torch.log(far / (9 * variance)))
    # With infinitely many degrees of freedom, Gaussian everywhere.
    assert_close(misfit(torch.tensor(5.0).double(), variance, 1e9), 10 * torch.ones(()).double())


@pytest.mark.parametrize("batch", [(), (1,), (3, 2)])
def test_normal_equations_are_weighted_sums(batch):
    jacobian, targets = randn(*batch, 7, 3), randn(*batch, 7, 2, seed=1)
    weight = randn(*batch, 7, seed=2).abs()
    normal, products = normal_equations(jacobian, weight, targets)
    assert_close(normal, torch.einsum("...ka,...k,...kb->...ab", jacobian, weight, jacobian))
    assert_close(products, torch.einsum("...ka,...k,...kq->...aq", jacobian, weight, targets))


def test_damped_step_is_newton_s_without_damping_and_short_with_much_of_it():
    root, slope = randn(4, 3, 3), randn(4, 3, seed=1)
    normal = root @ root.mT + 0.1 * torch.eye(3)
    newton = -torch.linalg.solve(normal, slope)
    assert_close(damped_step(normal, slope, 0.0), newton)
    strong = damped_step(normal, slope, 1e6)
    assert_close(strong, -slope / (1e6 * normal.diagonal(dim1=1, dim2=2)), rtol=1e-4, atol=0)
    each = damped_step(normal, slope, torch.tensor([0.0, 1e6, 0.0, 1e6]).double())
    assert_close(each, torch.stack((newton[0], strong[1], newton[2], strong[3])))


def test_damped_step_stays_where_nothing_depends_on_and_where_nothing_is_finite():
    normal = torch.zeros(3, 2, 2).double()
    normal[:2, 0, 0], normal[2] = 2.0, torch.nan
    slope = torch.tensor([[1.0, 0.0], [1.0, 1e-12], [1.0, 1.0]]).double()
    step = damped_step(normal, slope, 0.0, 1e-6)
    assert_close(step, torch.tensor([[-0.5, 0.0]] * 2 + [[0.0, 0.0]]).double(), atol=1e-5, rtol=0)
    assert (step[2] == 0).all()


def test_shorten_keeps_directions_and_what_is_short_enough():
    step = torch.tensor([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]]).double()
    found = shorten(step, step.norm(dim=-1), 1.0)
    assert_close(found, torch.tensor([[0.6, 0.8], [0.3, 0.4], [0.0, 0.0]]).double())


def test_damping_follows_success_within_bounds():
    damping = torch.tensor([1.0, 1.0, 1e-8, 1e8]).double()
    found = next_damping(damping, torch.tensor([True, False, True, False]))
    assert_close(found, torch.tensor([0.2, 5.0, 1e-8, 1e8]).double())


def test_proposals_need_a_jacobian():
    solver = GaussNewton(torch.ones(4, 2).double(), floor=0.3)
    with pytest.raises(ValueError, match="`terms` with a Jacobian, got None"):
        solver.propose(decay(TIMES, VALUES)(solver.unknowns, False))


def test_kept_problems_go_on_as_if_alone():
    values = VALUES[:2, None]  # two batches of three starts
    starts = torch.tensor([[1.0, 1.0], [0.3, 2.0], [2.0, 0.2]]).double().expand(2, 3, 2)
    index = torch.tensor([[2, 0], [1, 2]])
    solver = GaussNewton(starts, floor=0.3)
    solver.damping = solver.damping * torch.tensor([1.0, 2.0, 4.0]).double()
    run(solver, decay(TIMES, values), 3)
    moved, damping = solver.unknowns, solver.damping
    solver.keep(index)
    rows = torch.tensor([[0], [1]])
    assert torch.equal(solver.unknowns, moved[rows, index])
    assert torch.equal(solver.damping, damping[rows, index])
    run(solver, decay(TIMES, values), 60)
    assert_close(solver.unknowns, TRUTH[:2, None].expand(2, 2, 2), atol=1e-8, rtol=0)


def test_gain_is_what_the_mean_loss_lost():
    solver = GaussNewton(torch.ones(4, 2).double(), floor=0.3)
    residuals = decay(TIMES, VALUES)
    before = step(solver, residuals)
    gain = solver.gain
    after = step(solver, residuals)
    assert gain.isfinite().all()
    assert_close(gain, before - after)


def test_floor_damps_every_direction_by_the_strongest():
    normal, slope = torch.diag(torch.tensor([100.0, 4.0, 0.0]).double()), torch.ones(3).double()
    found = damped_step(normal, slope, 0.5, 0.01)
    assert_close(found, -1 / torch.tensor([151.0, 7.0, 1.0]).double())


@pytest.mark.parametrize("wrong", [float("inf"), float("-inf"), float("nan")])
def test_no_step_along_what_is_not_finite(wrong):
    slope = torch.tensor([[wrong, 1.0], [1.0, 1.0]]).double()
    normal = torch.diag_embed(torch.tensor([[1.0, 2.0]]).double()).expand(2, 2, 2)
    found = damped_step(normal, slope, 0.0)
    assert found[0, 0] == 0
    assert_close(found[1], torch.tensor([-1.0, -0.5]).double())


def straight(rows, values):
    """Linear observations ``rows @ u - values`` of tiny misfit, relative to a floor of 1."""

    def residuals(unknowns, derive):
        residual = (unknowns @ rows.mT - values)[..., None]
        jacobian = rows[..., None].expand(*unknowns.shape[:-1], *rows.shape, 1) if derive else None
        return Terms(residual, torch.zeros_like(residual[..., 0]), jacobian)

    return residuals


def test_a_penalty_counts_as_observations_of_unit_variance():
    rows, values = randn(30, 3), 1e-4 * randn(30, seed=1)
    known, target = randn(4, 3, seed=2), 1e-4 * randn(4, seed=3)

    def penalty(unknowns):
        return unknowns @ known.mT - target, known.expand(*unknowns.shape[:-1], 4, 3)

    solver = GaussNewton(torch.zeros(2, 3).double(), floor=1.0, penalty=penalty)
    run(solver, straight(rows, values), 30)
    both, wanted = torch.cat((rows, known)), torch.cat((values, target))
    expected = torch.linalg.lstsq(both, wanted[:, None]).solution[:, 0]
    assert_close(solver.unknowns, expected.expand(2, 3), atol=1e-9, rtol=0)
    assert_close(solver.normal[0], both.mT @ both, rtol=1e-6, atol=1e-6)


def test_a_penalty_decides_where_observations_say_nothing():
    rows = torch.tensor([[1.0, 1.0]]).double()

    def penalty(unknowns):
        return 1e-3 * unknowns, (1e-3 * torch.eye(2)).double().expand(*unknowns.shape, 2)

    solver = GaussNewton(torch.tensor([3.0, -2.5]).double(), floor=1.0, penalty=penalty)
    run(solver, straight(rows, torch.zeros(1).double()), 60)
    assert_close(solver.unknowns, torch.zeros(2).double(), atol=1e-4, rtol=0)


def test_a_step_that_the_penalty_forbids_is_undone():
    rows, start = torch.eye(2).double(), torch.zeros(2).double()

    def wall(unknowns):
        """A cliff off the start that its derivative does not tell."""
        off = 10.0 * (unknowns != 0).double()
        return off, torch.zeros(*unknowns.shape, 2).double()

    solver = GaussNewton(start, floor=1.0, penalty=wall)
    run(solver, straight(rows, torch.tensor([0.1, 0.1]).double()), 3)
    assert torch.equal(solver.unknowns, start)
    assert torch.isinf(solver.gain)
