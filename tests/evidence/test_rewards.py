"""One reward for all tasks, or rewards of their own, on held-out rewards."""

import functools
import math

import pytest
import torch
from systems import TURN, randn
from torch.testing import assert_close

from hgm import lie
from hgm.evidence import rewards
from hgm.evidence.everything import Everything, explained
from hgm.evidence.own import Stage, leave
from hgm.evidence.rewards import Beyond, one_reward
from hgm.numerics import learned
from hgm.numerics.tails import long_tails
from hgm.symmetry.samples import Seen

ANGLES = torch.tensor([[0.0], [0.9], [-1.4]]).double()
TURNS = lie.exp(ANGLES[..., None] * TURN)
SURE = torch.zeros(3).double()


def reward(points):
    return torch.sin(1.3 * points[..., 0] - 0.4) + 0.5 * torch.cos(points[..., 1])


def as_it_is(values):
    return values


def seen(num, noise=0.0, own=0.0, maps=(as_it_is, as_it_is, as_it_is), seed=0):
    """Tasks' rewards ``phi_i(R(L^{-1} p))`` plus something of a task's own, plus noise."""
    points = randn(3, num, 2, seed=seed)
    base = lie.act(torch.linalg.inv(TURNS), points)
    values = torch.stack([one(part) for one, part in zip(maps, reward(base), strict=True)])
    sign = torch.tensor([0.0, 1.0, -1.0]).double()[:, None]
    values = values + own * sign * torch.cos(base[..., 0] + base[..., 1])
    return Seen(points, values + noise * randn(3, num, seed=seed + 1))


def judged(elements=TURNS, doubt=SURE, num=600, **kind):
    return one_reward(
        elements, TURN, doubt, seen(num, **kind), seen(num // 2, **{**kind, "seed": 60})
    )


@functools.cache
def plain(noise):
    return judged(noise=noise)


@pytest.mark.parametrize("noise", [0.0, 0.05, 0.4])
def test_one_reward_moved_by_the_group_holds(noise):
    found = plain(noise)
    assert found.calibration == "same"
    assert not found.statement.broken
    assert found.statement.effect < found.statement.tolerance.small


@pytest.mark.parametrize("noise", [0.05, 0.4])
def test_the_share_of_noise_is_told(noise):
    variance = float(seen(2000, noise).reward.var(1).mean())
    assert plain(noise).noise == pytest.approx(noise**2 / variance, rel=0.25)


def test_noise_raises_what_a_deviation_may_be_up_to_an_amplitude_of_3_percent():
    small = [plain(noise).statement.tolerance.small for noise in (0.0, 0.05, 0.4)]
    assert small[0] == pytest.approx(5e-6, rel=0.1)
    assert small[1] == pytest.approx(5e-6 + 0.02 * plain(0.05).noise)
    assert small[2] == 1e-3


@pytest.mark.parametrize("own", [0.3])
def test_what_is_a_task_s_own_is_measured(own):
    found = judged(noise=0.02, own=own)
    assert found.statement.broken
    # Shifts are a task's own, too.
    square = (own * torch.cos(randn(4000, 2).sum(-1))).square().mean()
    shares = square * torch.tensor([0.0, 1.0, 1.0])
    variance = seen(2000, own=own).reward.var(1).mean()
    # Of three tasks with 0, own and -own, the mean takes none away.
    assert found.statement.effect == pytest.approx(float(shares.mean() / variance), rel=0.2)
    assert found.largest > own / 2
    assert found.largest < 2 * own


def test_tasks_in_the_wrong_places_do_not_share_a_reward():
    found = judged(torch.eye(2).double().expand(3, 2, 2), noise=0.1)
    assert found.statement.broken
    assert not found.statement.tolerable


def turned_too_far(angle, doubt):
    """The statement for elements that err by an angle, where that much doubt is predicted."""
    sign = torch.tensor([0.0, 1.0, -1.0]).double()
    off = lie.exp((ANGLES + angle * sign[:, None])[..., None] * TURN)
    return judged(off, doubt * sign.abs(), noise=0.02).statement


def test_errors_that_elements_are_expected_to_have_are_no_deviation():
    sure, doubted = turned_too_far(0.02, 0.0), turned_too_far(0.02, 0.02)
    assert sure.broken
    assert not doubted.broken
    assert doubted.effect < sure.effect / 20


def test_errors_beyond_four_predicted_deviations_are_deviations():
    assert turned_too_far(0.05, 0.005).broken


SCALED = (as_it_is, lambda r: 3 * r - 1, lambda r: 0.4 * r + 2)
BENT = (as_it_is, torch.exp, lambda r: r + 0.3 * r**3)


def test_rescaled_rewards_are_one_after_affine_maps():
    found = judged(maps=SCALED, noise=0.02)
    assert found.calibration == "affine"
    assert not found.statement.broken


def test_factors_and_shifts_that_err_are_no_deviation(monkeypatch):
    """Rewards are judged in units that are fitted: what these miss is no task's own."""
    right = rewards._calibrated

    def amiss(*some):
        targets = right(*some)
        off = torch.tensor([[1.0], [1.04], [0.97]]).double()
        return tuple(target * off + off - 1 for target in targets)

    monkeypatch.setattr(rewards, "_calibrated", amiss)
    found = judged(maps=SCALED, noise=0.02)
    assert found.calibration == "affine"
    assert not found.statement.broken
    assert judged(maps=SCALED, noise=0.02, own=0.2).statement.broken


def test_a_regression_is_as_unsure_as_all_its_stages():
    """Waves of any of them may go anywhere beyond what they learned from."""
    near, far = seen(600, noise=0.02), seen(300, noise=0.02, seed=60)
    inputs, targets = (near.points, far.points), (near.reward[..., None], far.reward[..., None])
    first, second = Stage(64, (1.0, 2.0), 1), Stage(32, (0.5,), 2)
    one = leave(inputs, targets, (first,))
    then = leave(inputs, (one.near, one.far), (second,))
    both = leave(inputs, targets, (first, second))
    assert_close(both.far, then.far)
    assert_close(both.unsure, one.unsure + then.unsure)


def test_bent_rewards_are_one_after_increasing_maps():
    found = judged(maps=BENT, noise=0.02)
    assert found.calibration == "increasing"
    assert not found.statement.broken


def test_no_map_makes_one_of_two():
    other = lambda r: torch.sin(5 * r)  # noqa: E731
    found = judged(maps=(as_it_is, as_it_is, other), noise=0.02)
    assert found.statement.broken


def test_no_map_may_turn_the_order_of_rewards_round():
    found = judged(maps=(as_it_is, as_it_is, lambda r: -r), noise=0.02)
    assert found.calibration == "same"
    assert found.statement.broken


@pytest.mark.parametrize("factor", [1e-3, 1e3])
def test_units_of_the_rewards_do_not_matter(factor):
    train, held = seen(400, 0.05), seen(200, 0.05, seed=60)
    one, two = (
        one_reward(
            TURNS,
            TURN,
            SURE,
            *(Seen(some.points, size * some.reward) for some in (train, held)),
        )
        for size in (1.0, factor)
    )
    assert two.statement.effect == pytest.approx(one.statement.effect, rel=1e-5, abs=1e-9)
    assert two.largest == pytest.approx(factor * one.largest, rel=1e-5)
    assert two.noise == pytest.approx(one.noise, rel=1e-5)


def test_more_data_do_not_break_what_holds():
    sizes = [judged(num=num, noise=0.1).statement for num in (300, 2400)]
    assert [one.broken for one in sizes] == [False, False]
    assert sizes[1].high - sizes[1].low < sizes[0].high - sizes[0].low
    assert math.isfinite(sizes[0].high)


def test_long_tails_are_bent_where_rewards_are_of_decades():
    """Scalings of a plane: in its own coordinates waves follow none of it."""
    stretch = torch.diag_embed(torch.tensor([[1.0, 1.0], [1.6, 0.6], [0.5, 2.0]]).double())
    scalings = torch.diag(torch.tensor([1.0, -1.0]).double())[None]

    def decades(num, seed):
        points = randn(3, num, 2, seed=seed).exp()
        return Seen(points, reward(lie.act(torch.linalg.inv(stretch), points).log()))

    train, held = decades(600, 0), decades(300, 60)
    tails = long_tails(train.points.flatten(0, 1))
    plain, found = (one_reward(stretch, scalings, SURE, train, held, one) for one in (None, tails))
    assert not found.statement.broken
    assert found.noise < 1e-3 * plain.noise
    off = one_reward(stretch[[0, 2, 1]], scalings, SURE, train, held, tails)
    assert off.statement.broken
    # What a change of the elements by as much as they may err explains is no deviation.
    near = stretch @ torch.diag_embed(
        torch.tensor([[1.0, 1.0], [1.01, 0.99], [0.99, 1.01]]).double()
    )
    doubts = (torch.zeros(3).double(), torch.full((3,), 0.005).double())
    sure, unsure = (one_reward(near, scalings, one, train, held, tails) for one in doubts)
    assert sure.statement.broken
    assert unsure.statement.effect < 0.25 * sure.statement.effect


# Of two seen coordinates, two others and an action of two, each pair turned.
WHOLE = torch.block_diag(TURN[0], TURN[0], TURN[0])[None]
BACK = lie.exp(-ANGLES[..., None] * WHOLE)
SIGN = torch.tensor([0.0, 1.0, -1.0]).double()[:, None]


@pytest.fixture
def _fewer_steps(monkeypatch):
    """Networks of these tests learn for less long."""
    monkeypatch.setattr(learned, "_STEPS", 400)


def hidden(base):
    """What is seen of nothing but everything, and looks like noise."""
    return torch.sin(1.5 * base[..., 2]) * torch.cos(base[..., 4]) - 0.5 * torch.tanh(base[..., 5])


def everything(num, own=0.0, in_action=0.0, seed=0, num_tasks=3):
    """Points of everything, and rewards that owe it much, with little noise."""
    points = randn(num_tasks, num, 6, seed=seed)
    base = lie.act(BACK, points)
    values = reward(base[..., :2]) + hidden(base) + 0.02 * randn(num_tasks, num, seed=seed + 1)
    values = values + own * SIGN * torch.sin(base[..., 0] + base[..., 1])
    return points, values + in_action * SIGN * torch.cos(base[..., 4])


def beyond_of(near, far, tails=None, usual=0.05):
    return Beyond(near, far, Everything(BACK, WHOLE, tails, usual), slice(4, 6))


@functools.cache
def both(own=0.0, in_action=0.0, num=500):
    """What is said without and with everything."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learned, "_STEPS", 400)
        (near, told_near), (far, told_far) = (
            everything(size, own, in_action, seed) for size, seed in ((num, 0), (num // 2, 60))
        )
        train, held = Seen(near[..., :2], told_near), Seen(far[..., :2], told_far)
        parts = TURNS, TURN, SURE, train, held, None
        return [one_reward(*parts, beyond) for beyond in (None, beyond_of(near, far))]


def test_what_hides_among_noise_is_told_by_everything():
    plain, found = both()
    assert plain.noise > 0.2
    assert found.noise < 0.1 * plain.noise
    assert not found.statement.broken
    assert found.statement.effect < found.statement.tolerance.small
    widths = [one.statement.high - one.statement.low for one in (plain, found)]
    assert widths[1] < 0.2 * widths[0]
    # Of less noise, a deviation may be less.
    assert found.statement.tolerance.small < plain.statement.tolerance.small
    assert found.largest < plain.largest


@pytest.mark.parametrize("own", [0.08, 0.3])
def test_a_reward_of_a_task_s_own_is_broken_by_everything_too(own):
    plain, found = both(own=own)
    assert found.statement.broken
    # Where it is small, noise hides it from what sees little.
    assert plain.statement.broken == (own == 0.3)
    square = (own * torch.sin(randn(4000, 2).sum(-1))).square().mean() * 2 / 3
    variance = everything(2000, own)[1].var(1).mean()
    # What networks cannot make of a task's own they leave to its regression.
    assert found.statement.effect == pytest.approx(float(square / variance), rel=0.35)


def test_inherited_terms_of_the_action_hold():
    """What is the same for all as functions of the action that it is in the base task."""
    plain, found = both()
    assert plain.in_action is None
    assert not found.in_action.broken
    assert found.in_action.holds
    assert abs(found.in_action.effect) < found.in_action.tolerance.small


def test_a_task_s_own_terms_of_the_action_are_broken():
    plain, found = both(in_action=0.4)
    assert plain.in_action is None
    assert found.in_action.broken
    # Their mean is a shift, and owes nothing to the action.
    square = (0.4 * torch.cos(randn(4000))).var() * 2 / 3
    variance = everything(2000, in_action=0.4)[1].var(1).mean()
    assert found.in_action.effect == pytest.approx(float(square / variance), rel=0.35)
    # Of what rewards see it says little.
    assert both(own=0.3)[1].in_action.effect < 0.1 * found.in_action.effect


@pytest.mark.usefixtures("_fewer_steps")
@pytest.mark.parametrize("bent", [False, True])
def test_everything_tells_held_out_rewards_and_their_slopes_along_the_group(bent):
    (near, targets), (far, _) = everything(600), everything(200, seed=60)
    places = (lie.act(BACK, near), lie.act(BACK, far))
    if bent:  # points of decades, whose rewards are those of their logarithms
        places = tuple((2 * place).sinh() for place in places)
    tails = long_tails(places[0].flatten(0, 1)) if bent else None
    assert (tails is not None) == bent
    found = explained(places, 7 * targets[..., None] + 30, Everything(BACK, WHOLE, tails, 0.35))
    generator = WHOLE[0]
    for place, values, along in zip(places, found.values, found.along, strict=True):
        moved = place.clone().requires_grad_()
        base = moved.asinh() / 2 if bent else moved
        truth = 7 * (reward(base[..., :2]) + hidden(base)) + 30
        slope = torch.autograd.grad(truth.sum(), moved)[0]
        expected = ((place @ generator.mT) * slope).sum(-1, keepdim=True)
        assert values.shape == along.shape == (*place.shape[:2], 1)
        assert (values[..., 0] - truth).square().mean() < 0.05 * truth.var()
        middle = (base.abs() < 1.5).all(-1)
        missed = (along - expected)[middle].square().mean()
        assert missed < 0.1 * expected[middle].square().mean()


@pytest.mark.usefixtures("_fewer_steps")
def test_errors_of_elements_are_no_deviation_by_everything_either():
    """What they explain of all that is told, not of what rewards were seen to depend on alone."""
    (near, told_near), (far, told_far) = (everything(600), everything(300, seed=60))
    train, held = Seen(near[..., :2], told_near), Seen(far[..., :2], told_far)
    angles = ANGLES + 0.03 * SIGN
    off = beyond_of(near, far)
    off = off._replace(group=off.group._replace(inverse=lie.exp(-angles[..., None] * WHOLE)))
    elements = lie.exp(angles[..., None] * TURN)
    sure, doubted = (
        one_reward(elements, TURN, doubt * SIGN[:, 0].abs(), train, held, None, off)
        for doubt in (0.0, 0.03)
    )
    assert sure.statement.broken
    assert doubted.statement.effect < 0.15 * sure.statement.effect
