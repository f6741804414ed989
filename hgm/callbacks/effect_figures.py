"""Figures of mixed effects."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

_SHOWN = 200
_BINS = 10
_Z = 1.96


def effect_figures(
    module: Any, labels: dict[str, Any], counts: dict[str, Any]
) -> dict[str, Figure]:
    """All of them, by name.

    Args:
        module: A trained and tested :class:`hgm.modules.MixedEffects`.
        labels: Names of every feature's clusters.
        counts: Training rows of every feature's clusters; shrinkage is shown where known.
    """
    unit = float(module.target_scale)
    figures = {
        "sigma": sigma_figure(module.metrics),
        "trace": trace_figure(module.chains, module.metrics["r_hat"], unit),
        "effects": effects_figure(module.chains, labels, counts, unit),
    }
    if module.scored is not None:
        figures["calibration"] = calibration_figure(module.targets, *module.scored)
    return figures


def sigma_figure(metrics: dict[str, Any]) -> Figure:
    """Deviations between clusters with 95% intervals, a line for every feature and class."""
    names, values, ends = [], [], []
    for name, value in metrics["sigma"].items():
        several = isinstance(value, list)
        for c, one in enumerate(value if several else [value]):
            names.append(f"{name}, class {c}" if several else name)
            values.append(one)
            ends.append(
                metrics["sigma_interval"][name][c] if several else metrics["sigma_interval"][name]
            )
    if "between_tasks" in metrics:  # rewards of tasks: all effects, and each, in the same unit
        values, ends = [metrics["between_tasks"]], [metrics["between_tasks_interval"]]
        values += metrics["effects_between_tasks"]
        ends += metrics["effects_between_tasks_interval"]
        names = ["all effects", *(f"effect {k}" for k in range(len(values) - 1))]
    figure = Figure(figsize=(5.6, 1.2 + 0.35 * min(len(names), 40)), layout="constrained")
    axes = figure.subplots()
    place, low, high = np.arange(len(names)), *np.array(ends).T
    middle = np.array(values)
    axes.errorbar(middle, place, xerr=[middle - low, high - middle], fmt="o", capsize=3)
    axes.set_yticks(place, names)
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.set_xlim(left=0)
    axes.set_xlabel("standard deviation between clusters, with 95% interval")
    return figure


def trace_figure(chains: Any, r_hat: float, unit: float) -> Figure:
    """Draws of every feature's first deviation in units of the target, a line a chain."""
    names = list(chains.clusters)
    figure = Figure(figsize=(6.4, 1.0 + 1.8 * len(names)), layout="constrained")
    draws = chains.trace[:, : int(chains.kept)].cpu().numpy()
    rows = figure.subplots(len(names), squeeze=False, sharex=True)[:, 0]
    for axes, name in zip(rows, names, strict=True):
        column = chains.labels.index(f"sigma {name}")
        axes.plot(unit * draws[:, :, column].T, lw=0.6)
        axes.set_ylabel(f"sigma of {name}")
    rows[0].set_title(f"{len(draws)} chains, R-hat {r_hat:.4f} (the worst of all)", fontsize=10)
    rows[-1].set_xlabel("draw")
    return figure


def effects_figure(
    chains: Any, labels: dict[str, Any], counts: dict[str, Any], unit: float
) -> Figure:
    """Intercepts in order, with 95% intervals; and how certain they are by size of the cluster."""
    names = list(chains.clusters)
    figure = Figure(figsize=(9.6, 2.8 * len(names)), layout="constrained")
    rows = figure.subplots(len(names), 2, squeeze=False)
    for (left, right), (level, name) in zip(rows, enumerate(names), strict=True):
        mean, variance = (part[:, 0, 0].cpu().numpy() for part in chains.effects(level))
        order = np.argsort(mean)
        some = order[np.linspace(0, len(order) - 1, min(len(order), _SHOWN)).astype(int)]
        middle, ends = unit * mean[some], unit * _Z * variance[some] ** 0.5
        left.errorbar(np.arange(len(some)), middle, yerr=ends, fmt=".", lw=0.6)
        known = labels.get(name)
        if known is not None and len(some) <= 30:
            left.set_xticks(np.arange(len(some)), [str(known[i]) for i in some], rotation=90)
        left.set_ylabel(f"effect of {name}")
        left.set_xlabel("clusters in order" + ("" if len(some) == len(order) else ", a sample"))
        if name not in counts:
            right.axis("off")
            continue
        sigma = float(chains.sigma(level)[:, 0, 0].median())
        right.plot(counts[name], variance**0.5 / sigma, ".", ms=3)
        right.axhline(1, c="0.6", lw=0.8)
        if counts[name].max() > 10 * max(counts[name].min(), 1):
            right.set_xscale("log")
        right.set_ylim(bottom=0)
        right.set_xlabel("training rows of the cluster")
        right.set_ylabel("posterior deviation / sigma")
    return figure


def calibration_figure(targets: str, prediction: Any, target: Any) -> Figure:
    """Observed against expected frequencies; for numbers, coverage of central intervals."""
    figure = Figure(figsize=(4.6, 4.4), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], c="0.6", lw=0.8)
    found = target.cpu().numpy()
    if targets == "gaussian":
        wide = (prediction.variance[:, 0] + prediction.noise**2).sqrt().cpu().numpy()
        away = np.abs(found - prediction.predictor[:, 0].cpu().numpy()) / wide
        levels = np.linspace(0.05, 0.95, 19)
        ends = [_central(level) for level in levels]
        axes.plot(levels, [(away <= end).mean() for end in ends], "o-", ms=4)
        axes.set_xlabel("probability of the interval")
        axes.set_ylabel("share of targets in it")
        return figure
    means = prediction.mean.cpu().numpy()
    pairs = (
        [(means[:, 0], found == 1)]
        if means.shape[1] == 1
        else [(means[:, c], found == c) for c in range(means.shape[1])]
    )
    expected = np.concatenate([one for one, _ in pairs])
    observed = np.concatenate([one for _, one in pairs])
    for part in np.array_split(np.argsort(expected), _BINS):
        if len(part):
            rate = observed[part].mean()
            error = _Z * (rate * (1 - rate) / len(part)) ** 0.5
            axes.errorbar(expected[part].mean(), rate, yerr=error, fmt="o", c="C0", capsize=3)
    axes.set_xlabel("expected probability")
    axes.set_ylabel("observed frequency, with 95% interval")
    return figure


def _central(level: float) -> float:
    """Half width of a central interval of the standard normal distribution."""
    from statistics import NormalDist

    return NormalDist().inv_cdf((1 + level) / 2)
