"""Dynamics on Fourier features: closed form, and linear where that is all there is."""

import pytest
import torch
from systems import drawn, flat, integrator, randn
from torch.testing import assert_close

from hgm.dynamics import FourierDynamics


@pytest.mark.parametrize("num", [0, 7, 12.5, None])
def test_the_dynamics_need_some_features(num):
    with pytest.raises(ValueError, match="`num_dynamics_features` to be an int, at least 8"):
        FourierDynamics(2, 2, num)


def test_twins_have_waves_of_their_own():
    one, two = FourierDynamics(2, 1, 16).twins
    assert (one.dim_input, one.dim_output, one.blocks) == (3, 2, [2, 1])
    assert not torch.equal(one.frequencies, two.frequencies)


@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_linear_dynamics_are_found_to_be_linear(noise):
    inputs, change, half = flat(drawn(integrator(), 4, 2, 500, noise, num_tasks=2))
    model = FourierDynamics(4, 2, 64)
    model.fit(inputs, change, half)
    model.examine(inputs, change, half)
    truth = torch.zeros(4, 6).double()
    truth[:, 2:] = 0.1 * torch.eye(4)
    jacobian = model.predict(3 * randn(50, 6, seed=1)).jacobian
    assert_close(jacobian, truth.expand_as(jacobian), atol=1e-3 + 0.2 * noise, rtol=0)
    if noise == 0:
        assert model.explains_all
    else:
        assert_close(model.noise, torch.full((4,), noise).double(), rtol=0.1, atol=0)


def test_the_same_with_other_waves_keeps_the_length_scales():
    inputs, change, half = flat(drawn(integrator(), 4, 2, 500, 0.02, num_tasks=2))
    model = FourierDynamics(4, 2, 64)
    assert model.anew(1).lengthscales == model.lengthscales
    model.fit(inputs, change, half)
    other = model.anew(1)
    chosen = {model.lengthscales[twin.likeliest[0]] for twin in model.twins}
    assert set(other.lengthscales) == chosen
    assert not torch.equal(other.twins[0].phases, model.twins[0].phases)
    other.fit(inputs, change, half)
    assert_close(other.values(inputs), model.values(inputs), atol=0.05, rtol=0)
