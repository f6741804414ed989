"""What is expected of rows, by the posterior of effects."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from hgm.effects.chains import Chains
from hgm.effects.expectation import expected_target
from hgm.effects.sweep import added


class Prediction(NamedTuple):
    """Of rows ``N``, with columns ``C``: one, or one a class.

    Attributes:
        mean: Expected targets, or probabilities, ``(N, C)``.
        low: Lower end of their 95% intervals.
        high: Upper end.
        predictor: Mean of ``eta``.
        variance: Variance of ``eta``.
        noise: Deviation of Gaussian targets around ``eta``, ``()``.
    """

    mean: Tensor
    low: Tensor
    high: Tensor
    predictor: Tensor
    variance: Tensor
    noise: Tensor


def predict(
    chains: Chains,
    targets: str,
    fixed: Tensor,
    design: Tensor | None,
    clusters: Tensor,
    place: Tensor,
    unit: Tensor,
) -> Prediction:
    """Means over the posterior of effects, scale and shift, with 95% intervals.

    A cluster that was never seen has effect 0, give or take a deviation of the feature.

    Args:
        chains: What is known; before any draw is kept, where the first chain stands.
        targets: One of :data:`hgm.effects.sweep.TARGETS`.
        fixed: What the network says, ``(N, C)``.
        design: What effects multiply, ``(N, k)``; None for intercepts alone.
        clusters: Numbers of clusters, ``(N, L)``; -1 for one that was never seen.
        place: What 0 stands for in the unit of Gaussian targets, ``()``.
        unit: What 1 stands for, ``()``.
    """
    design = None if design is None else design.double()
    known, state = int(chains.kept) > 0, chains.state(0)
    fixed, scale, shift, noise = fixed.double(), state.scale[None], state.shift[None], state.noise
    levels = range(len(chains.clusters))
    effects, squares = state.effects, None if design is None else design.square()
    variance = torch.zeros_like(fixed)
    if known:
        scale, shift = chains.drawn("scale"), chains.drawn("shift")
        noise = chains.drawn("noise").mean()
        effects, spread = zip(*map(chains.effects, levels), strict=True)
        by_scale, by_shift = zip(*map(chains.shared, levels), strict=True)
        both = fixed * added(clusters, design, by_scale) + added(clusters, design, by_shift)
        variance = _fixed_variance(fixed, scale, shift) + added(clusters, squares, spread)
        variance = (variance + 2 * both).clamp_min(0)
    mean = fixed * scale.mean(0) + shift.mean(0) + added(clusters, design, effects)
    for level, num in enumerate(chains.clusters.values()):
        sigma = chains.sigma(level) if known else state.sigma[level][None]
        # The mean of all effects is not known either: it is part of the shift.
        wide = sigma.square().mean(0) * (1 + 1 / num)
        own = wide[:1] if squares is None else squares @ wide
        variance = variance + torch.where((clusters[:, level] < 0)[:, None], own, 0.0)
    expected, low, high = expected_target(targets, mean, variance)
    if targets == "gaussian":
        expected, low, high = (place + unit * one for one in (expected, low, high))
        mean, variance, noise = place + unit * mean, unit**2 * variance, unit * noise
    return Prediction(expected, low, high, mean, variance, noise)


def _fixed_variance(fixed: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Variance ``(N, C)`` of ``scale * fixed + shift`` over draws ``(D, C)`` of both."""
    away, off = scale - scale.mean(0), shift - shift.mean(0)
    both, own = (away * off).mean(0), (away.square().mean(0), off.square().mean(0))
    return fixed.square() * own[0] + 2 * fixed * both + own[1]
