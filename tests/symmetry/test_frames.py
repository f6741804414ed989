"""What a task's own dynamics add, and transitions in the base task's frame."""

import pytest
import torch
from motors import COORDS, NUM, SAME, TURNED, family, halves_of, pushed, shared_model
from systems import TURN, randn
from torch.testing import assert_close

from hgm import lie
from hgm.dynamics import FourierDynamics
from hgm.dynamics.bent import BentDynamics
from hgm.numerics.tails import long_tails
from hgm.symmetry.frames import base_dynamics, carried, each_half, missed, own_dynamics, pairs
from hgm.symmetry.samples import Samples

TRAIN, HELD = slice(0, 700), slice(700, 1000)


def own(turns, **kind):
    data = family(turns, **kind)
    held = family(turns, **{**kind, "seed": 7})
    return own_dynamics(shared_model(data), halves_of(data), data, held)


@pytest.mark.parametrize("noise", [0.02, 0.2])
def test_tasks_with_the_same_dynamics_have_none_of_their_own(noise):
    found = own(SAME, noise=noise)
    assert found.deviation.shape == found.motion.shape == (4, NUM)
    assert abs(found.share) < 5e-3


@pytest.mark.parametrize("noise", [0.02, 0.2])
def test_turned_actuators_are_a_task_s_own(noise):
    # Of unit vectors in four directions, what their mean does not explain.
    element = lie.exp(TURNED[..., None] * TURN)
    expected = 1 - float(element.mean(0)[0].square().sum())
    found = own(TURNED, noise=noise)
    # As a share of the motion that all tasks explain.
    assert found.share == pytest.approx(expected / (1 - expected), rel=0.15)


@pytest.mark.parametrize(("own_rate", "least", "most"), [(0.0, -2e-3, 2e-3), (0.3, 0.05, 2.0)])
def test_states_that_span_decades_count_alike(own_rate, least, most):
    """By displacements of straight states, the largest few decide."""
    state, action = (2 * randn(4, 1000, 1)).exp(), randn(4, 1000, 1, seed=1)
    rate = own_rate * torch.tensor([-1.0, -1, 1, 1]).double()[:, None, None]
    noise = 0.05 * randn(4, 1000, 1, seed=2)
    after = state * (0.3 * torch.tanh(action) + rate * (state < 1) + noise).exp()
    data = Samples(state, action, torch.zeros(4, 1000).double(), after)
    train, held = (Samples(*(field[:, part] for field in data)) for part in (TRAIN, HELD))
    inputs, change = (part.flatten(0, 1) for part in pairs(train))
    half = halves_of(train)
    model = BentDynamics(FourierDynamics(1, 1), long_tails(inputs))
    model.fit(inputs, change, half.flatten())
    model.examine(inputs, change, half.flatten())
    assert least < own_dynamics(model, half, train, held).share < most


def test_the_share_grows_with_the_square_of_the_angle():
    small, large = (own(factor * TURNED, noise=0.02).share for factor in (0.2, 0.4))
    assert large / small == pytest.approx(4, rel=0.25)


def test_carried_transitions_are_those_of_the_base_task():
    data = family(COORDS, noise=0.0)
    elements = lie.exp(COORDS[..., None] * TURN)
    identity = torch.eye(2).double().expand_as(elements)
    there = carried(data, elements, identity)
    inputs, change = pairs(there)
    assert_close(change, pushed(inputs[..., :2], inputs[..., 2:]))
    assert_close(lie.act(elements, there.state), data.state)
    assert torch.equal(there.reward, data.reward)


def test_carried_actions_are_turned_back():
    data = family(SAME, noise=0.0)
    elements = lie.exp(COORDS[..., None] * TURN)
    inputs, change = pairs(carried(data, elements, elements))
    assert_close(change, pushed(inputs[..., :2], inputs[..., 2:]))
    assert_close(lie.act(elements, inputs[..., 2:]), data.action)


def test_transitions_are_missed_by_the_twin_that_did_not_learn_from_them():
    data, half = family(SAME, noise=0.0), halves_of(family(SAME))
    model = shared_model(data)
    change = (data.next_state - data.state).flatten(0, 1)
    model.values = lambda inputs: torch.stack((change + 1, change + 2))
    assert_close(missed(model, half, data)[..., 0], 2 - half.double())


def test_base_dynamics_learn_from_all_tasks():
    data = family(SAME, num=200)
    model = base_dynamics(data, halves_of(data))
    state, action = randn(50, 2, seed=60), randn(50, 2, seed=61)
    found = model.values(torch.cat((state, action), -1)).mean(0)
    assert (found - pushed(state, action)).norm(dim=1).mean() < 0.02
    assert (model.noise < 0.03).all()


def test_each_half_is_judged_by_what_the_other_one_learned():
    """What a task's own regression learns of noise is no motion of its own."""
    data = family(SAME, noise=0.2)
    model, half = shared_model(data), halves_of(data)
    both = each_half(model, half, data)
    assert both.deviation.shape == both.motion.shape == (4, NUM)
    assert abs(both.share) < 5e-3
    assert own_dynamics(model, half, data, data).share > 4 * abs(both.share)
    assert both.share == pytest.approx(float(both.shares.mean()))
