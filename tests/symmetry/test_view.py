"""Units, and what rewards see in them."""

import pytest
import torch
from systems import randn
from torch.testing import assert_close

from hgm import lie
from hgm.symmetry.relevance import ActionTerms, Sight
from hgm.symmetry.samples import Samples
from hgm.symmetry.view import View, units_of

OF_STATE = torch.tensor([1e3, 1.0, 1e-3]).double()
OF_ACTION = torch.tensor([1e-2, 1e2]).double()
COLUMNS = torch.tensor([3.0, 1.0, 0.5]).double()


def transitions(of_state=1.0, of_action=1.0, shift=0.0):
    state = COLUMNS * randn(2, 50, 3) + shift
    action = randn(2, 50, 2, seed=1)
    next_state = state + 0.1 * randn(2, 50, 3, seed=2)
    reward = randn(2, 50, seed=3)
    return Samples(of_state * state, of_action * action, reward, of_state * next_state)


@pytest.mark.parametrize("size", [3, 4])
def test_scaled_coordinates_have_deviation_one(size):
    samples = transitions(shift=5.0)
    scaled = units_of(samples, size).scale(samples)
    state, action = (part.flatten(0, 1) for part in (scaled.state, scaled.action))
    assert_close(state.std(0), torch.ones(3).double())
    assert_close(action.std(0), torch.ones(2).double())
    centre = samples.state.flatten(0, 1).mean(0) / samples.state.flatten(0, 1).std(0)
    # A linear group keeps the origin, an affine one does not.
    assert_close(state.mean(0), centre if size == 3 else torch.zeros(3).double())
    assert torch.equal(scaled.reward, samples.reward)


@pytest.mark.parametrize("size", [3, 4])
def test_scaled_transitions_know_no_units(size):
    plain, other = transitions(shift=2.0), transitions(OF_STATE, OF_ACTION, shift=2.0)
    one, two = (units_of(samples, size).scale(samples) for samples in (plain, other))
    for a, b in zip(one, two, strict=True):
        assert_close(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("size", [3, 4])
def test_raw_generators_move_raw_points_as_scaled_ones_move_scaled_points(size):
    samples = transitions(OF_STATE, OF_ACTION, shift=2.0)
    units = units_of(samples, size)
    generator, action_generator = torch.zeros(size, size).double(), 0.3 * randn(2, 2, seed=5)
    generator[:3] = 0.3 * randn(3, size, seed=4)
    element, raw = lie.exp(generator), lie.exp(units.raw(generator))
    scaled = units.scale(samples)
    carried = samples._replace(state=lie.act(raw, samples.state))
    assert_close(units.scale(carried).state, lie.act(element, scaled.state))
    turned = lie.act(lie.exp(units.raw_action(action_generator)), samples.action)
    there = units.scale(samples._replace(action=turned)).action
    assert_close(there, lie.act(lie.exp(action_generator), scaled.action))


def test_what_never_varies_keeps_its_unit():
    samples = transitions()
    state = samples.state.clone()
    state[..., 1] = 7.0
    units = units_of(samples._replace(state=state), 3)
    assert units.into[1, 1] == 1.0
    assert units.scale(samples._replace(state=state)).state.isfinite().all()


def test_tiny_units_are_units():
    units = units_of(transitions(of_state=torch.full((3,), 1e-9).double()), 3)
    assert_close(units.frame, 1e-9 * units_of(transitions(), 3).frame)


def view_of(samples, source, columns, terms=None, size=3):
    units = units_of(samples, size)
    return View(units, Sight(source, columns, terms, torch.ones(2).double()), columns)


@pytest.mark.parametrize("source", ["next_observation", "observation", "change"])
def test_a_view_shows_some_scaled_coordinates(source):
    samples = transitions(OF_STATE)
    seen = view_of(samples, source, [0, 2])(samples)
    scaled = units_of(samples, 3).scale(samples)
    points = {
        "next_observation": scaled.next_state,
        "observation": scaled.state,
        "change": scaled.next_state - scaled.state,
    }[source]
    assert torch.equal(seen.points, points[..., [0, 2]])
    assert torch.equal(seen.reward, samples.reward)


def test_a_view_leaves_out_what_rewards_owe_to_the_action():
    samples = transitions(of_action=OF_ACTION)
    none = torch.zeros(0, 2).double()
    weights = randn(2, 5, seed=6)
    ones = torch.ones(2).double()
    terms = ActionTerms(ones, none, none[:, 0], weights, weights.expand(2, -1, -1), False)
    seen = view_of(samples, "observation", [0], terms)(samples)
    scaled = units_of(samples, 3).scale(samples)
    assert_close(seen.reward, samples.reward - terms(scaled.action))


@pytest.mark.parametrize("source", ["observation", "change"])
def test_everything_is_next_states_actions_and_displacements_whatever_rewards_see(source):
    samples = transitions(OF_STATE, OF_ACTION, shift=2.0)
    none, ones = torch.zeros(0, 2).double(), torch.ones(2).double()
    weights = randn(2, 5, seed=6)
    terms = ActionTerms(ones, none, none[:, 0], weights, weights.expand(2, -1, -1), False)
    view = view_of(samples, source, [0, 2], terms, size=4)
    points, reward = view.everything(samples)
    scaled = view.units.scale(samples)
    assert points.shape == (2, 50, 8)
    assert_close(points[..., :3], scaled.next_state)
    assert_close(points[..., 3:5], scaled.action)
    assert_close(points[..., 5:], scaled.next_state - scaled.state)
    assert torch.equal(reward, samples.reward)


@pytest.mark.parametrize("size", [3, 4])
def test_on_everything_generators_move_each_part_as_the_group_does(size):
    samples = transitions(OF_STATE, OF_ACTION, shift=2.0)
    view = view_of(samples, "observation", [0, 2], size=size)
    states, actions = torch.zeros(2, size, size).double(), 0.3 * randn(2, 2, 2, seed=5)
    states[:, :3] = 0.3 * randn(2, 3, size, seed=4)
    whole, coords = view.on_everything(states, actions), torch.tensor([0.7, -1.2]).double()
    assert whole.shape == (2, size + 5, size + 5)
    left, right = (
        lie.exp(lie.hat(coords, part))
        for part in (view.units.raw(states), view.units.raw_action(actions))
    )
    moved = Samples(
        lie.act(left, samples.state),
        lie.act(right, samples.action),
        samples.reward,
        lie.act(left, samples.next_state),
    )
    points = view.everything(samples).points
    found = lie.act(lie.exp(lie.hat(coords, whole)), points)
    assert_close(found, view.everything(moved).points, atol=1e-9, rtol=0)
    assert (found - points).abs().mean((0, 1)).min() > 1e-3  # no part stays


def test_on_everything_displacements_are_not_shifted():
    samples = transitions(shift=2.0)
    view = view_of(samples, "observation", [0, 1, 2], size=4)
    shift = torch.zeros(1, 4, 4).double()
    shift[0, :3, 3] = torch.tensor([0.5, -1.0, 2.0])
    whole = view.on_everything(shift, torch.zeros(1, 2, 2).double())
    points = view.everything(samples).points
    expected = torch.tensor([0.5, -1.0, 2.0, 0, 0, 0, 0, 0]).double().expand_as(points)
    assert_close(lie.act(lie.exp(whole[0]), points) - points, expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize(("size", "index"), [(3, [0, 2]), (4, [0, 2, 3])])
def test_generators_of_seen_coordinates_are_lifted_to_raw_ones(size, index):
    samples = transitions(OF_STATE, shift=1.0)
    view = view_of(samples, "observation", [0, 2], size=size)
    assert view.index.tolist() == index
    small = torch.zeros(1, len(index), len(index)).double()
    small[0, :2] = randn(2, len(index), seed=7)
    lifted = view.lift(small)
    assert lifted.shape == (1, size, size)
    # Seen coordinates move by it, the other one stays.
    element, state = lie.exp(lifted[0]), samples.state
    moved = samples._replace(state=lie.act(element, state))
    there = lie.act(lie.exp(small[0]), view(samples).points)
    assert_close(view(moved).points, there)
    assert_close(moved.state[..., 1], state[..., 1])


@pytest.mark.parametrize("size", [3, 4])
def test_a_chart_turns_scaled_states_and_is_undone(size):
    samples = transitions()
    units = units_of(samples, size)
    chart = torch.linalg.qr(randn(3, 3, seed=5)).Q
    turned = units.turned(chart)
    assert units.natural
    assert not turned.natural
    assert_close(turned.scale(samples).state, units.scale(samples).state @ chart.mT)
    generator = randn(size, size, seed=6)
    generator[3:] = 0.0
    inside = turned.raw(generator)
    samples_there = samples._replace(state=lie.act(lie.exp(inside), samples.state))
    expected = lie.act(lie.exp(generator), turned.scale(samples).state)
    assert_close(turned.scale(samples_there).state, expected)
