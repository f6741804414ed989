"""Policies of test tasks, trained on these themselves: they stand for an unknown optimum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tensordict.nn import TensorDictModuleBase
from torch import Tensor

from hgm.envs.base import TaskFamily
from hgm.files import read_json
from hgm.policies.stored import load_policy


def refuse_optimum(family: TaskFamily, tasks: Tensor, num: int) -> None:
    """Checks that a family needs the `num` references that there are.

    Raises:
        ValueError: If it has an optimal policy.
    """
    if num and family.optimal_policy(tasks) is not None:
        raise ValueError(
            f"Expected no `reference`, as {type(family).__name__} has an optimal policy, got {num}."
        )


_IDLE = ("num_train_tasks", "num_threads", "num_workers")
"""Keys of a family that do not change a test task."""


def load_references(
    paths: Sequence[str], tasks: Tensor, env: Mapping[str, Any] | None = None
) -> dict[int, TensorDictModuleBase]:
    """Reads policies of test tasks.

    Args:
        paths: Run folders of ``model=policy data.test_task=...``.
        tasks: Parameters of the test tasks, ``(T, k)``.
        env: What the family is, as the configuration has it; None, or where a folder does not say:
            not compared.

    Returns:
        Policies, by the row of the task that each was trained on.

    Raises:
        FileNotFoundError: If there is no policy in a folder.
        ValueError: If a policy was not trained on one of the tasks, or on a family of other
            settings, or two on the same.
    """
    found: dict[int, TensorDictModuleBase] = {}
    for path in paths:
        actor, scores = load_policy(path), Path(path) / "scores.json"
        known = read_json(scores) if scores.is_file() else {}
        rows = [row for row, own in enumerate(tasks.tolist()) if own == known.get("task")]
        trained, asked = known.get("env") or {}, env or {}
        keys = sorted({*trained, *asked} - {*_IDLE}) if trained and asked else []
        for key in keys:
            if trained.get(key) != asked.get(key):
                raise ValueError(
                    f"Expected `reference` of policies of the same family, but {path} was trained "
                    f"with env.{key} = {trained.get(key)!r}, not {asked.get(key)!r}."
                )
        if not rows or rows[0] in found:
            fault = "another one is, too" if rows else "it is of none of them"
            raise ValueError(
                f"Expected `reference` of policies of {len(tasks)} test tasks, one of each, but "
                f"{path} is not: {fault}. Train it on the same family and seed, with "
                f"data.test_task and data.num_test_tasks={len(tasks)}."
            )
        found[rows[0]] = actor
    return found
