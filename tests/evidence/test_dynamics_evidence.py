"""Whether tasks share their dynamics, and these the group, on systems known exactly."""

from types import SimpleNamespace

import pytest
import torch
from systems import TURN, Known, drawn, randn, spin
from torch.testing import assert_close

from hgm import lie
from hgm.dynamics import FourierDynamics
from hgm.dynamics.bent import BentDynamics
from hgm.evidence.dynamics import (
    _bent_targets,
    equivariant,
    homogeneous,
    near,
    one_in_all_frames,
)
from hgm.evidence.fresh import preferred
from hgm.numerics.tails import long_tails
from hgm.symmetry.frames import base_dynamics
from hgm.symmetry.samples import Samples

COORDS = torch.tensor([[0.0], [1.0], [-2.0]]).double()
WIND = torch.tensor([0.3, 0.1]).double()


def pushed(state, action):
    return 0.3 * action / (1 + action.square().sum(-1, keepdim=True)).sqrt()


def windy(state, action):
    return pushed(state, action) + WIND


def carried_over(change, generators=TURN, turns=TURN, coords=COORDS, other=None, num=400):
    train, held = (drawn(change, 2, 2, num, seed=seed) for seed in (0, 1))
    model = Known(2, change, other)
    return equivariant(model, generators, turns, coords, train, held)


def test_exact_symmetries_leave_nothing():
    found = carried_over(pushed)
    assert abs(found.statement.effect) < 1e-14
    assert found.statement.holds is True
    assert found.coverage > 0.9


def test_a_wind_is_the_share_that_it_is():
    found = carried_over(windy)
    # |L^-1 w - w|^2 is 2 |w|^2 on average over the circle.
    moved = windy(randn(4000, 2), randn(4000, 2, seed=1)).square().sum(-1).mean()
    expected = 2 * float(WIND.square().sum() / moved)
    assert found.statement.effect == pytest.approx(expected, rel=0.15)
    assert found.statement.broken


@pytest.mark.parametrize("size", [20.0, 2000.0])
def test_a_deviation_of_many_motions_counts_no_more_than_some(size):
    """One state in a hundred is thrown far away."""

    def thrown(state, action):
        return pushed(state, action) + size * WIND * (state[..., :1] > 2.3)

    statement = carried_over(thrown).statement
    assert statement.broken
    assert 0.05 < statement.effect < 0.5


def test_what_is_at_rest_most_of_the_time_has_a_usual_motion():
    """What a model errs by at rest is little, though all that moves there."""

    def rubbing(state, action):
        errs = 0.01 * WIND
        return pushed(state, action) * (action.norm(dim=-1, keepdim=True) > 1.5) + errs

    assert carried_over(rubbing).statement.effect < 3e-3


def test_deviations_count_by_the_noise_where_they_are():
    """A wind that blows far out alone, where noise is a hundred times as large, or is not."""

    def far_out(state, action):
        return pushed(state, action) + WIND * (state.norm(dim=-1, keepdim=True) > 1.5)

    def loud(inputs):
        return 1.0 + 99.0 * (inputs[..., :2].norm(dim=-1) > 1.5)

    train, held = (drawn(far_out, 2, 2, 400, seed=seed) for seed in (0, 1))
    model = Known(2, far_out)
    plain, model.local = equivariant(model, TURN, TURN, COORDS, train, held), loud
    weighed = equivariant(model, TURN, TURN, COORDS, train, held)
    assert plain.statement.broken
    assert 0 < weighed.statement.effect < 0.05 * plain.statement.effect
    assert weighed.coverage == plain.coverage


def test_what_only_one_twin_thinks_is_noise():
    found = carried_over(pushed, other=windy)
    assert abs(found.statement.effect) < 1e-14
    assert not found.statement.broken


def thought_of(change, thought, num=1500):
    """What is said of dynamics of which both twins think the same, right or wrong."""
    train, held = (drawn(change, 2, 2, num, 0.05, seed) for seed in (0, 1))
    return equivariant(Known(2, thought), TURN, TURN, COORDS, train, held).statement


def test_what_both_twins_think_and_transitions_contradict_is_no_deviation():
    """Models of sharp dynamics err alike, and unlike in places of unlike density."""
    found = thought_of(pushed, windy)
    assert not found.broken
    assert found.high < 0.1 * thought_of(windy, windy).effect


def test_what_transitions_confirm_stays_as_large():
    same, by_model = thought_of(windy, windy), carried_over(windy).statement
    assert same.broken
    assert same.effect == pytest.approx(by_model.effect, rel=0.1)


def test_actions_must_turn_too():
    found = carried_over(pushed, turns=torch.zeros(1, 2, 2).double())
    assert found.statement.broken
    assert not found.statement.tolerable


def test_where_there_are_no_data_nothing_is_known():
    shift = torch.zeros(1, 3, 3).double()
    shift[0, 0, 2] = 1.0
    far = torch.tensor([[0.0], [500.0]]).double()
    found = carried_over(pushed, shift, torch.zeros(1, 2, 2).double(), far)
    assert found.coverage < 0.1
    assert found.statement.holds is None


def test_near_is_where_the_data_are():
    data = randn(2000, 2)
    assert near(randn(500, 2, seed=1), data).double().mean() > 0.9
    assert not near(randn(500, 2, seed=1) + 30, data).any()
    assert near(data, data).all()


def test_units_do_not_matter_to_being_near():
    data, points = randn(500, 3), 2 * randn(300, 3, seed=1)
    assert torch.equal(near(points, data), near(2.0**20 * points, 2.0**20 * data))


@pytest.mark.parametrize("num", [600, 3000])
def test_fresh_data_are_near_in_98_of_100_cases(num):
    assert float(near(randn(1000, 2, seed=1), randn(num, 2)).double().mean()) == pytest.approx(
        0.98, abs=0.01
    )


def test_copies_of_points_do_not_make_all_others_far():
    data = randn(400, 2).repeat(2, 1)
    assert near(randn(300, 2, seed=1), data).double().mean() > 0.85


def test_tasks_that_keep_to_places_of_their_own_do_not_make_what_is_between_them_near():
    centre = 3.0 * torch.arange(64).double()
    data = (centre[:, None, None] + 0.1 * randn(64, 47, 1)).flatten(0, 1)
    between = centre[:-1, None] + 1.5
    assert not near(between, data, num_tasks=64).any()
    assert near(centre[:, None], data, num_tasks=64).all()


# Tasks.


def family(turns, seed, noise=0.02, num=500):
    data = drawn(pushed, 2, 2, num, seed=seed)
    change = lie.act(lie.exp(turns[..., None] * TURN), pushed(data.state, data.action))
    return data._replace(
        next_state=data.state + change + noise * randn(*change.shape, seed=seed + 40)
    )


def compared(turns, inherited=False, action_generators=TURN):
    train, held = (family(turns, seed) for seed in (0, 5))
    half = torch.arange(train.reward.shape[1]).expand(train.reward.shape) % 2
    findings = SimpleNamespace(
        dynamics=SimpleNamespace(model=base_dynamics(train, half)),
        inherited=inherited,
        coords=COORDS,
        generators=TURN,
        action_generators=action_generators,
    )
    return homogeneous(findings, half, train, held)


SAME = torch.zeros(3, 1).double()


def test_tasks_that_share_their_dynamics_do():
    assert compared(SAME).holds is True


def test_turned_actuators_are_no_shared_dynamics():
    found = compared(0.4 * COORDS)
    assert found.broken
    assert not found.tolerable


def test_inherited_dynamics_are_shared_in_the_base_task_s_frame():
    still = torch.zeros(1, 2, 2).double()
    assert compared(COORDS, True, still).holds is True
    assert compared(COORDS, False, still).broken
    assert compared(COORDS, True, TURN).broken  # actions do not turn with these


# Frames.


def walled(state, action):
    """Nothing passes 1 in the first coordinate."""
    moved = state + pushed(state, action)
    return torch.cat((moved[..., :1].clamp_max(1.0), moved[..., 1:]), -1) - state


def seen_from_everywhere(change, noise=0.05, n=2, numbers=(1500, 700)):
    train, held = (
        drawn(change, n, 2, k, noise, seed) for k, seed in zip(numbers, (0, 5), strict=True)
    )
    half = torch.arange(train.reward.shape[1]).expand(train.reward.shape) % 2
    findings = SimpleNamespace(
        dynamics=SimpleNamespace(model=base_dynamics(train, half)),
        coords=COORDS,
        generators=spin(n, 0),
        action_generators=TURN,
    )
    return one_in_all_frames(findings, train, held)


def test_a_symmetry_looks_alike_from_everywhere():
    assert seen_from_everywhere(pushed).holds is True


@pytest.mark.parametrize("change", [windy, walled])
def test_winds_and_walls_do_not(change):
    assert seen_from_everywhere(change).broken


def slope(state, action):
    """A height that rises with the first coordinate, and what has nothing to do with it."""
    height = 0.2 * state[..., 3:4].tanh() + 0.02 * state[..., :1]
    return torch.cat((0.3 * action, height, -0.1 * state[..., 3:]), -1)


def test_a_transition_is_not_met_by_itself_in_another_frame():
    """What does not turn is the same in all frames, and makes all others far from it."""
    assert seen_from_everywhere(slope, 0.02, 5, (600, 150)).broken


@pytest.mark.parametrize(("leak", "holds"), [(0.0, True), (0.1, False)])
def test_states_that_span_decades_are_compared_in_bent_coordinates(leak, holds):
    """Volume and pressure of a gas: the largest would outweigh all others, noise and all."""

    def drawn_gas(num, seed):
        logs, action = randn(3, num, 2, seed=seed), randn(3, num, 1, seed=seed + 1)
        pull = -0.4 * torch.tanh(logs.sum(-1, keepdim=True)) - leak * logs[..., 1:]
        after = logs + torch.cat((0.3 * action, pull), -1) + 0.02 * randn(3, num, 2, seed=seed + 2)
        return Samples(logs.exp(), action, torch.zeros(3, num).double(), after.exp())

    train, held = drawn_gas(1500, 0), drawn_gas(700, 5)
    half = torch.arange(1500).expand(3, -1) % 2
    inputs = torch.cat((train.state, train.action), -1).flatten(0, 1)
    bent = BentDynamics(FourierDynamics(2, 1), long_tails(inputs))
    scalings = torch.diag(torch.tensor([1.0, -1.0]).double())[None]
    findings = SimpleNamespace(
        dynamics=SimpleNamespace(model=base_dynamics(train, half, bent)),
        coords=COORDS,
        generators=scalings,
        action_generators=torch.zeros(1, 1, 1).double(),
    )
    found = one_in_all_frames(findings, train, held)
    assert found.holds is holds
    if holds:
        assert found.high - found.low < 1e-4


@pytest.mark.parametrize("leak", [0.0, 0.2])
def test_what_is_equivariant_up_to_a_share_counts_alike_at_all_sizes(leak):
    """In straight coordinates a few of the largest states decide, with errors as large as these."""

    def drawn_sizes(num, seed):
        logs, action = 1.5 * randn(3, num, 1, seed=seed), randn(3, num, 1, seed=seed + 1)
        push = 0.4 * torch.tanh(action) - leak * torch.sigmoid(3 * logs)
        after = logs + push + 0.03 * randn(3, num, 1, seed=seed + 2)
        return Samples(logs.exp(), action, torch.zeros(3, num).double(), after.exp())

    train, held = drawn_sizes(1500, 0), drawn_sizes(700, 5)
    half = torch.arange(1500).expand(3, -1) % 2
    inputs = torch.cat((train.state, train.action), -1).flatten(0, 1)
    model = base_dynamics(train, half, BentDynamics(FourierDynamics(1, 1), long_tails(inputs)))
    group = torch.ones(1, 1, 1).double(), torch.zeros(1, 1, 1).double(), COORDS / 2
    found = equivariant(model, *group, train, held).statement
    assert found.broken is bool(leak)
    again = preferred(found, model, *group, train, held)
    assert again.broken is bool(leak)
    if not leak:
        assert found.high < 5e-3


def test_what_moves_by_rounding_alone_stays_so_when_it_is_bent():
    """A clock beside what spans decades."""
    state = torch.stack((randn(2, 300).exp(), torch.arange(300).double().expand(2, -1)), -1)
    tails = long_tails(state.flatten(0, 1))
    moved = torch.tensor([0.1, 0.01]).double() * torch.stack(
        (state[..., 0], torch.ones(2, 300)), -1
    )
    near, far = _bent_targets(tails, (state, state), (moved, moved), torch.ones(2).double())
    assert_close(near[..., 1], moved[..., 1], atol=1e-6, rtol=0)
    assert torch.equal(near, far)


def test_waves_that_say_less_than_the_model_do_not_judge():
    train, held = (drawn(walled, 2, 2, 300, seed=seed) for seed in (0, 5))
    findings = SimpleNamespace(
        dynamics=SimpleNamespace(model=Known(2, walled)),
        coords=COORDS,
        generators=TURN,
        action_generators=TURN,
    )
    assert one_in_all_frames(findings, train, held) is None
