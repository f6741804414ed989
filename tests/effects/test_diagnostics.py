"""R-hat and effective sizes of chains of which they are known."""

import pytest
import torch

from hgm.effects.diagnostics import effective_size, r_hat


def autoregressive(rho, chains=4, num=4000):
    noise = torch.randn(chains, num, generator=torch.Generator().manual_seed(0)).double()
    drawn = [noise[:, 0]]
    for step in range(1, num):
        drawn.append(rho * drawn[-1] + (1 - rho**2) ** 0.5 * noise[:, step])
    return torch.stack(drawn, 1)


@pytest.mark.parametrize("rho", [-0.3, 0.0, 0.5, 0.9])
def test_the_size_of_an_autoregressive_chain(rho):
    exact = 16000 * (1 - rho) / (1 + rho)
    assert float(effective_size(autoregressive(rho))) == pytest.approx(exact, rel=0.15)
    assert float(r_hat(autoregressive(rho))) < 1.01


def test_chains_that_differ_or_drift_are_told():
    drawn = autoregressive(0.0, num=500)
    away = drawn + torch.tensor([0, 0, 0, 1.0])[:, None]
    drift = drawn + torch.linspace(0, 2, 500)
    assert float(r_hat(away)) > 1.05
    assert float(r_hat(drift)) > 1.05
    assert float(effective_size(away)) < 100
