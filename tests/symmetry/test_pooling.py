"""One reward model for all tasks refines the left actions, on rewards known exactly."""

import math
import threading
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch.testing import assert_close

from hgm import lie
from hgm.groups import GL, SO, Affine
from hgm.numerics.fourier import Jet
from hgm.numerics.maps import Maps, bent
from hgm.numerics.ranks import Ranks
from hgm.numerics.tails import long_tails
from hgm.symmetry.calibration import calibrate, start_maps
from hgm.symmetry.effort import Effort
from hgm.symmetry.pooling import PooledModel
from hgm.symmetry.scaled import Spanned
from hgm.symmetry.subgroup import LeftActions, Subgroup

NOISE = 0.01
FACTORS = torch.tensor([1.0, 2.5, 0.4]).double()
SHIFTS = torch.tensor([0.0, -1.0, 3.0]).double()


def randn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def reward(points):
    x, y = points.unbind(-1)
    return torch.sin(1.3 * x - 0.4) + 0.5 * torch.cos(y + 0.3 * x) - 0.2 * y


def problem(group, num=300, scaled=False, seed=0, off=0.08):
    """Points and noisy rewards of three tasks, and left actions that start a little off."""
    angles = torch.tensor([0.9, -1.4]).double()
    turn = torch.zeros(group.dim_matrix, group.dim_matrix).double()
    turn[:2, :2] = lie.so_generators(2)[0]
    truth = angles[:, None] * group.vee(turn)
    elements = group.exp(torch.cat((torch.zeros_like(truth[:1]), truth)))
    points = randn(3, num, 2, seed=seed)
    values = reward(lie.act(torch.linalg.inv(elements), points))
    values = values + NOISE * randn(3, num, seed=seed + 1)
    noise = torch.full((3,), NOISE).double()
    if scaled:
        values, noise = FACTORS[:, None] * values + SHIFTS[:, None], FACTORS * noise
    start = truth + off * randn(*truth.shape, seed=seed + 2)
    every = torch.eye(group.dim_algebra).double()
    return Subgroup(group, LeftActions(every, start), fixed=True), elements, points, values, noise


def errors_deg(subgroup, unknowns, elements):
    difference = torch.linalg.inv(elements) @ subgroup.elements(unknowns)
    return torch.rad2deg(lie.log(difference).norm(dim=(-2, -1)) / math.sqrt(2))[1:]


def run(model, points, values, num=8, ranks=None):
    for _ in range(num):
        model.step(points, values, *(() if ranks is None else (ranks,)))
    return model


@pytest.mark.parametrize("group", [SO(2), GL(2), Affine(2)], ids=repr)
def test_refines_left_actions_to_the_truth(group):
    subgroup, elements, points, values, noise = problem(group.double())
    assert (errors_deg(subgroup, subgroup.start, elements) > 0.5).all()
    model = run(PooledModel(subgroup, subgroup.start, noise), points, values)
    assert (errors_deg(subgroup, model.actions, elements) < 0.3).all()
    assert float(model.spread) == pytest.approx(1.0, abs=0.15)


def test_elements_that_start_far_off_do_not_leave_a_smooth_model():
    """What they leave looks like noise, and would be smoothed away for good."""
    subgroup, elements, points, values, noise = problem(GL(2).double(), num=800, off=0.25)
    values = values + 0.5 * torch.sin(4 * lie.act(torch.linalg.inv(elements), points)[..., 0])
    model = run(PooledModel(subgroup, subgroup.start, noise), points, values, 15)
    assert (errors_deg(subgroup, model.actions, elements) < 0.3).all()
    assert float(model.spread) == pytest.approx(1.0, abs=0.15)


def pulled(centre, sure):
    """Knows unknowns to be `centre`, each to ``1 / sure``."""
    eye = torch.eye(len(centre)).to(centre)
    return lambda unknowns: (sure * (unknowns - centre), sure * eye)


def test_what_is_known_besides_pulls_unknowns_where_it_says():
    subgroup, _, points, values, noise = problem(SO(2).double())
    free = run(PooledModel(subgroup, subgroup.start, noise), points, values)
    centre = free.actions + 0.1
    moves = []
    for sure in (1.0, 1e2, 1e5):
        model = PooledModel(subgroup, subgroup.start, noise, penalty=pulled(centre, sure))
        moves.append((run(model, points, values).actions - free.actions).abs().max())
    assert moves[0] < 1e-3
    assert moves[0] < moves[1] < moves[2]
    assert float(moves[2]) == pytest.approx(0.1, abs=2e-3)
    assert model.covariance().diagonal().sqrt().max() < 1.1e-5


def test_long_tails_are_bent_for_what_one_model_sees():
    """Scalings of a plane that spans decades, whose reward is one of logarithms."""
    group = Spanned(torch.eye(2).double()[:, None] * torch.eye(2).double(), 2)
    truth = torch.tensor([[0.5, -0.5], [-0.8, 0.8]]).double()
    elements = group.exp(torch.cat((torch.zeros(1, 2).double(), truth)))
    points = randn(3, 400, 2).exp()
    values = reward(lie.act(torch.linalg.inv(elements), points).log())
    noise = torch.full((3,), 1e-3).double()
    start = truth + 0.03 * randn(2, 2, seed=2)
    subgroup = Subgroup(group, LeftActions(torch.eye(2).double(), start), fixed=True)
    tails = long_tails(points.flatten(0, 1))
    plain = run(PooledModel(subgroup, subgroup.start, noise), points, values)
    model = run(PooledModel(subgroup, subgroup.start, noise, tails=tails), points, values)
    assert float(model.spread) < 0.1 * float(plain.spread)
    assert (errors_deg(subgroup, model.actions, elements) < 0.05).all()
    # What adaptation reads is the same model.
    carried = lie.act(torch.linalg.inv(elements), points)
    found = model.doubted_model()(carried)
    assert_close(found.value, values, atol=0.02, rtol=0)
    place = carried[0, :5].clone().requires_grad_()
    slope = torch.autograd.grad(reward(place.log()).sum(), place)[0]
    assert_close(found.gradient[0, :5], slope, atol=0.05, rtol=0.05)


def test_what_one_model_cannot_follow_says_less_than_as_much_noise():
    """Neighbours share a misfit, and every reward has a noise of its own."""
    subgroup, elements, points, _, noise = problem(SO(2).double(), num=2000)
    carried = lie.act(torch.linalg.inv(elements), points)
    smooth = -carried.square().sum(-1)
    step = torch.sign(torch.sin(9 * carried[..., 0]) * torch.sin(9 * carried[..., 1]))
    alike = []
    for rest in (randn(*smooth.shape, seed=3), step):
        penalty = pulled(subgroup.start, 0.0)
        model = PooledModel(
            subgroup,
            subgroup.start,
            noise,
            penalty=penalty,
            effort=Effort(scales=(1.8,), choices=(0,)),
        )
        run(model, points, smooth + 0.1 * rest)
        white, residual = model._seen
        alike.append(float(model._alike(white, residual)))
    assert alike[0] < 1.5
    assert alike[1] > 4


def test_refits_draw_what_is_known_anew():
    """Where rewards say nothing against it, refits differ by as much as it is unsure."""
    subgroup, _, points, values, noise = problem(SO(2).double(), num=100)
    sure = 1e4
    penalty = pulled(subgroup.start, sure)
    model = run(PooledModel(subgroup, subgroup.start, noise, penalty=penalty), points, values)
    again = torch.stack([model.again(points, values, seed).actions for seed in range(1, 9)])
    assert 0.3 / sure < float(again.std(0).mean()) < 2 / sure


def test_recovers_scales_and_shifts_with_the_actions():
    subgroup, elements, points, values, noise = problem(SO(2).double(), scaled=True)
    start = torch.stack((FACTORS.log(), SHIFTS), -1) + 0.05 * randn(3, 2, seed=8)
    model = run(PooledModel(subgroup, subgroup.start, noise, start), points, values, 12)
    factors, shifts = model.calibration
    assert_close(factors, FACTORS, rtol=0.01, atol=0)
    assert_close(shifts, SHIFTS, rtol=0, atol=0.02)
    assert (errors_deg(subgroup, model.actions, elements) < 0.3).all()
    assert float(model.spread) == pytest.approx(1.0, abs=0.15)
    assert len(model.actions) == 2
    assert model.covariance().shape == (2, 2)


def test_spread_tells_that_one_model_does_not_explain_scaled_rewards():
    subgroup, _, points, values, noise = problem(SO(2).double(), scaled=True)
    model = run(PooledModel(subgroup, subgroup.start, noise), points, values)
    assert model.spread > 3


def test_spread_tells_that_tasks_share_nothing():
    subgroup, _, points, values, noise = problem(GL(2).double())
    values[1] = points[1, :, 0].square() - points[1, :, 1].sin()
    model = run(PooledModel(subgroup, subgroup.start, noise), points, values)
    assert model.spread > 3


def test_base_task_keeps_the_identity_and_its_own_scale():
    subgroup, _, points, values, noise = problem(GL(2).double())
    model = PooledModel(subgroup, subgroup.start, noise, torch.zeros(3, 2).double())
    run(model, points, values)
    assert torch.equal(subgroup.elements(model.actions)[0], torch.eye(2).double())
    assert [float(term[0]) for term in model.calibration] == [1.0, 0.0]


def test_predicted_covariance_is_that_of_repeated_fits():
    found, predicted = [], []
    for seed in range(0, 60, 3):
        subgroup, elements, points, values, noise = problem(SO(2).double(), 150, seed=seed)
        model = run(PooledModel(subgroup, subgroup.start, noise), points, values, 5)
        found.append(model.actions - torch.tensor([0.9, -1.4]).double())
        predicted.append(model.covariance().diagonal())
    ratio = torch.stack(found).square().mean(0) / torch.stack(predicted).mean(0)
    # 20 fits tell a variance to 32%; the misfit of the features adds to it.
    assert (ratio < 3).all()
    assert (ratio > 0.3).all()


def test_without_calibration_factors_and_shifts_are_those_of_the_base_task():
    subgroup, _, points, values, noise = problem(SO(2).double())
    model = run(PooledModel(subgroup, subgroup.start, noise), points, values)
    assert not model.calibrated
    factors, shifts = model.calibration
    assert torch.equal(factors, torch.ones(3).double())
    assert torch.equal(shifts, torch.zeros(3).double())
    assert torch.equal(model.actions, model.unknowns)


def test_a_few_gross_errors_hardly_pull():
    subgroup, elements, points, values, noise = problem(SO(2).double())
    values[:, ::25] += 3.0
    model = run(PooledModel(subgroup, subgroup.start, noise), points, values, 15)
    assert (errors_deg(subgroup, model.actions, elements) < 1.0).all()


def test_two_ranks_with_half_of_the_data_refine_like_one():
    subgroup, _, points, values, noise = problem(SO(2).double(), 120)
    alone = run(PooledModel(subgroup, subgroup.start, noise), points, values, 3)
    barrier, slots, models = threading.Barrier(2, timeout=60), [None, None], [None, None]
    # Unlike processes, threads share the state of torch.func: only one of them may compute.
    turn = threading.Lock()

    def meet():
        turn.release()
        barrier.wait()
        turn.acquire()

    def work(rank):
        def total(value):
            slots[rank] = value
            meet()
            result = slots[0] + slots[1]
            meet()
            return result

        share = slice(0, 50) if rank == 0 else slice(50, 120)
        model = PooledModel(subgroup, subgroup.start, noise)
        with turn:
            models[rank] = run(model, points[:, share], values[:, share], 3, Ranks(sum=total))

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for model in models:
        assert_close(model.unknowns, alone.unknowns, rtol=0, atol=1e-6)
        assert_close(model.spread, alone.spread, rtol=1e-6, atol=0)


def test_calibrate_solves_the_weighted_least_squares():
    base = randn(3, 200)
    rewards = FACTORS[:, None] * base + SHIFTS[:, None]
    variance = torch.ones_like(base)
    # What the base model does not know must not count.
    rewards[:, ::4] += 5 * randn(3, 50, seed=1)
    variance[:, ::4] = 1e12
    jet = Jet(base, base[..., None], base[..., None, None], variance, variance)
    found = calibrate(jet, rewards, torch.full((3,), 0.1).double())
    expected = torch.stack((FACTORS.log(), SHIFTS), -1)
    assert_close(found, expected, rtol=0, atol=1e-9)


def test_calibrate_keeps_rewards_increasing():
    base = randn(2, 50)
    jet = Jet(base, base[..., None], base[..., None, None], *2 * (torch.ones_like(base),))
    found = calibrate(jet, -base, torch.ones(2).double())
    assert_close(found[1, 0], torch.tensor(math.log(1e-3)).double())
    assert torch.equal(found[0], torch.zeros(2).double())


@pytest.mark.parametrize("scaled", [False, True])
def test_the_reward_model_is_that_of_the_base_task(scaled):
    subgroup, _, points, values, noise = problem(GL(2).double(), num=600, scaled=scaled)
    start = torch.zeros(3, 2).double()
    start[1:, 0], start[1:, 1] = FACTORS[1:].log() + 0.005, SHIFTS[1:] + 0.01
    model = PooledModel(subgroup, subgroup.start, noise, start if scaled else None)
    found = run(model, points, values).reward_model()
    inner = torch.tanh(randn(200, 2, seed=9))
    prediction = found(inner)
    error = prediction.value - reward(inner)
    # Elements are fitted along, so errors are somewhat larger than the model's own variance.
    assert error.abs().mean() < NOISE / 2
    assert error.abs().max() < 3 * NOISE
    assert (prediction.variance.sqrt() < NOISE).all()
    assert_close(found.noise, torch.tensor(NOISE).double(), rtol=0.1, atol=0)
    assert model.calibrated == scaled


def test_the_model_knows_where_it_is_off():
    subgroup, _, points, _, noise = problem(SO(2).double(), num=900)
    inverse = torch.linalg.inv(problem(SO(2).double())[1])
    carried = lie.act(inverse, points)
    kink = torch.tensor([0.8, 0.3]).double()
    values = -(carried - kink).norm(dim=-1)
    model = run(PooledModel(subgroup, subgroup.start, 0.02 * noise), points, values, 12)
    found = model.doubted_model()
    far = carried.flatten(0, 1)
    distance = (far - kink).norm(dim=-1)
    square = (found(far).value + distance).square()
    near, other = distance < 0.1, (distance > 0.6) & (far.norm(dim=-1) < 1.5)
    scatter = found.scatter(far)
    assert scatter[near].median() > 10 * scatter[other].median()
    for where in (near, other):
        assert 0.2 < scatter[where].median() / square[where].median() * 0.45 < 5


def test_where_only_noise_is_left_it_is_the_same_everywhere():
    subgroup, _, points, values, noise = problem(GL(2).double(), num=900)
    found = run(PooledModel(subgroup, subgroup.start, noise), points, values).doubted_model()
    scatter = found.scatter(torch.tanh(randn(200, 2, seed=9)))
    assert_close(scatter, torch.full((200,), NOISE**2).double(), rtol=0.35, atol=0)


def test_weights_follow_the_elements():
    """A change of elements that the model does not know of is a change of its weights."""
    subgroup, _, points, values, noise = problem(SO(2).double(), num=600)
    model = run(PooledModel(subgroup, subgroup.start, noise), points, values)
    step = 1e-4 * torch.eye(len(model.unknowns)).double()
    here, turned = model.unknowns, model._turned
    model.step(points, values)
    for index, small in enumerate(step):
        ends = []
        for sign in (1, -1):
            model.unknowns = here + sign * small
            model.step(points, values)
            ends.append(model.reward_model()(torch.tanh(randn(50, 2, seed=3))).value)
        inner = replace(model.reward_model(), weights=turned[:, index])
        expected = inner(torch.tanh(randn(50, 2, seed=3))).value
        numeric = (ends[0] - ends[1]) / 2e-4
        # To Kaufman's approximation, which leaves out residuals times derivatives of features.
        assert torch.cosine_similarity(numeric, expected, dim=0) > 0.95
        assert 0.7 < numeric.norm() / expected.norm() < 1.3


BENT = (lambda r: r, torch.exp, lambda r: r + 0.3 * r**3)


def bent_problem(maps=BENT):
    subgroup, elements, points, _, noise = problem(SO(2).double(), num=600)
    values = reward(lie.act(torch.linalg.inv(elements), points))
    values = torch.stack([one(part) for one, part in zip(maps, values, strict=True)])
    return subgroup, elements, points, values + NOISE * randn(3, 600, seed=5), noise


def test_increasing_maps_of_rewards_are_taken_off():
    subgroup, elements, points, values, noise = bent_problem()
    splines = bent(values)
    maps = Maps(splines, splines.identity())
    model = run(PooledModel(subgroup, subgroup.start, noise, maps=maps), points, values, 12)
    assert model.increasing
    assert model.spread < 1.3
    assert (errors_deg(subgroup, model.actions, elements) < 0.5).all()
    inner = values.clamp(*(values.quantile(q, dim=1, keepdim=True) for q in (0.05, 0.95)))
    inverse = inner[1].clamp_min(1e-3).log()
    assert (model.maps(inner)[1] - inverse).abs().quantile(0.9) < 0.05
    # As they are, the same rewards are not one reward.
    plain = run(PooledModel(subgroup, subgroup.start, noise), points, values, 12)
    assert plain.spread > 3 * model.spread
    again = model.again(points[:, ::2], values[:, ::2], 1)
    assert again.maps is not None
    assert (errors_deg(subgroup, again.actions, elements) < 1.0).all()
    # What the base task's model is, is in the base task's units.
    places = torch.tanh(randn(200, 2, seed=9))
    error = model.reward_model()(places).value - reward(places)
    assert error.abs().max() < 5 * NOISE


def test_maps_that_turn_rewards_round_are_not_increasing():
    subgroup, _, points, values, noise = bent_problem((lambda r: r, lambda r: -r, lambda r: r))
    splines = bent(values)
    maps = Maps(splines, splines.identity())
    model = run(PooledModel(subgroup, subgroup.start, noise, maps=maps), points, values, 8)
    assert not model.increasing


def test_more_waves_see_what_few_miss():
    subgroup, elements, points, _, noise = problem(GL(2).double(), num=900)
    x, y = lie.act(torch.linalg.inv(elements), points).unbind(-1)
    values = torch.sin(4 * x) + torch.cos(3 * y + x)
    model = run(
        PooledModel(subgroup, subgroup.start, noise, effort=Effort(scales=(0.6,), choices=(0,))),
        points,
        values,
    )
    finer = run(model.finer(), points, values, 3)
    assert model.misfit > 1e-4
    assert finer.misfit < model.misfit / 10
    assert finer.residue < model.residue / 3
    before, after = (errors_deg(subgroup, one.actions, elements).max() for one in (model, finer))
    assert after < before


def test_spreads_with_few_and_with_more_waves_compare():
    """Both are robust: what is left at a peak is not taken for noise."""
    subgroup, elements, points, _, noise = problem(SO(2).double(), num=900)
    carried = lie.act(torch.linalg.inv(elements), points)
    peak = torch.exp(-(carried - torch.tensor([0.8, 0.3]).double()).norm(dim=-1) / 0.15)
    values = peak + 0.2 * NOISE * randn(3, 900, seed=7)
    model = run(PooledModel(subgroup, subgroup.start, noise), points, values, 12)
    finer = run(model.finer(), points, values, 4)
    assert finer.residue < model.residue / 3
    assert finer.spread < 1.3 * model.spread


@pytest.mark.parametrize("factor", [0.01, 100.0])
def test_what_is_left_of_calibrated_rewards_is_in_units_of_their_noise(factor):
    subgroup, _, points, values, noise = problem(SO(2).double(), num=600)
    units = torch.tensor([1.0, factor, factor]).double()
    start = torch.stack((units.log(), torch.zeros(3).double()), -1)
    plain = run(PooledModel(subgroup, subgroup.start, noise), points, values)
    found = PooledModel(subgroup, subgroup.start, units * noise, start)
    run(found, points, units[:, None] * values)
    assert found.residue == pytest.approx(plain.residue, rel=0.05)


@pytest.mark.parametrize("value", [0.0, 3.7])
def test_rewards_that_are_all_alike_have_no_increasing_map(value):
    subgroup, _, points, values, noise = problem(SO(2).double())
    values[1] = value
    jet = Jet(values, points, points[..., None], *2 * (torch.ones_like(values),))
    maps = start_maps(jet, values, noise)
    model = run(PooledModel(subgroup, subgroup.start, noise, maps=maps), points, values, 3)
    assert not model.increasing
    assert model.unknowns.isfinite().all()


def test_noise_needs_no_more_waves():
    subgroup, _, points, values, noise = problem(SO(2).double(), num=900)
    assert run(PooledModel(subgroup, subgroup.start, noise), points, values).misfit < 5e-6


def test_what_rewards_do_not_see_is_left_to_what_is_known_besides():
    """Shifts along the second coordinate, of rewards that see the first alone."""
    group = Affine(2).double()
    shift = torch.zeros(2, 3, 3).double()
    shift[0, 0, 2] = shift[1, 1, 2] = 1.0
    both = group.vee(shift)
    points = randn(3, 400, 2)
    values = torch.sin(points[..., 0] - torch.tensor([0.0, 0.5, -0.8]).double()[:, None])
    start = torch.tensor([[0.45, 0.3], [-0.75, -0.4]]).double() @ both
    subgroup = Subgroup(group, LeftActions(torch.eye(6).double(), start), fixed=True)
    known = torch.zeros(6).double()
    known[:] = both[1]

    def penalty(unknowns):
        across = torch.stack([known.expand(1, 6)[0]])
        derivative = torch.block_diag(across, across)
        return derivative @ unknowns, derivative

    noise = torch.full((3,), NOISE).double()
    model = PooledModel(subgroup, subgroup.start, noise, penalty=penalty, sees=[0])
    run(model, points, values, 8)
    found = lie.vee(group.hat(subgroup.coords(model.actions)), shift)
    expected = torch.tensor([[0.5, 0.0], [-0.8, 0.0]]).double()
    assert (found - expected).abs().max() < 0.01


@pytest.mark.parametrize(
    ("steps", "scale", "found", "looked_at"), [(0, None, 4, 6), (2, 1, 4, 6), (2, 4, 4, 3)]
)
def test_length_scales_are_all_tried_once_and_then_downhill(steps, scale, found, looked_at):
    model, tried = object.__new__(PooledModel), []
    model.effort = Effort(scales=(5.0, 0.0, 2.0, 1.0, 4.0, 3.0))
    model._steps, model._scale = steps, scale

    def fitted(scale):
        tried.append(scale)
        return SimpleNamespace(cost=torch.tensor((scale - 3.8) ** 2))

    best, fit = model._likeliest(fitted)
    assert best == found
    assert float(fit.cost) == pytest.approx(0.04)
    assert len(tried) == len(set(tried)) == looked_at
