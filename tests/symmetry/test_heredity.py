"""Dynamics of single tasks: none, inherited, or their own for good."""

from types import SimpleNamespace

import pytest
import torch
from motors import COORDS, SAME, TURNED, family, halves_of, pushed, shared_model
from systems import TURN, randn
from torch.testing import assert_close

from hgm import lie
from hgm.dynamics import FourierDynamics, NetworkDynamics
from hgm.dynamics.bent import BentDynamics
from hgm.numerics.tails import long_tails
from hgm.symmetry.completion import Completion
from hgm.symmetry.frames import own_dynamics, pairs
from hgm.symmetry.heredity import (
    Heirs,
    inherited_action_generators,
    inherited_or_shared,
    inherited_rows,
)
from hgm.symmetry.inheritance import Both
from hgm.symmetry.inherited_rows import refined_rows
from hgm.symmetry.refits import Refitter
from hgm.symmetry.samples import Samples

LAST_ROW = torch.tensor([[[0.0, 0.0], [1.0, 0.0]], [[0.0, 0.0], [0.0, 1.0]]]).double()


def heirs(data):
    return Heirs.of(data, COORDS)


@pytest.mark.parametrize("rate", [0.0, 1.0, -1.0, 2.0, -2.0, 0.5])
@torch.no_grad()
def test_how_actions_turn_is_found_in_dynamics_that_are_inherited(rate):
    """Tasks' actuators are turned by ``1 - rate`` times their element: ``L f(K^{-1} a)``.

    At twice the rate, actions turn by up to 5 rad: a logarithm alone would be a turn off.
    """
    data = family((1 - rate) * COORDS)
    start = torch.zeros(1, 2, 2).double()
    found = inherited_action_generators(heirs(data), Both(TURN, start))
    assert_close(found, rate * TURN, atol=1e-9, rtol=0)


@torch.no_grad()
def test_turns_that_are_no_rotations_stay_what_they_are():
    """Motors are seen through a lens, by which actions turn on ellipses."""
    lens = torch.tensor([[1.5, 0.9], [0.0, 0.6]]).double()
    data = family(SAME, noise=0.0)
    element = lie.exp(2 * COORDS[..., None] * TURN)
    change = lie.act(element, pushed(data.state, lie.act(lens, data.action)))
    data = data._replace(next_state=data.state + change)
    expected = torch.linalg.inv(lens) @ -TURN @ lens
    start = Both(TURN, torch.zeros(1, 2, 2).double())
    found = inherited_action_generators(heirs(data), start)
    assert (expected + expected.mT).norm() > 1
    assert_close(found, expected, atol=0.3, rtol=0)


@torch.no_grad()
def test_what_rewards_say_against_actions_counts_beside_the_dynamics():
    """Through the lens, dynamics tell that actions stretch; a price on stretching is dearer."""
    lens = torch.tensor([[1.5, 0.9], [0.0, 0.6]]).double()
    data = family(SAME, noise=0.0)
    element = lie.exp(2 * COORDS[..., None] * TURN)
    change = lie.act(element, pushed(data.state, lie.act(lens, data.action)))
    data = data._replace(next_state=data.state + change)

    def price(turns):
        return 1e3 * float((turns.mT @ turns - torch.eye(2).double()).square().mean())

    start = torch.zeros(1, 2, 2).double()
    found = inherited_action_generators(heirs(data), Both(TURN, start), price)
    assert_close(found, -found.mT)
    model = shared_model(data)
    assert inherited_or_shared(model, data, TURN, start, COORDS)[1]
    # What rewards forbid explains no dynamics.
    assert not inherited_or_shared(model, data, TURN, start, COORDS, price=price)[1]


@torch.no_grad()
def test_shared_dynamics_keep_their_action_generators():
    data = family(SAME)
    found, inherited, _ = inherited_or_shared(shared_model(data), data, TURN, TURN, COORDS)
    assert not inherited
    assert torch.equal(found.actions, TURN)


@torch.no_grad()
def test_inherited_dynamics_are_told():
    data = family(COORDS)  # what actions do turns with the task, actions do not
    found, inherited, _ = inherited_or_shared(shared_model(data), data, TURN, TURN, COORDS)
    assert inherited
    assert_close(found.actions, torch.zeros(1, 2, 2).double(), atol=0.05, rtol=0)


@torch.no_grad()
def test_what_only_a_network_explains_says_nothing_of_heredity():
    """A round wall that waves miss, and actuators that are turned with the task."""
    state, action = randn(4, 800, 2), randn(4, 800, 2, seed=1)
    far = state.norm(dim=-1, keepdim=True)
    wall = (
        0.3 * torch.tanh(8 * (far - 1)) * torch.sigmoid(3 * action.norm(dim=-1, keepdim=True) - 3)
    )
    coords = torch.tensor([[0.0], [0.7], [-0.7], [0.35]]).double()
    push = 0.1 * lie.act(lie.exp(coords[..., None] * TURN), action)
    data = Samples(state, action, far[..., 0], state + wall * state / far + push)
    inputs, change = (part.flatten(0, 1) for part in pairs(data))
    network = NetworkDynamics(2, 2)
    network.fit(inputs, change, halves_of(data).flatten())
    waves = FourierDynamics(2, 2)
    waves.fit(inputs, change, halves_of(data).flatten())
    assert (network.noise < 0.9 * waves.noise).all()
    start = torch.zeros(1, 2, 2).double()
    assert inherited_or_shared(network, data, TURN, start, coords)[1]


@torch.no_grad()
def test_dynamics_that_nothing_carries_are_not_inherited():
    """Every task has a wind of its own, whose strength no rotation changes."""
    data = family(SAME)
    wind = torch.tensor([0.0, 0.3, 0.0, 0.6]).double()[:, None, None]
    change = torch.cat((wind, torch.zeros_like(wind)), -1)
    data = data._replace(next_state=data.next_state + change)
    found, inherited, _ = inherited_or_shared(shared_model(data), data, TURN, TURN, COORDS)
    assert not inherited
    assert torch.equal(found.actions, TURN)


@torch.no_grad()
def test_without_a_group_nothing_is_inherited():
    data = family(TURNED)
    model = shared_model(data)
    none, nowhere = TURN[:0], COORDS[:, :0]
    found, inherited, _ = inherited_or_shared(model, data, none, none, nowhere)
    assert not inherited
    assert len(found.actions) == 0


def units(num=800):
    """Units of a state and of a push, which saturates in units of its own in every task."""
    generator = torch.Generator().manual_seed(4)
    coords = torch.tensor([[0.0], [0.5], [-0.4], [0.3]]).double()
    scale = coords.exp()[:, None]
    drawn = torch.randn(4, num, 3, generator=generator, dtype=torch.float64)
    state, action = scale * drawn[..., :2], scale * drawn[..., 2:]
    within = torch.stack((state[..., 1], action[..., 0]), -1) / scale
    change = scale * (0.4 * torch.tanh(within) - 0.1 * state / scale)
    return Samples(state, action, state[..., 0], state + change), coords


@torch.no_grad()
def test_rows_that_rewards_do_not_see_follow_from_heredity():
    data, coords = units()
    truth = torch.eye(2).double()[None]
    start = Both(torch.diag(torch.tensor([1.0, 0.4]).double())[None], torch.zeros(1, 1, 1).double())
    found = inherited_rows(Heirs.of(data, coords), start, LAST_ROW)
    assert torch.equal(found.states[:, 0], truth[:, 0])
    assert_close(found.states, truth, atol=0.05, rtol=0)
    assert_close(found.actions, torch.ones(1, 1, 1).double(), atol=0.05, rtol=0)


@torch.no_grad()
def test_what_leaves_rewards_alone_follows_from_heredity():
    """Of sizes, rewards see the square: a scaling with any turn is as good to them."""
    data, coords = units()
    scaling = torch.eye(2).double()[None]
    spiral, ones = scaling + 0.8 * TURN, torch.ones(1, 1, 1).double()
    model, turn = shared_model(data, 1), TURN / 2**0.5
    assert not inherited_or_shared(model, data, spiral, ones, coords).inherited
    group, inherited, free = inherited_or_shared(model, data, spiral, ones, coords, spare=turn)
    assert inherited
    assert torch.equal(free, turn)
    assert_close(group.states, scaling, atol=0.02, rtol=0)
    assert_close(group.actions, ones, atol=0.02, rtol=0)


@torch.no_grad()
def test_what_heredity_does_not_need_stays_what_rewards_found():
    data, coords = units()
    noise = 0.02 * coords.exp()[:, None] * randn(*data.state.shape, seed=6)
    data = data._replace(next_state=data.next_state + noise)
    scaling, ones = torch.eye(2).double()[None], torch.ones(1, 1, 1).double()
    turn = TURN / 2**0.5
    model = shared_model(data, 1)
    group, inherited, free = inherited_or_shared(model, data, scaling, ones, coords, spare=turn)
    assert inherited
    assert not len(free)
    assert torch.equal(group.states, scaling)


def decades(num=1500):
    """The same of sizes that span decades, whose noise is a share of them."""
    generator = torch.Generator().manual_seed(4)
    coords = torch.tensor([[0.0], [0.5], [-0.4], [0.3]]).double()
    scale = coords.exp()[:, None]
    drawn = torch.randn(4, num, 5, generator=generator, dtype=torch.float64)
    within, noise = (1.2 * drawn[..., :3]).exp(), 0.05 * drawn[..., 3:]
    pushed = torch.stack((within[..., 1], within[..., 2]), -1).log()
    moved = within[..., :2] * (0.4 * torch.tanh(pushed) + noise).exp()
    state, action, following = (scale * part for part in (within[..., :2], within[..., 2:], moved))
    return Samples(state, action, state[..., 0], following), coords


@torch.no_grad()
def test_what_spans_decades_is_inherited_in_bent_states():
    data, coords = decades()
    start = Both(torch.diag(torch.tensor([1.0, 0.4]).double())[None], torch.zeros(1, 1, 1).double())
    inputs, change = (part.flatten(0, 1) for part in pairs(data))
    tails = long_tails(inputs)
    bent = BentDynamics(FourierDynamics(2, 1), tails)
    bent.fit(inputs, change, halves_of(data).flatten())
    bent.examine(inputs, change, halves_of(data).flatten())
    found = inherited_rows(Heirs.of(data, coords, bent), start, LAST_ROW)
    off = [(found.states[0, 1, 1] - 1).abs(), (found.actions - 1).abs().max()]
    straight = inherited_rows(Heirs.of(data, coords), start, LAST_ROW)
    worse = [(straight.states[0, 1, 1] - 1).abs(), (straight.actions - 1).abs().max()]
    assert max(off) < 0.05 < max(worse)
    both, inherited, _ = inherited_or_shared(bent, data, *found, coords)
    assert inherited
    assert (both.actions - 1).abs() < 0.05


@torch.no_grad()
def test_two_steps_in_bent_states_are_enough_if_the_base_task_is_known():
    data, coords = decades()
    inputs, change = (part.flatten(0, 1) for part in pairs(data))
    bent = BentDynamics(FourierDynamics(2, 1), long_tails(inputs))
    bent.fit(inputs, change, halves_of(data).flatten())
    bent.examine(inputs, change, halves_of(data).flatten())
    truth = Both(torch.eye(2).double()[None], torch.ones(1, 1, 1).double())
    base = Heirs.of(data, coords, bent).base(truth)
    start = Both(torch.diag(torch.tensor([1.0, 0.8]).double())[None], 0.8 * truth.actions)
    found = refined_rows(data, coords, start, LAST_ROW, base)
    assert_close(found.states[0, 1, 1], truth.states[0, 1, 1], atol=0.02, rtol=0)
    assert_close(found.actions, truth.actions, atol=0.02, rtol=0)


@torch.no_grad()
def test_fits_of_halves_follow_from_heredity_too():
    """What all tasks share says 0.4 of the second row: the report does not say so."""
    data, coords = units()
    shared = torch.tensor([[1.0, 0.0, 0.0, 0.4, 0.0]]).double()
    given = torch.tensor([True, True, False, False, False])
    completion = Completion(shared, 0.01 * (~given).double()[None], given)
    findings = SimpleNamespace(
        problem=SimpleNamespace(view=SimpleNamespace(units=SimpleNamespace(frame=range(2)))),
        inherited=True,
        generators=torch.eye(2).double()[None],
        action_generators=torch.ones(1, 1, 1).double(),
        free=LAST_ROW,
    )
    refitter = Refitter(None, None, None, findings)
    entries = refitter._settled(shared_model(data, 1), data, completion, coords, 1.0)
    truth = torch.tensor([[1.0, 0.0, 0.0, 1.0, 1.0]]).double()
    assert_close(entries, truth, atol=0.05, rtol=0)


@torch.no_grad()
def test_halves_do_not_tell_what_leaves_rewards_alone(monkeypatch):
    """They find half of the scaling at twice the coordinates, and any turn with it."""
    scaling, turn = torch.eye(2).double()[None], TURN / 2**0.5
    view = SimpleNamespace(
        among_seen=lambda generators: generators,
        units=SimpleNamespace(scale=lambda samples: samples),
    )
    findings = SimpleNamespace(
        problem=SimpleNamespace(view=view, leading=torch.arange(4)),
        dynamics=SimpleNamespace(model=SimpleNamespace(anew=lambda seed: seed)),
        inherited=False,
        seen=scaling,
        free=turn,
        coords=COORDS,
    )
    closed = 0.5 * (scaling + 0.8 * TURN), 2 * COORDS[1:]
    within = SimpleNamespace(closed=lambda subgroup, unknowns: closed)
    span = SimpleNamespace(fit=SimpleNamespace(subgroup=None))
    refitter = Refitter(within, span, None, findings)
    asked = []
    monkeypatch.setattr(refitter, "_elements", lambda samples, seed: (None, None))
    monkeypatch.setattr(refitter, "_completed", lambda *args: (asked.append(args[-1]), None))
    monkeypatch.setattr(refitter, "_settled", lambda *args: None)
    _, coords = refitter._refit(family(SAME), 1)
    assert_close(coords, COORDS)
    assert_close(asked, [scaling])


@torch.no_grad()
def test_dynamics_that_differ_a_little_are_inherited_too():
    """Actuators that are turned by little: 1% of the motion is a task's own."""
    coords = torch.tensor([[0.0], [0.12], [-0.08], [0.2]]).double()
    data = family(coords, num=1000)
    model, half = shared_model(data), halves_of(data)
    assert own_dynamics(model, half, data, family(coords, seed=7)).share == pytest.approx(
        0.0102, abs=0.003
    )
    found, inherited, _ = inherited_or_shared(model, data, TURN, TURN, coords)
    assert inherited
    assert_close(found.actions, torch.zeros(1, 2, 2).double(), atol=0.05, rtol=0)


@torch.no_grad()
def test_dynamics_that_fewer_actions_hide_are_not_inherited():
    """Actions that grow in the base task's frame until they say nothing leave nothing to differ."""
    data = family(SAME)
    wind = torch.tensor([0.0, 0.3, 0.0, 0.6]).double()[:, None, None]
    change = torch.cat((wind, torch.zeros_like(wind)), -1)
    data = data._replace(next_state=data.next_state + change)
    start = -1.2 * torch.eye(2).double()[None]
    _, inherited, _ = inherited_or_shared(shared_model(data), data, TURN, start, COORDS)
    assert not inherited
