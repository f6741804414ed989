"""What neighbours' residuals have in common."""

import pytest
import torch

from hgm.symmetry.misfit import alike, variance


def randn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


PLACES = randn(3000, 2)
WAVE = 0.2 * torch.sin(3 * PLACES[:, 0])
NOISE = 0.1 * randn(3000, seed=1)


def of(residual):
    return alike(PLACES, residual, torch.full_like(residual, float(residual.median().abs()) + 0.1))


def test_noise_is_no_misfit():
    assert of(NOISE) == 0.0


@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_a_wave_is(noise):
    assert of(WAVE + noise * NOISE) == pytest.approx(float(WAVE.square().mean()), rel=0.25)


def test_a_few_gross_errors_are_no_misfit():
    assert of(NOISE + 30 * (torch.arange(3000) % 500 == 0)) == 0.0


def test_variance():
    torch.testing.assert_close(variance(NOISE[None]), NOISE.var(correction=0)[None])
