"""Action generators from finite transformations, on dynamics whose symmetry is known exactly."""

import math

import pytest
import torch
from torch.testing import assert_close

from hgm import lie
from hgm.numerics.fourier import FourierRegression
from hgm.numerics.ranks import ALONE
from hgm.symmetry.representation import Represent
from hgm.symmetry.samples import Samples

TURN = lie.so_generators(2).double()
TWIST = torch.tensor([[1.0, 0.6], [0.0, 0.8]]).double()
"""Actions are felt through this map, so that `W_A` is conjugate to `W_S` and not equal to it."""


def randn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def world(num_tasks=3, num=600, noise=0.0):
    """States and actions of tasks, and where an equivariant map of both leads."""
    state, action = randn(num_tasks, num, 2, seed=1), randn(num_tasks, num, 2, seed=2)
    push = action @ TWIST.mT
    push = push / (1 + push.square().sum(-1, keepdim=True)).sqrt()
    next_state = state + push + noise * randn(num_tasks, num, 2, seed=3)
    return Samples(state, action, state[..., 0], next_state)


def fitted(data):
    model = FourierRegression(1, 4, 2, 192, [(math.inf, 1.0), (math.inf, 1.8)], (2, 2))
    inputs = torch.cat((data.state, data.action), -1).flatten(0, 1)
    model.accumulate(inputs[None], (data.next_state - data.state).flatten(0, 1)[None])
    model.solve()
    return model


def refined(data, start, num_steps=8):
    coords = torch.tensor([[0.0], [1.0], [-2.0]]).double()
    phase = Represent(fitted(data), TURN, start, coords, num_steps)
    while not phase.done:
        phase.step(data, ALONE)
    return phase


TRUTH = torch.linalg.inv(TWIST) @ TURN @ TWIST


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("noise", "tolerance"), [(0.0, 0.04), (0.05, 0.06)])
def test_it_finds_how_actions_turn(noise, tolerance, seed):
    # The dynamics are a fit, which is off by some percent where actions are rare.
    start = TRUTH + 0.15 * randn(1, 2, 2, seed=seed)
    found = refined(world(noise=noise), start).result
    assert (found - TRUTH).norm() < tolerance
    assert (found - TRUTH).norm() < (start - TRUTH).norm() / 2


def test_it_stops_by_itself():
    assert refined(world(), TRUTH, 50).taken < 20


def test_elements_reach_the_whole_group():
    phase = Represent(fitted(world()), TURN, TRUTH, torch.zeros(3, 1).double())
    assert phase.coords.min() < -2.5
    assert phase.coords.max() > 2.5
    assert phase.coords.abs().max() <= math.pi


def test_the_objective_has_the_derivative_it_says():
    data = world(num=40)
    phase = Represent(fitted(data), TURN, TRUTH, torch.zeros(3, 1).double())
    residuals = phase._residuals(data.state[0], data.action[0])
    unknowns = (TRUTH + 0.1 * randn(1, 2, 2)).flatten()
    terms = residuals(unknowns, True)
    change = 1e-6 * torch.eye(4).double()
    numeric = torch.stack(
        [
            (residuals(unknowns + step, False).residual - residuals(unknowns - step, False)[0])
            / 2e-6
            for step in change
        ],
        -2,
    )
    assert_close(terms.jacobian, numeric, atol=1e-7, rtol=1e-6)
    assert terms.residual.shape == (12 * 40, 2)
    assert terms.jacobian.shape == (12 * 40, 4, 2)
