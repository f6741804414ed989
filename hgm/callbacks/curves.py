"""Figures of meta-tests and of learning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from hgm.runs import scale_regret

_SUM = "(sum of rewards)"


def regret_figure(runs: Sequence[dict[str, Any]]) -> Figure:
    """Regret of every task, or its return, against its distance to the nearest training task.

    Lines are least-squares fits; where regret is logarithmic, they are curved.
    """
    score = "regret" if all("regret" in run for run in runs) else "return"
    figure = Figure(figsize=(6.4, 4.6), layout="constrained")
    axes = figure.subplots()
    styles = (
        (f"{score}_first_episodes", "first episode", "C1", "^"),
        (score, "after exploration", "C0", "o"),
        (f"{score}_untransformed", "base policy as it is", "C2", "."),
        ("regret_oracle", "knowing its place in the true group", "0.4", "x"),
    )
    for key, label, colour, marker in styles:
        if not all(key in run for run in runs):
            continue
        x = np.concatenate([np.asarray(run["separation"], float) for run in runs])
        y = np.concatenate([np.asarray(run[key], float) for run in runs])
        x, y = x[~np.isnan(y)], y[~np.isnan(y)]  # tasks without a reference
        axes.scatter(x, y, s=18, c=colour, marker=marker, alpha=0.7, label=label)
        if x.std() > 0 and np.isfinite(y).all():
            ends = np.linspace(x.min(), x.max(), 100)
            axes.plot(ends, np.poly1d(np.polyfit(x, y, 1))(ends), c=colour, lw=1)
    if score == "regret":
        scale_regret(axes)
        axes.axhline(0, c="0.6", lw=0.8, zorder=0)
    axes.set_xlabel("distance to the nearest training task (family's units; angles in radians)")
    axes.set_ylabel(f"{score} on the task's own reward {_SUM}")
    figure.legend(loc="outside upper center", ncols=2, frameon=False)
    return figure


def learning_figure(curve: Sequence[dict[str, float]]) -> Figure:
    """Regret, or return, of test and training tasks against the environment steps of training."""
    figure = Figure(figsize=(5.6, 3.8), layout="constrained")
    axes = figure.subplots()
    frames = [point["frames"] for point in curve]
    for key, label in (
        ("regret_mean", "test tasks"),
        ("regret_train_tasks", "training tasks"),
    ):
        if all(key in point for point in curve):
            axes.plot(frames, [point[key] for point in curve], label=label, marker=".")
            axes.set_ylabel(f"regret {_SUM}")
            scale_regret(axes)
    if not axes.lines:
        axes.plot(frames, [point["return"] for point in curve], label="test tasks", marker=".")
        axes.set_ylabel(f"return {_SUM}")
    axes.set_xlabel("environment steps of training")
    figure.legend(loc="outside upper center", ncols=2, frameon=False)
    return figure


def curve_figure(curve: Sequence[dict[str, float]], optimum: float | None) -> Figure:
    """Return of the deterministic policy against the environment steps of training."""
    figure = Figure(figsize=(5.6, 3.8), layout="constrained")
    axes = figure.subplots()
    frames = [point["frames"] for point in curve]
    axes.plot(frames, [point["return"] for point in curve], label="policy", marker=".")
    if optimum is not None:
        axes.axhline(optimum, c="0.5", ls="--", lw=1, label="optimum, on the test's episodes")
    axes.set_xlabel("environment steps of training")
    axes.set_ylabel(f"return on the base task {_SUM}")
    figure.legend(loc="outside upper center", ncols=2, frameon=False)
    return figure
