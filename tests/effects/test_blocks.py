"""Draws have the distribution that a closed form, or quadrature, says they have."""

import pytest
import torch
from torch.testing import assert_close

from hgm.effects.blocks import (
    contribution,
    draw_gaussian,
    draw_logistic,
    gaussian_posterior,
    logistic_mode,
    sums,
)

NUM = 3
INDEX = torch.tensor([0, 0, 1, 1, 1, 2, 2, 2, 2, 2, 2])


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=1):
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def test_sums_are_by_group():
    assert sums(torch.ones(11).double(), INDEX, 4).tolist() == [2, 3, 6, 0]


@pytest.mark.parametrize("dim", [None, 3])
def test_the_gaussian_posterior_is_the_closed_form(dim):
    design = None if dim is None else normal(11, dim)
    full = torch.ones(11, 1).double() if design is None else design
    target, precision = normal(11, seed=2), torch.full((dim or 1,), 0.7).double()
    noise = torch.tensor(0.5).double()
    mean, hessian = gaussian_posterior(design, target, INDEX, precision, noise, NUM)
    drawn = torch.stack(
        [
            draw_gaussian(design, target, INDEX, precision, noise, NUM, generator(seed))
            for seed in range(2000)
        ]
    )
    for c in range(NUM):
        rows = full[c == INDEX]
        own = rows.mT @ rows / 0.25 + torch.diag(precision)
        assert_close(hessian[c], own)
        covariance = torch.linalg.inv(own)
        assert_close(mean[c], covariance @ rows.mT @ target[c == INDEX] / 0.25)
        off = drawn[:, c] - mean[c]
        # Five standard errors of a mean, and of a covariance, of 2000 draws.
        spread = covariance.diagonal().sqrt()
        assert (off.mean(0).abs() < 5 * spread / 2000**0.5).all()
        error = (off.mT @ off / 2000 - covariance).abs()
        assert (error < 5 * 1.5 * spread[:, None] * spread / 2000**0.5).all()


def quadrature(offset, target, precision):
    """Mean and variance of one effect, on a grid."""
    grid = torch.linspace(-14, 14, 4001).double()
    logits = offset[:, None] + grid
    logs = (target[:, None] * logits - torch.nn.functional.softplus(logits)).sum(0)
    logs = logs - precision * grid**2 / 2
    weights = (logs - logs.max()).exp()
    weights = weights / weights.sum()
    mean = (weights * grid).sum()
    return mean, (weights * (grid - mean) ** 2).sum()


@pytest.mark.parametrize("deviation", [0.3, 1.0, 3.2])
def test_logistic_effects_have_the_moments_of_quadrature(deviation):
    offset = normal(11)
    # All of one kind in the first cluster: its posterior is far from normal.
    target = torch.tensor([1, 1, 0, 1, 0, 1, 1, 0, 1, 1, 1]).double()
    precision = torch.tensor([deviation**-2]).double()
    copies = 2000
    index = (INDEX + NUM * torch.arange(copies)[:, None]).flatten()
    state = torch.zeros(NUM * copies, 1).double()
    mode, drawn, moved = state, [], []
    for seed in range(30):
        state, mode, moves = draw_logistic(
            *(None, offset.repeat(copies), target.repeat(copies), index, precision),
            *(state, mode, generator(seed)),
        )
        drawn.append(state[:, 0].view(copies, NUM))
        moved.append(moves.double().mean())
    drawn = torch.cat(drawn[10:])
    assert torch.stack(moved).mean() > 0.85
    for c in range(NUM):
        mean, variance = quadrature(offset[c == INDEX], target[c == INDEX], precision)
        assert abs(drawn[:, c].mean() - mean) < 0.02 * variance.sqrt()
        assert abs(drawn[:, c].var() / variance - 1) < 0.05


def test_logistic_slopes_have_the_moments_of_quadrature():
    design, offset = torch.stack((torch.ones(11), normal(11).float()), 1).double(), normal(11)
    target = torch.tensor([1, 1, 0, 1, 0, 1, 1, 0, 1, 1, 1]).double()
    precision = torch.tensor([1.0, 0.25]).double()
    copies = 1000
    index = (INDEX + NUM * torch.arange(copies)[:, None]).flatten()
    state = torch.zeros(NUM * copies, 2).double()
    mode, drawn = state, []
    wide = (design.repeat(copies, 1), offset.repeat(copies), target.repeat(copies), index)
    for seed in range(25):
        state, mode, _ = draw_logistic(*wide, precision, state, mode, generator(seed))
        drawn.append(state.view(copies, NUM, 2))
    drawn = torch.cat(drawn[5:])
    axis = torch.linspace(-9, 9, 361).double()
    grid = torch.cartesian_prod(axis, axis)
    for c in range(NUM):
        own = c == INDEX
        logits = offset[own, None] + design[own] @ grid.mT
        logs = (target[own, None] * logits - torch.nn.functional.softplus(logits)).sum(0)
        weights = (logs - (precision * grid**2).sum(-1) / 2).softmax(0)
        mean = weights @ grid
        covariance = (weights[:, None] * (grid - mean)).mT @ (grid - mean)
        assert (drawn[:, c].mean(0) - mean).abs().max() < 0.04
        assert_close(torch.cov(drawn[:, c].mT), covariance, atol=0.12, rtol=0)


def test_the_mode_has_no_gradient_even_from_far_away():
    design, offset = torch.stack((torch.ones(11), normal(11).float()), 1).double(), normal(11)
    target = torch.ones(11).double()
    precision = torch.tensor([1e-3, 1e-3]).double()
    far = 30 * normal(NUM, 2, seed=5)
    for start in (torch.zeros_like(far), far):
        mode, _ = logistic_mode(design, offset, target, INDEX, precision, start)
        slope = target - torch.sigmoid(offset + contribution(design, INDEX, mode))
        gradient = sums(slope[:, None] * design, INDEX, NUM) - precision * mode
        assert gradient.abs().max() < 1e-6
