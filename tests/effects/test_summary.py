"""Scores against scikit-learn's, and expectations against numerical integrals."""

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from sklearn.metrics import roc_auc_score
from torch.testing import assert_close

from hgm.effects.expectation import expected_likelihood, expected_target, likelihood
from hgm.effects.prediction import Prediction
from hgm.effects.summary import auroc, score


def test_auroc_is_scikit_learn_s_with_ties():
    rng = np.random.default_rng(0)
    scores, positive = rng.integers(20, size=300) / 20, rng.random(300) < 0.3
    found = auroc(torch.tensor(scores), torch.tensor(positive))
    assert found == pytest.approx(roc_auc_score(positive, scores), abs=1e-12)
    assert np.isnan(auroc(torch.ones(3), torch.ones(3).bool()))


def test_the_auroc_of_classes_is_scikit_learn_s():
    rng = np.random.default_rng(1)
    eta, target = rng.normal(size=(200, 4)), rng.integers(4, size=200)
    mean = torch.tensor(eta).softmax(1)
    nothing = torch.zeros_like(mean)
    found = score(
        "categorical",
        Prediction(mean, mean, mean, torch.tensor(eta), nothing, torch.tensor(1.0)),
        torch.tensor(target),
    )
    exact = roc_auc_score(target, mean, multi_class="ovr")
    assert found["auroc"] == pytest.approx(exact, abs=1e-12)
    chosen = mean[torch.arange(200), torch.tensor(target)].log().mean()
    assert found["log_likelihood"] == pytest.approx(float(chosen), abs=1e-6)


@pytest.mark.parametrize(("mean", "deviation"), [(0.5, 0.3), (-2.0, 1.5), (1.0, 3.0)])
def test_expected_bernoulli_targets_are_integrals(mean, deviation):
    def weighted(eta):
        return stats.norm.pdf(eta, mean, deviation) / (1 + np.exp(-eta))

    exact = integrate.quad(weighted, mean - 12 * deviation, mean + 12 * deviation)[0]
    args = torch.tensor([[mean]]).double(), torch.tensor([[deviation**2]]).double()
    found, low, high = expected_target("bernoulli", *args)
    assert float(found) == pytest.approx(exact, abs=2e-4)
    z = stats.norm.ppf(0.975)
    for end, sign in ((low, -1), (high, 1)):
        assert float(end) == pytest.approx(1 / (1 + np.exp(-mean - sign * z * deviation)))
    for target, probability in ((1.0, exact), (0.0, 1 - exact)):
        log = expected_likelihood(
            "bernoulli", *args, torch.tensor([target]).double(), torch.tensor(1.0)
        )
        assert float(log) == pytest.approx(np.log(probability), abs=2e-3)


def test_expected_gaussian_likelihoods_are_those_of_scipy():
    mean, variance = torch.tensor([[1.0]]).double(), torch.tensor([[0.6]]).double()
    target, noise = torch.tensor([2.5]).double(), torch.tensor(0.8).double()
    found = expected_likelihood("gaussian", mean, variance, target, noise)
    assert float(found) == pytest.approx(stats.norm.logpdf(2.5, 1.0, (0.6 + 0.64) ** 0.5))
    known = likelihood("gaussian", mean, target, noise)
    assert float(known) == pytest.approx(stats.norm.logpdf(2.5, 1.0, 0.8))


def test_expected_classes_are_those_of_many_draws():
    generator = torch.Generator().manual_seed(0)
    mean = torch.tensor([[0.5, -1.0, 0.0], [2.0, 0.0, 0.0]]).double()
    variance = torch.tensor([[1.0, 0.2, 3.0], [0.0, 0.0, 0.0]]).double()
    noise = torch.randn(200_000, 2, 3, generator=generator, dtype=torch.float64)
    drawn = (mean + variance.sqrt() * noise).softmax(-1)
    found, low, high = expected_target("categorical", mean, variance)
    assert_close(found, drawn.mean(0), atol=0.01, rtol=0)
    assert_close(low, drawn[:50_000].quantile(0.025, 0), atol=0.03, rtol=0)
    assert_close(high, drawn[:50_000].quantile(0.975, 0), atol=0.03, rtol=0)
    target = torch.tensor([2, 0])
    logs = expected_likelihood("categorical", mean, variance, target, torch.tensor(1.0))
    exact = torch.stack([drawn[:, i, c].mean().log() for i, c in enumerate(target)])
    assert_close(logs, exact, atol=0.03, rtol=0)
