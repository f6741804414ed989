"""What neighbours' residuals have in common."""

import pytest
import torch

from hgm.numerics.misfit import shared, variance


def randn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


PLACES = randn(3000, 2)
WAVE = 0.2 * torch.sin(3 * PLACES[:, 0])
NOISE = 0.1 * randn(3000, seed=1)


def of(residual, places=PLACES, most=None):
    usual = torch.full_like(residual, float(residual.median().abs()) + 0.1)
    return shared(places, residual, usual, most)


@pytest.mark.parametrize("most", [None, 500])
def test_noise_is_no_misfit(most):
    assert of(NOISE, most=most).misfit == 0.0
    assert of(NOISE, most=most).share < 0.05


@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_a_wave_is(noise):
    found = of(WAVE + noise * NOISE)
    part = WAVE.square().mean()
    assert found.misfit == pytest.approx(float(part), rel=0.25)
    ratio = part / (part + (noise * NOISE).square().mean())
    assert float(found.share) == pytest.approx(float(ratio), abs=0.15)


def test_a_few_gross_errors_are_no_misfit():
    assert of(NOISE + 30 * (torch.arange(3000) % 500 == 0)).misfit == 0.0


@pytest.mark.parametrize("same", [2, 20, 3000])
def test_no_residual_is_its_own_neighbour_where_several_are_at_one_place(same):
    places = PLACES[: 3000 // same].repeat_interleave(same, 0)
    assert of(NOISE, places).misfit == 0.0


def test_a_residual_that_is_alone_has_nothing_in_common():
    found = of(NOISE[:1], PLACES[:1])
    assert found.misfit == 0.0
    assert found.share == 0.0


def test_variance():
    torch.testing.assert_close(variance(NOISE[None]), NOISE.var(correction=0)[None])
