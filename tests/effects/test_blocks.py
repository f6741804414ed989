"""Sums by group, and the most likely effects of groups."""

import pytest
import torch

from hgm.effects.blocks import Block, mode, sums

INDEX = torch.tensor([0, 0, 1, 1, 1, 2, 2, 2, 2, 2, 2])


def normal(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_sums_are_by_group():
    assert sums(torch.ones(11).double(), INDEX, 4).tolist() == [2, 3, 6, 0]


@pytest.mark.parametrize("noise", [None, 0.5])
def test_the_mode_has_no_gradient_even_from_far_away(noise):
    design = torch.stack((torch.ones(11).double(), normal(11)), 1)
    target = torch.ones(11).double() if noise is None else normal(11, seed=3)
    deviation = None if noise is None else torch.tensor(noise).double()
    block = Block(normal(11, seed=4), normal(11, seed=2), target, INDEX, 3, design, deviation)
    shared, precision = torch.tensor([0.7, -0.2]).double(), torch.full((2,), 1e-3).double()
    far = 30 * normal(3, 2, seed=5)
    for start in (torch.zeros_like(far), far):
        found = mode(block, shared, precision, start).requires_grad_()
        value = block.fit(block.predictor(shared, found)).sum()
        value = value - (precision * found.square()).sum() / 2
        (gradient,) = torch.autograd.grad(value, found)
        assert gradient.abs().max() < 1e-6


@pytest.mark.parametrize("noise", [None, 0.5])
def test_slopes_are_those_of_the_fit(noise):
    deviation = None if noise is None else torch.tensor(noise).double()
    block = Block(normal(11), normal(11), (normal(11) > 0).double(), INDEX, 3, noise=deviation)
    eta = normal(11, seed=6).requires_grad_()
    (first,) = torch.autograd.grad(block.fit(eta).sum(), eta, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), eta)
    slope, weight = block.slopes(eta.detach())
    torch.testing.assert_close(slope, first.detach())
    torch.testing.assert_close(weight, -second)
