"""Terms of the action against their formula and against derivatives by autograd."""

import math

import pytest
import torch
from torch.testing import assert_close

from hgm.geometry import ActionReward
from hgm.numerics.fourier import LINEAR_SCALE


def randn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def terms(num_waves=4, m=3, inherited=True):
    size = m + m * (m + 1) // 2 + num_waves
    scale = torch.linspace(0.5, 2.0, m).double()
    waves = randn(num_waves, m, seed=1), randn(num_waves, seed=2)
    return ActionReward(scale, *waves, randn(size, seed=3), inherited)


def test_values_by_hand():
    nothing = torch.zeros(0, 2).double(), torch.zeros(0).double()
    weights = torch.tensor([1.0, 0.0, 0.0, 2.0, 0.0]).double() / LINEAR_SCALE
    model = ActionReward(torch.tensor([2.0, 0.5]).double(), *nothing, weights, False)
    # Scaled, the action is (2, 6): one times the first and twice their product.
    assert_close(model(torch.tensor([4.0, 3.0]).double()), torch.tensor(26.0).double())
    wave = torch.tensor([[math.pi, 0.0]]).double(), torch.zeros(1).double()
    only = torch.cat((torch.zeros(5), torch.ones(1))).double()
    model = ActionReward(torch.ones(2).double(), *wave, only, False)
    assert_close(model(torch.tensor([1.0, 9.0]).double()), torch.tensor(-math.sqrt(2)).double())


@pytest.mark.parametrize("num_waves", [0, 4])
def test_slopes_are_derivatives(num_waves):
    model, action = terms(num_waves), randn(5, 2, 3).requires_grad_()
    (expected,) = torch.autograd.grad(model(action).sum(), action)
    assert expected.abs().min() > 1e-3
    assert_close(model.slope(action.detach()), expected)


def test_single_precision_is_nearly_the_same():
    model, action = terms(), randn(7, 3)
    short = model.to(torch.float32)
    assert short(action).dtype == torch.float32
    assert short.inherited
    assert_close(short(action).double(), model(action), atol=1e-4, rtol=1e-4)
