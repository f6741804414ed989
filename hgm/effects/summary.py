"""What chains and predictions come to, as plain numbers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from hgm.effects.chains import Chains
from hgm.effects.expectation import expected_likelihood
from hgm.effects.prediction import Prediction


def score(targets: str, prediction: Prediction, target: Tensor) -> dict[str, float]:
    """Mean log likelihood of rows, and their AUROC or root mean square error.

    The AUROC of several classes is the mean of each against all others, of those that are there.
    """
    target = target.double()
    found = expected_likelihood(
        targets, prediction.predictor, prediction.variance, target, prediction.noise
    )
    scores = {"log_likelihood": float(found.mean())}
    if targets == "gaussian":
        scores["rmse"] = float((prediction.mean[:, 0] - target).square().mean().sqrt())
        return scores
    if targets == "bernoulli":
        scores["auroc"] = auroc(prediction.mean[:, 0], target == 1)
    else:
        areas = [auroc(one, target == c) for c, one in enumerate(prediction.mean.unbind(1))]
        known = torch.tensor(areas, dtype=torch.float64)
        scores["auroc"] = float(known[known.isfinite()].mean())
    return scores


def auroc(scores: Tensor, positive: Tensor) -> float:
    """Chance that a positive row has a larger score than another, ties counting half.

    Example:
        >>> auroc(torch.tensor([0.1, 0.4, 0.4, 0.9]), torch.tensor([False, False, True, True]))
        0.875
    """
    ordered, ranks = scores.unique(return_inverse=True)
    counts = torch.bincount(ranks, minlength=len(ordered)).double()
    middle = counts.cumsum(0) - (counts - 1) / 2
    num = int(positive.sum())
    others = len(positive) - num
    if num == 0 or others == 0:
        return float("nan")
    total = float(middle[ranks][positive].sum())
    return (total - num * (num + 1) / 2) / (num * others)


def chain_metrics(chains: Chains, unit: float, targets: str) -> dict[str, Any]:
    """Deviations with 95% intervals in units of the target, and how far to trust the chains.

    A feature's deviation is a number, or a list over classes; those of slopes are lists over the
    features of the last layer.
    """
    found: dict[str, Any] = {"sigma": {}, "sigma_interval": {}}
    if chains.dim > 1:
        found |= {"sigma_slopes": {}}
    for level, name in enumerate(chains.clusters):
        draws = unit * chains.sigma(level)
        ends = torch.tensor([0.025, 0.5, 0.975]).double()
        low, middle, high = draws[:, 0].quantile(ends, 0)
        pairs = torch.stack((low, high), -1)
        single = chains.num_classes == 1
        found["sigma"][name] = float(middle[0]) if single else middle.tolist()
        found["sigma_interval"][name] = pairs[0].tolist() if single else pairs.tolist()
        if chains.dim > 1:
            slopes = draws[:, 1:].median(0).values
            found["sigma_slopes"][name] = (slopes[:, 0] if single else slopes).tolist()
    if targets == "gaussian":
        found["noise"] = unit * float(chains.drawn("noise").median())
    accepted = torch.stack([chains.state(i).accepted for i in range(chains.num_chains)])
    return found | {
        "r_hat": float(chains.disagreement().max()),
        "ess": float(chains.effective_sizes().min()),
        "num_draws": chains.num_chains * int(chains.kept),
        "accepted": float(accepted.mean()),
    }
