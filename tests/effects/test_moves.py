"""Draws have the distribution that a closed form, or quadrature, says they have.

Anchors lie beside the truth throughout: where rows are taken to be normal must not matter.
"""

import math

import pytest
import torch
from torch.distributions import MultivariateNormal
from torch.nn.functional import one_hot, softplus
from torch.testing import assert_close

from hgm.effects.blocks import Block
from hgm.effects.diagnostics import effective_size
from hgm.effects.moves import LEAST, fit, move_effects, move_shared
from hgm.effects.sweep import Table, replace, start, sweep

NUM = 3
INDEX = torch.tensor([0, 0, 1, 1, 1, 2, 2, 2, 2, 2, 2])
# All of one kind in the first cluster: its posterior is far from normal.
ONES = torch.tensor([1, 1, 0, 1, 0, 1, 1, 0, 1, 1, 1]).double()


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=1):
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def theta(*sigma, scale=1.0, shift=0.0):
    return torch.tensor([scale, shift, *map(math.log, sigma)]).double()


@pytest.mark.parametrize("dim", [None, 3])
def test_gaussian_effects_have_the_moments_of_the_closed_form(dim):
    design, target = None if dim is None else normal(11, dim), normal(11, seed=2)
    full = torch.ones(11, 1).double() if design is None else design
    fixed, noise, own = normal(11, seed=3), 0.5, theta(*[1.2] * (dim or 1), scale=0.8, shift=0.3)
    zeros = torch.zeros(NUM, dim or 1).double()
    block = Block(
        fixed, torch.zeros(11).double(), target, INDEX, NUM, design, torch.tensor(noise).double()
    )
    working = fit(block, own + 0.3, zeros, 1.0)
    drawn = torch.stack(
        [move_effects(block, working, own, zeros, generator(seed))[0] for seed in range(2000)]
    )
    for c in range(NUM):
        rows, rest = full[c == INDEX], (target - 0.8 * fixed - 0.3)[c == INDEX]
        prior = torch.eye(dim or 1).double() / 1.2**2
        covariance = torch.linalg.inv(rows.mT @ rows / noise**2 + prior)
        off = drawn[:, c] - covariance @ rows.mT @ rest / noise**2
        # Five standard errors of a mean, and of a covariance, of 2000 draws.
        spread = covariance.diagonal().sqrt()
        assert (off.mean(0).abs() < 5 * spread / 2000**0.5).all()
        error = (off.mT @ off / 2000 - covariance).abs()
        assert (error < 5 * 1.5 * spread[:, None] * spread / 2000**0.5).all()


@pytest.mark.parametrize("dim", [None, 2])
def test_proposals_have_the_marginal_information_of_gaussian_targets(dim):
    """With effects integrated out targets are normal: curvature of that density, and the prior."""
    design = None if dim is None else normal(11, dim)
    full = torch.ones(11, 1).double() if design is None else design
    fixed, target, noise = normal(11, seed=3), 3 * normal(11, seed=2), 0.5
    block = Block(
        fixed, torch.zeros(11).double(), target, INDEX, NUM, design, torch.tensor(noise).double()
    )
    at = theta(*[1.2, 0.7][: dim or 1], scale=0.8, shift=0.3)
    same = one_hot(INDEX, NUM).double()
    same = same @ same.mT

    def density(at):
        covariance = (full * (2 * at[2:]).exp()) @ full.mT * same + noise**2 * torch.eye(11)
        found = MultivariateNormal(at[0] * fixed + at[1], covariance).log_prob(target)
        prior = -4 * (at[0] - 1) ** 2 / 2 - 1e-6 * at[1] ** 2 / 2
        return found + prior + (at[2:] - 1e-4 * (2 * at[2:]).exp() / 2).sum()

    exact = -torch.autograd.functional.hessian(density, at)
    size, axes = torch.linalg.eigh(exact)
    exact = (axes * size.clamp_min(0.25)) @ axes.mT
    zeros = torch.zeros(NUM, dim or 1).double()
    assert_close(fit(block, at, zeros, 4.0).precision, exact, rtol=1e-6, atol=1e-6)


def quadrature(offset, target, precision):
    """Mean and variance of one effect, on a grid."""
    grid = torch.linspace(-14, 14, 4001).double()
    logits = offset[:, None] + grid
    logs = (target[:, None] * logits - softplus(logits)).sum(0) - precision * grid**2 / 2
    weights = logs.softmax(0)
    mean = (weights * grid).sum()
    return mean, (weights * (grid - mean) ** 2).sum()


@pytest.mark.parametrize("deviation", [0.3, 1.0, 3.2])
def test_logistic_effects_have_the_moments_of_quadrature(deviation):
    offset, fixed, copies = normal(11), normal(11, seed=3), 2000
    index = (INDEX + NUM * torch.arange(copies)[:, None]).flatten()
    state, own = torch.zeros(NUM * copies, 1).double(), theta(deviation, scale=0.5, shift=0.2)
    block = Block(
        *(fixed.repeat(copies), offset.repeat(copies), ONES.repeat(copies), index, NUM * copies)
    )
    working = fit(block, own + torch.tensor([0.05, 0.1, 0.1]), state, 1.0)
    drawn, moved = [], []
    for seed in range(60):
        state, moves = move_effects(block, working, own, state, generator(seed))
        drawn.append(state[:, 0].view(copies, NUM))
        moved.append(moves.double().mean())
    drawn = torch.cat(drawn[10:])
    assert torch.stack(moved).mean() > 0.85
    for c in range(NUM):
        logits = (offset + 0.5 * fixed + 0.2)[c == INDEX]
        mean, variance = quadrature(logits, ONES[c == INDEX], deviation**-2)
        assert abs(drawn[:, c].mean() - mean) < 0.02 * variance.sqrt()
        assert abs(drawn[:, c].var() / variance - 1) < 0.05


def test_logistic_slopes_have_the_moments_of_quadrature():
    design, offset = torch.stack((torch.ones(11).double(), normal(11)), 1), normal(11, seed=7)
    copies, own = 1000, theta(1.0, 2.0)
    index = (INDEX + NUM * torch.arange(copies)[:, None]).flatten()
    state = torch.zeros(NUM * copies, 2).double()
    rows = (normal(11, seed=3), offset, ONES)
    block = Block(
        *(one.repeat(copies) for one in rows), index, NUM * copies, design.repeat(copies, 1)
    )
    working, drawn = fit(block, own + 0.1, state, 1.0), []
    for seed in range(25):
        state, _ = move_effects(block, working, own, state, generator(seed))
        drawn.append(state.view(copies, NUM, 2))
    drawn = torch.cat(drawn[5:])
    axis = torch.linspace(-9, 9, 361).double()
    grid = torch.cartesian_prod(axis, axis)
    for c in range(NUM):
        rows = c == INDEX
        logits = (offset + normal(11, seed=3))[rows, None] + design[rows] @ grid.mT
        logs = (ONES[rows, None] * logits - softplus(logits)).sum(0)
        weights = (logs - (torch.tensor([1, 0.25]).double() * grid**2).sum(-1) / 2).softmax(0)
        mean = weights @ grid
        covariance = (weights[:, None] * (grid - mean)).mT @ (grid - mean)
        assert (drawn[:, c].mean(0) - mean).abs().max() < 0.04
        assert_close(torch.cov(drawn[:, c].mT), covariance, atol=0.12, rtol=0)


AXES = [
    torch.linspace(-0.5, 3.5, 31).double(),
    torch.linspace(-2.5, 2.5, 31).double(),
    torch.linspace(-3.0, 2.5, 56).double(),
]


def shared_on_a_grid(fixed, target, index, num):
    """Posterior of scale, shift and log sigma: effects by quadrature, these on :data:`AXES`."""
    nodes = torch.linspace(-6, 6, 49).double()
    weights = (-nodes.square() / 2).log_softmax(0)
    total = torch.zeros(*map(len, AXES)).double()
    for c in range(num):
        rows = index == c
        base = AXES[0][:, None, None] * fixed[rows] + AXES[1][:, None]
        logits = base[:, :, None, None] + (AXES[2].exp()[:, None] * nodes)[..., None]
        total += ((target[rows] * logits - softplus(logits)).sum(-1) + weights).logsumexp(-1)
    scale, shift, logs = torch.meshgrid(*AXES, indexing="ij")
    total += -((scale - 1) ** 2) / 2 - 1e-6 * shift**2 / 2 + logs - 1e-4 * (2 * logs).exp() / 2
    return total.flatten().softmax(0).view_as(total)


@pytest.fixture(scope="module")
def small():
    """Fixed part, target, index and clusters of a table, and what is exactly known of it."""
    num, index = 30, torch.arange(180) % 30
    fixed = normal(180, seed=11)
    eta = fixed + (1.5 * normal(num, seed=12))[index]
    target = (torch.rand(180, generator=generator(13)).double() < eta.sigmoid()).double()
    return fixed, target, index, num, shared_on_a_grid(fixed, target, index, num)


@pytest.mark.parametrize("kind", ["two moves", "sweep"])
def test_scale_shift_and_deviation_have_the_posterior_of_quadrature(small, kind):
    """Neither the anchor nor the moves that only speed a sweep up change what is drawn."""
    fixed, target, index, num, exact = small
    drawn, fits = [], []
    table, state = Table(fixed[:, None], target, index[:, None]), start((num,), 1, 1)
    anchor = theta(1.2, scale=1.2, shift=0.2)
    state = replace(state, anchors=(anchor[:, None],))
    block = Block(fixed, torch.zeros(180).double(), target, index, num)
    here, effects = theta(1.0), torch.zeros(num, 1).double()
    working, source = fit(block, anchor, effects, 1.0), generator(5)
    for _ in range(3000):
        if kind == "sweep":
            state = sweep(table, "bernoulli", state, source, fits=fits)
            drawn.append(torch.stack((state.scale[0], state.shift[0], state.sigma[0][0, 0].log())))
        else:
            here, effects, _ = move_shared(block, working, here, effects, source, 1.0)
            effects, _ = move_effects(block, working, here, effects, source)
            drawn.append(here)
    drawn = torch.stack(drawn[100:])
    for place, axis in enumerate(AXES):
        own = exact.sum([i for i in range(3) if i != place])
        assert max(own[0], own[-1]) < 1e-3
        mean = (own * axis).sum()
        spread = (own * (axis - mean) ** 2).sum().sqrt()
        size = effective_size(drawn[None, :, place])
        assert size > 150
        assert abs(drawn[:, place].mean() - mean) < 4 * spread / size.sqrt()
        assert abs(drawn[:, place].std() / spread - 1) < 0.1
        for cut in (0.1, 0.5, 0.9):
            border = axis[torch.searchsorted(own.cumsum(0), cut)]
            share = own[axis < border].sum() + own[axis == border].sum() / 2
            found = (drawn[:, place] < border).double().mean()
            assert abs(found - share) < 4 * (cut * (1 - cut) / size).sqrt()


def test_deviations_do_not_fall_below_the_least():
    """Effects that differ in nothing: sigma goes to 0, and stays a number."""
    table = Table(normal(200, 1), normal(200, seed=4), torch.arange(200)[:, None] % 4)
    state = start((4,), 1, 1, sigma=2 * LEAST)
    for seed in range(50):
        state = sweep(table, "gaussian", state, generator(seed))
        assert LEAST <= float(state.sigma[0]) < 10
