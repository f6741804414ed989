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
    which), see :func:`hgm.evaluation.estimate`. What needs the optimum or the true group is absent
    where they are not known.
    """

    def per_run(key: str, train: bool = False) -> list[np.ndarray]:
        found = []
        for run in runs:
            values, num = np.asarray(run[key]), run["num_test_tasks"]
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
        metrics[name], metrics[f"{name}_interval"] = estimate(values, statistic)

    add("return", per_run("return"))
    if not all("regret" in run for run in runs):
        return metrics
    regret = per_run("regret")
    metrics["regret"] = np.concatenate(regret).tolist()
    metrics["regret_max"] = max(metrics["regret"])
    add("optimal_return", per_run("optimal_return"))
    add("regret_mean", regret)
    add("regret_train_tasks", per_run("regret", train=True))
    add("regret_first_episode", per_run("regret_first_episodes"))
    both = [np.stack(pair) for pair in zip(per_run("separation"), regret, strict=True)]
    add("regret_slope", both, slope)
    if all("regret_oracle" in run for run in runs):
        oracle, base = per_run("regret_oracle"), per_run("regret_oracle", train=True)
        add("regret_of_policy", [run[:1] for run in base])
        add("regret_of_broken_symmetry", [a - b[0] for a, b in zip(oracle, base, strict=True)])
        add("regret_of_inference", [a - b for a, b in zip(regret, oracle, strict=True)])
    return metrics
