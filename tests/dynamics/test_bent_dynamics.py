"""Dynamics of states that span decades."""

import math

import pytest
import torch
from systems import LeastSquares, randn
from torch.func import jacfwd, vmap
from torch.testing import assert_close

from hgm.dynamics import FourierDynamics, NetworkDynamics
from hgm.dynamics.base import choose
from hgm.dynamics.bent import BentDynamics, BentInputs, with_bent
from hgm.numerics.tails import long_tails

STATE, ACTION = randn(1500, 2).exp(), randn(1500, 1, seed=1)
INPUTS = torch.cat((STATE, ACTION), 1)
CHANGE = STATE * (0.2 * torch.tanh(STATE.log().flip(-1) + ACTION))
HALF = torch.arange(len(STATE)) % 2


def test_a_quick_model_is_tried_at_bent_inputs_too():
    models = with_bent([FourierDynamics(2, 1), NetworkDynamics(2, 1)], INPUTS)
    kinds = [type(model) for model in models]
    assert kinds == [FourierDynamics, BentInputs, BentDynamics, NetworkDynamics]
    assert len(with_bent([FourierDynamics(2, 1)], randn(1500, 3))) == 1


def test_what_spans_decades_is_predicted_better_there():
    models = with_bent([FourierDynamics(2, 1)], INPUTS)
    assert choose(models, INPUTS, CHANGE, HALF) is models[2]
    for model in models[1:]:
        assert (model.noise < 0.5 * models[0].noise).all()


def test_what_takes_long_is_fitted_in_the_coordinates_that_are_likeliest(monkeypatch):
    monkeypatch.setattr("hgm.dynamics.base._SETTLED", 0.0)
    network = NetworkDynamics(2, 1, width=32)
    models = with_bent([FourierDynamics(2, 1, 16), network], INPUTS)
    found = choose(models, INPUTS, CHANGE, HALF)
    assert isinstance(found, BentDynamics)
    assert found.model is network
    assert found.tails is models[2].tails
    assert_close(found.core(INPUTS, CHANGE)[1], found.tails(INPUTS))


def test_its_own_errors_are_those_of_bent_states():
    model = with_bent([FourierDynamics(2, 1)], INPUTS)[2]
    model.fit(INPUTS, CHANGE, HALF)
    model.examine(INPUTS, CHANGE, HALF)
    core, inputs, change = model.core(INPUTS, CHANGE)
    assert_close(inputs[:, :2] + change, model.tails.some([0, 1])(STATE + CHANGE))
    both = core.values(inputs)
    unlike = (both[0] - both[1]).square().mean(0) / 2
    left = core.left(inputs, change, HALF).square().mean(0)
    assert model.own_error == pytest.approx(float((unlike / left).max()), rel=1e-6)


@pytest.mark.parametrize("kind", [BentInputs, BentDynamics])
def test_what_it_asks_is_examined_too(kind):
    """Whatever it is: readings are in its units."""
    model = kind(LeastSquares(), long_tails(INPUTS))
    model.fit(INPUTS, CHANGE, HALF)
    model.examine(INPUTS, CHANGE, HALF)
    core, inputs, change = model.core(INPUTS, CHANGE)
    assert_close(core.scale, change.std(0))
    after, _ = model.reading(STATE + CHANGE)
    before, slope = model.reading(STATE)
    assert_close(after - before, change / core.scale)
    truth = vmap(jacfwd(lambda one: model.reading(one)[0]))(STATE[:5])
    assert_close(slope[:5], truth.diagonal(dim1=-2, dim2=-1))
    assert_close(
        model.left_over, core.left(inputs, change, HALF).square().mean(0).sqrt() / core.scale
    )


@pytest.mark.parametrize("kind", [1, 2])
def test_jacobians_are_those_of_the_displacements(kind):
    model = with_bent([FourierDynamics(2, 1)], INPUTS)[kind]
    model.fit(INPUTS, CHANGE, HALF)
    value, jacobian = model.predict(INPUTS[:5])
    assert_close(model.values(INPUTS[:5]), value)
    truth = vmap(jacfwd(lambda one: model.values(one[None])[:, 0]))(INPUTS[:5])
    assert_close(jacobian, truth.transpose(0, 1))


@pytest.mark.parametrize("kind", [1, 2])
def test_other_waves_keep_the_map(kind):
    model = with_bent([FourierDynamics(2, 1)], INPUTS)[kind]
    other = model.anew(3)
    assert type(other) is type(model)
    assert other.tails is model.tails


def test_a_little_gain_is_not_worth_it():
    """A bent model says so much less for itself as half the mean square would say for it."""
    _, inputs, model = with_bent([FourierDynamics(2, 1)], INPUTS)
    for one in (inputs, model):
        one.fit(INPUTS, CHANGE, HALF)
        one.examine(INPUTS, CHANGE, HALF)
    plain = float((inputs.noise / inputs.scale).log().sum())
    assert inputs.surprise == pytest.approx(plain + 0.5 * math.log(2))
    bent = model.tails.some([0, 1])
    left = bent(STATE + model.values(INPUTS)) - bent(STATE + CHANGE)
    noise = left.gather(0, (1 - HALF)[None, :, None].expand(1, -1, 2))[0].square().mean(0).sqrt()
    density = vmap(jacfwd(bent))(STATE + CHANGE).diagonal(dim1=1, dim2=2).log().sum(1).mean()
    likely = density - (noise / CHANGE.std(0)).log().sum()
    assert model.surprise == pytest.approx(0.5 * math.log(2) - float(likely))
    change = 0.2 * torch.tanh(ACTION) + 0.05 * randn(1500, 2, seed=2)
    models = with_bent([FourierDynamics(2, 1)], INPUTS)
    assert choose(models, INPUTS, change, HALF) is models[0]


def test_noise_that_is_a_share_of_the_state_is_told_by_small_states_as_well():
    """Their own displacements are known as well as those of large ones, and count as much."""
    change = STATE * (torch.exp(0.5 * torch.tanh(ACTION) + 0.05 * randn(1500, 2, seed=2)) - 1)
    model = choose(with_bent([FourierDynamics(2, 1)], INPUTS), INPUTS, change, HALF)
    assert isinstance(model, BentDynamics)
    expected = STATE * torch.expm1(0.5 * torch.tanh(ACTION))
    off = ((model.values(INPUTS).mean(0) - expected) / STATE).square().mean(0).sqrt()
    assert (off < 0.03).all()
    after = STATE + model.values(INPUTS).mean(0)
    sure = model.precision(INPUTS).sqrt() * after
    # Where the map is a logarithm; the noise of its inverse is a share of the state.
    told = STATE.gt(STATE.quantile(0.3)).all(1)
    assert (sure[told].std(0) < 0.2 * sure[told].mean(0)).all()


def test_noise_that_is_the_same_everywhere_is_that_of_straight_displacements():
    change = 0.3 * STATE * torch.tanh(ACTION) + 0.3 * randn(1500, 2, seed=2)
    model = choose(with_bent([FourierDynamics(2, 1)], INPUTS), INPUTS, change, HALF)
    assert not isinstance(model, BentDynamics)


def test_no_wave_sends_what_is_bent_far_beyond_what_was_seen_nor_keeps_back_what_is_straight():
    place = randn(1500, 1, seed=5)
    inputs, moved = torch.cat((STATE, place, ACTION), 1), 0.3 * ACTION
    model = BentDynamics(FourierDynamics(3, 1), long_tails(inputs))
    model.fit(inputs, torch.cat((CHANGE, moved), 1), HALF)
    far = inputs[:50] + torch.tensor([0.0, 0.0, 30.0, 40.0])
    after = far[:, :3] + model.values(far)
    assert (after[..., :2] < 20 * (STATE + CHANGE).amax(0)).all()
    assert (after[..., 2] > 15).all()
    value, jacobian = model.predict(far)
    truth = vmap(jacfwd(lambda one: model.values(one[None])[:, 0]))(far)
    assert_close(jacobian, truth.transpose(0, 1))


def test_a_constant_beside_what_spans_decades_changes_nothing():
    inputs = torch.cat((STATE, torch.full_like(ACTION, 0.1), ACTION), 1)
    change = torch.cat((CHANGE, torch.zeros_like(ACTION)), 1)
    model = choose(with_bent([FourierDynamics(3, 1)], inputs), inputs, change, HALF)
    assert isinstance(model, BentDynamics)
    assert model.predict(inputs[:5]).jacobian.isfinite().all()
    assert model.precision(inputs[:5]).isfinite().all()


def test_models_that_are_fitted_are_tried_anew():
    model = FourierDynamics(2, 1)
    first = choose(with_bent([model], INPUTS), INPUTS, CHANGE, HALF)
    again = choose(with_bent([model], INPUTS), INPUTS, CHANGE, HALF)
    assert_close(again.values(INPUTS[:5]), first.values(INPUTS[:5]))
