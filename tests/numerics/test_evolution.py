"""Evolution strategies by their closed forms on quadratics, and by what must not matter."""

import pytest
import torch
from torch.testing import assert_close

from hgm.numerics.evolution import antithetic, centred_ranks, gradient

DIM = 6


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def quadratic(seed=1):
    """A concave quadratic, and its gradient."""
    factor = torch.randn(DIM, DIM, generator=generator(seed), dtype=torch.float64)
    matrix, centre = factor @ factor.T + torch.eye(DIM), torch.arange(DIM, dtype=torch.float64)

    def value(x):
        away = x - centre
        return -0.5 * ((away @ matrix) * away).sum(-1)

    return value, lambda x: (centre - x) @ matrix, centre


def test_pairs_cancel_and_are_normal():
    drawn = antithetic(20_000, 3, generator())
    assert_close(drawn[:10_000], -drawn[10_000:])
    assert_close(drawn.T @ drawn / 20_000, torch.eye(3), atol=0.04, rtol=0)
    assert_close(drawn, antithetic(20_000, 3, generator()))


@pytest.mark.parametrize("num", [0, 1, 7])
def test_odd_numbers_of_members_are_refused(num):
    with pytest.raises(ValueError, match="even number of members"):
        antithetic(num, 3, generator())


@pytest.mark.parametrize("sigma", [1e-2, 1.0, 30.0])
def test_on_a_quadratic_the_estimate_is_the_directions_moment_times_the_gradient(sigma):
    """Even terms cancel in pairs, so that sigma leaves no error."""
    value, slope, _ = quadratic()
    point = torch.ones(DIM, dtype=torch.float64)
    directions = antithetic(10, DIM, generator()).double()
    found = gradient(directions, value(point + sigma * directions), sigma)
    moment = directions.T @ directions / 10
    assert_close(found, moment @ slope(point), rtol=1e-9, atol=1e-9)


def test_orthogonal_directions_give_the_gradient_itself():
    value, slope, _ = quadratic()
    point = torch.linspace(-1, 1, DIM, dtype=torch.float64)
    frame = DIM**0.5 * torch.linalg.qr(torch.randn(DIM, DIM, generator=generator()).double())[0]
    directions = torch.cat((frame, -frame))
    found = gradient(directions, value(point + 0.3 * directions), 0.3)
    assert_close(found, slope(point), rtol=1e-9, atol=1e-9)


def test_ranks_are_those_of_the_definition_and_share_ties():
    values = torch.tensor([3.0, 1.0, 3.0, -2.0, 9.0])
    assert_close(centred_ranks(values), torch.tensor([0.125, -0.25, 0.125, -0.5, 0.5]))
    assert_close(centred_ranks(torch.ones(4)), torch.zeros(4))


def test_ranks_know_no_increasing_function():
    values = torch.randn(50, generator=generator(), dtype=torch.float64)
    ranks = centred_ranks(values)
    assert_close(centred_ranks(values.exp() * 7 - 3), ranks)
    assert_close(centred_ranks(-values), -ranks)
    assert_close(ranks.sum(), torch.tensor(0.0, dtype=torch.float64))


def test_ascent_along_ranks_with_adam_reaches_the_top():
    value, _, centre = quadratic()
    point = torch.nn.Parameter(torch.zeros(DIM, dtype=torch.float64))
    optimizer = torch.optim.Adam([point], 0.3)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, 400)
    own = generator()
    for _ in range(400):
        directions = antithetic(32, DIM, own).double()
        ranks = centred_ranks(value(point.detach() + 0.05 * directions))
        point.grad = -gradient(directions, ranks, 0.05)
        optimizer.step()
        schedule.step()
    assert_close(point.detach(), centre, atol=0.1, rtol=0)
