"""What meta-tests of several seeds come to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from hgm.evaluation.statistics import estimate, slope


def regret_metrics(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    r"""Summary of meta-tests of one agent, one run a seed, docs/method.md section 11.

    Lists are per test task, over all runs. Intervals ``*_interval`` are 95% t-intervals over seeds,
    or bootstrap intervals over test tasks if there is one seed only (``intervals_over`` says
    which), see :func:`hgm.evaluation.estimate`. What needs the optimum, references or the true
    group is absent where they are not known; where only some tasks have a reference, regrets are
    over these (``num_references``), None for others, and returns over all.
    """

    def per_run(key: str, train: bool = False) -> list[np.ndarray]:
        found = []
        for run in runs:
            values, num = np.asarray(run[key], dtype=float), run["num_test_tasks"]
            found.append(values[num:] if train else values[:num])
        return found

    metrics: dict[str, Any] = {
        "num_seeds": len(runs),
        "intervals_over": "seeds" if len(runs) > 1 else "tasks",
        "exploration_transitions": float(np.mean([run["exploration_transitions"] for run in runs])),
        "separation": np.concatenate(per_run("separation")).tolist(),
        "success": float(np.concatenate(per_run("success")).mean()),
    }

    def add(name: str, values: list[np.ndarray], statistic: Callable[..., Any] = np.mean) -> None:
        known = [own[..., np.isfinite(np.atleast_2d(own)).all(0)] for own in values]
        metrics[name], metrics[f"{name}_interval"] = estimate(known, statistic)

    def against_distance(key: str) -> list[np.ndarray]:
        pairs = zip(per_run("separation"), per_run(key), strict=True)
        return [np.stack(pair) for pair in pairs]

    def has(key: str) -> bool:
        return all(key in run for run in runs)

    add("return", per_run("return"))
    for other in ("untransformed", "random"):
        if has(f"return_{other}"):
            add(f"return_{other}", per_run(f"return_{other}"))
    if not has("regret"):
        add("return_slope", against_distance("return"), slope)
        return metrics
    regret = per_run("regret")
    listed = [None if np.isnan(value) else float(value) for value in np.concatenate(regret)]
    metrics["regret"] = listed
    metrics["regret_max"] = max(value for value in listed if value is not None)
    if has("reference_return"):
        add("reference_return", per_run("reference_return"))
        metrics["num_references"] = sum(value is not None for value in listed)
        add("return_slope", against_distance("return"), slope)
    else:
        add("optimal_return", per_run("optimal_return"))
        add("regret_train_tasks", per_run("regret", train=True))
    add("regret_mean", regret)
    add("regret_first_episode", per_run("regret_first_episodes"))
    add("regret_slope", against_distance("regret"), slope)
    for other in ("untransformed", "random"):
        if has(f"regret_{other}"):
            add(f"regret_{other}", per_run(f"regret_{other}"))
    if has("regret_oracle") and has("optimal_return"):
        oracle, base = per_run("regret_oracle"), per_run("regret_oracle", train=True)
        add("regret_of_policy", [run[:1] for run in base])
        add("regret_of_broken_symmetry", [a - b[0] for a, b in zip(oracle, base, strict=True)])
        add("regret_of_inference", [a - b for a, b in zip(regret, oracle, strict=True)])
    return metrics
