"""Dynamics as networks with a linear part."""

import math

import pytest
import torch
from systems import drawn, flat, integrator, randn
from torch.testing import assert_close

from hgm.dynamics import FourierDynamics, NetworkDynamics
from hgm.numerics.twins import Twins


@pytest.mark.parametrize("kind", [{"width": 0}, {"depth": 0}, {"width": 2.5}])
def test_sizes_are_checked(kind):
    with pytest.raises(ValueError, match=next(iter(kind))):
        NetworkDynamics(2, 2, **kind)


def test_linear_dynamics_are_where_it_starts():
    inputs, change, half = flat(drawn(integrator(), 4, 2, 500, num_tasks=1))
    model = NetworkDynamics(4, 2, width=16)
    model.fit(inputs, change, half)
    truth = torch.zeros(4, 6).double()
    truth[:, 2:] = 0.1 * torch.eye(4)
    jacobian = model.predict(randn(50, 6, seed=1)).jacobian
    assert_close(jacobian, truth.expand_as(jacobian), atol=5e-3, rtol=0)


@pytest.mark.parametrize("depth", [1, 3])
def test_jacobians_hold_for_any_depth(depth):
    inputs, change, half = flat(drawn(lambda s, a: (s * a).sin(), 2, 2, 60, num_tasks=1))
    model = NetworkDynamics(2, 2, width=8, depth=depth)
    model.fit(inputs, change, half)
    where, step = randn(10, 4, seed=2), 1e-2 * torch.eye(4).double()
    jacobian = model.predict(where).jacobian
    for axis in range(4):
        slope = (model.values(where + step[axis]) - model.values(where - step[axis])) / 2e-2
        assert_close(slope, jacobian[..., axis], atol=5e-3, rtol=0)


@pytest.mark.slow
def test_in_many_dimensions_it_needs_less_data_than_waves_do():
    def change(state, action):
        return 0.3 * torch.tanh(state.roll(1, -1) * action) - 0.1 * state

    inputs, moved, half = flat(drawn(change, 8, 8, 2000, 0.01, num_tasks=1))
    waves, network = FourierDynamics(8, 8, 128), NetworkDynamics(8, 8)
    for model in (waves, network):
        model.fit(inputs, moved, half)
        model.examine(inputs, moved, half)
    assert network.surprise < waves.surprise - 0.5


def test_learning_needs_no_gradients_to_be_on():
    inputs, change, half = flat(drawn(lambda s, a: s * a, 2, 2, 60, num_tasks=1))
    model = NetworkDynamics(2, 2, width=8)
    with torch.no_grad():
        model.fit(inputs, change, half)
    assert not model.values(inputs).requires_grad


def test_pieces_make_the_whole(monkeypatch):
    inputs, change, half = flat(drawn(lambda s, a: s * a, 2, 2, 60, num_tasks=1))
    model = NetworkDynamics(2, 2, width=8)
    model.fit(inputs, change, half)
    whole = model.predict(inputs)
    monkeypatch.setattr("hgm.dynamics.network._BUDGET", 7)
    for one, two in zip(whole, model.predict(inputs), strict=True):
        assert_close(one, two, atol=1e-5, rtol=1e-5)
    assert_close(model.values(inputs), whole.value, atol=1e-5, rtol=1e-5)


def test_it_goes_on_while_held_out_displacements_gain(monkeypatch):
    def change(state, action):
        return torch.tanh(2 * state.roll(1, -1) * action)

    monkeypatch.setattr("hgm.dynamics.network._STEPS", (100, 100))
    inputs, moved, half = flat(drawn(change, 4, 4, 2000, 0.001, num_tasks=1))
    found = {}
    for more in (0, 3):
        monkeypatch.setattr("hgm.dynamics.network._MORE", more)
        model = NetworkDynamics(4, 4, width=32)
        model.fit(inputs, moved, half)
        model.examine(inputs, moved, half)
        found[more] = model.surprise
    assert found[3] < found[0] - 0.5


def test_what_is_exact_already_counts_for_nothing(monkeypatch):
    """Steps that fit one displacement ever better and the noise of another one, too."""
    monkeypatch.setattr("hgm.dynamics.network._STEPS", (300, 300))
    inputs, half = randn(300, 4, seed=0), torch.arange(300) % 2
    noisy = torch.tanh(inputs[:, 0] * inputs[:, 1]) + 0.3 * randn(300, seed=1)
    change, found = torch.stack((noisy, 0.1 * inputs[:, 2]), -1), []
    for more in (0, 3):
        monkeypatch.setattr("hgm.dynamics.network._MORE", more)
        model = NetworkDynamics(2, 2, width=16)
        model.fit(inputs, change, half)
        model.examine(inputs, change, half)
        found.append(float(model.noise[0]))
    assert found[1] < 1.5 * found[0]


@pytest.mark.parametrize("harm", [1.0, math.nan])
def test_steps_that_do_harm_are_undone(monkeypatch, harm):
    inputs, change, half = flat(drawn(lambda s, a: s * a, 2, 2, 60, num_tasks=1))
    found, descend = [], Twins.descend

    def ruin(self, *args):
        if len(calls) == 0:
            descend(self, *args)
        else:
            self.weights[-1] += harm
        calls.append(args)

    monkeypatch.setattr(Twins, "descend", ruin)
    for more, num in ((0, 1), (3, 2)):
        calls = []
        monkeypatch.setattr("hgm.dynamics.network._MORE", more)
        model = NetworkDynamics(2, 2, width=8)
        model.fit(inputs, change, half)
        found.append(model.values(inputs))
        assert len(calls) == num
    assert torch.equal(*found)


def test_it_knows_where_noise_is_larger():
    inputs, change, half = flat(drawn(lambda s, a: s * a, 2, 2, 1500, num_tasks=1))
    size = 0.02 + 0.3 * (inputs[:, :1] > 0)
    found = []
    for noise in (0.2, size):
        model = NetworkDynamics(2, 2, width=32)
        model.fit(inputs, change + noise * randn(*change.shape, seed=5), half)
        found.append(model.local)
    same, told = found
    assert same is None
    here = torch.tensor([[1.0, 0, 0, 0], [-1.0, 0, 0, 0]]).double()
    assert told(here)[0] > 20 * told(here)[1]
