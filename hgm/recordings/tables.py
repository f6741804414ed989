"""From arrays to recordings: tasks in rows of their own, or told apart by a column or a file."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hgm.recordings.names import (
    FLAGS,
    NEEDED,
    Arrays,
    check_names,
    check_shapes,
    either,
    renamed,
)
from hgm.recordings.recording import Recording, TaskCount, as_label, grouped, shown

Order = Sequence[Hashable] | None


def recording_of(
    given: Mapping[str, Tensor], source: object, seed: int = 0, order: Order = None
) -> Recording:
    """Arrays ``(N, B, ...)`` of `N` tasks; or rows ``(M, ...)`` with a column ``task``.

    Rows may lack the next observation, if they say where episodes end: then it is the next row's,
    and the last row of an episode is no transition.

    Args:
        given: Arrays by hgm's, TorchRL's or D4RL's names.
        source: Where they are from, for messages.
        seed: Seed of subsets, where tasks have different numbers of transitions.
        order: Labels in the column ``task``, the base task first; None: as they first appear.

    Raises:
        ValueError: If an array is missing or does not fit, naming it.
    """
    arrays = renamed(given, source)
    needed = [name for name in NEEDED if name != "next_observation" or "task" not in arrays]
    check_names(arrays, needed, source)
    labels = arrays.pop("task", None)
    if labels is None:
        if order is not None and arrays["observation"].ndim == 3:
            raise ValueError(f"Expected no `order` for {source}, which has no column `task`.")
        return _grid(arrays, source)
    length = None
    if arrays["observation"].ndim == 3:
        check_shapes(arrays, 2, source)
        length = arrays["observation"].shape[1]
        if order is None and "next_observation" in arrays and _one_a_row(labels):
            first = _columns(labels[:, 0], len(labels), source)
            return _grid(arrays, source, _labelled(first, source)[1])
        arrays = {name: arrays[name].flatten(0, 1) for name in (*NEEDED, *FLAGS) if name in arrays}
        labels = labels.flatten(0, 1)
    columns = _columns(labels, len(arrays["observation"]), source)
    task, names = _labelled(columns, source)
    last = task != torch.cat((task[1:], task[:1]))
    if length is not None:  # what follows the last one of a row is another row's
        last[length - 1 :: length] = True
    rows, valid = with_ends(arrays, source, last)
    return grouped(rows, valid, *ordered(task, names, order), source, seed)


def with_ends(arrays: Arrays, source: object, last: Tensor | None = None) -> tuple[Arrays, Tensor]:
    """Checked rows, and which of them are transitions, ``(M,)``.

    Args:
        arrays: By hgm's names.
        source: Where they are from, for messages.
        last: Rows that the next one does not follow, ``(M,)``, beside those that end an episode.

    Raises:
        ValueError: If there is no next observation, and nothing says where episodes end.
    """
    check_shapes(arrays, 1, source)
    num = len(arrays["observation"])
    rows: Arrays = {
        name: arrays[name]
        for name in ("observation", "action", "next_observation")
        if name in arrays
    }
    rows["reward"] = arrays["reward"].reshape(num, 1)
    ends = either(arrays, [num])
    given = {name: arrays[name] for name in ("terminated",) if name in arrays}
    rows |= {"done": ends, "terminated": either(given, [num])}
    if "next_observation" in arrays:
        return rows, torch.ones_like(ends)
    if not {"done", "truncated"} & set(arrays):
        raise ValueError(
            f"Expected `next_observations` in {source}, or `timeouts` (`done`), which say where "
            "episodes end: without either, transitions from one episode to the next would be made "
            f"up; got {sorted(arrays)}."
        )
    valid = ~ends
    valid[-1:] = False
    return rows, valid if last is None else valid & ~last


def ordered(
    task: Tensor, labels: Sequence[Hashable], order: Order
) -> tuple[Tensor, Sequence[Hashable]]:
    """Positions of tasks ``(M,)`` and labels in the order that is wanted.

    Raises:
        ValueError: If `order` does not name every task once.
    """
    if order is None:
        return task, labels
    if isinstance(order, str) or not isinstance(order, Sequence):
        raise ValueError(f"Expected `order` to be a list of tasks, got {order!r}.")
    order = [as_label(label, "order") for label in order]
    if len(order) != len(labels) or set(order) != set(labels):
        raise ValueError(
            f"Expected `order` to name every task once, {list(labels)[:12]}, got {list(order)}."
        )
    places = {label: place for place, label in enumerate(order)}
    return torch.tensor([places[label] for label in labels])[task], order


def joined(parts: Sequence[tuple[Arrays, Tensor]]) -> tuple[Arrays, Tensor]:
    """Rows of several files or episodes, one after the other, and which are transitions."""
    common = {"next_observation" in rows for rows, _ in parts}
    tables = [rows if len(common) == 1 else _with_next(rows) for rows, _ in parts]
    arrays = {name: torch.cat([rows[name] for rows in tables]) for name in tables[0]}
    return arrays, torch.cat([valid for _, valid in parts])


def _with_next(rows: Arrays) -> Arrays:
    if "next_observation" in rows:
        return rows
    return {**rows, "next_observation": rows["observation"].roll(-1, 0)}


def _grid(arrays: Arrays, source: object, labels: Sequence[Hashable] | None = None) -> Recording:
    check_names(arrays, NEEDED, source)
    check_shapes(arrays, 2, source)
    num_tasks, num, _ = arrays["observation"].shape
    wanted = {name: arrays[name] for name in (*NEEDED, "terminated") if name in arrays}
    wanted["done"] = either(arrays, [num_tasks, num])
    names = range(num_tasks) if labels is None else labels
    return Recording(wanted, [TaskCount(shown(label), num, num, num) for label in names])


def _one_a_row(labels: Tensor) -> bool:
    """Whether rows of labels ``(N, B, ...)`` are tasks of their own, as TorchRL batches are."""
    if labels.ndim < 2:
        return False
    first = labels[:, :1]
    return bool((labels == first).all()) and len(first.unique(dim=0)) == len(labels)


def _columns(labels: Tensor, num: int, source: object) -> Tensor:
    if labels.ndim not in (1, 2) or len(labels) != num or 0 in labels.shape[1:]:
        raise ValueError(
            f"Expected `task` in {source} to have shape ({num},) or ({num}, k), got "
            f"{tuple(labels.shape)}."
        )
    return labels if labels.ndim == 2 else labels[:, None]


def _labelled(columns: Tensor, source: object) -> tuple[Tensor, list[Hashable]]:
    """Labels ``(M, k)`` as positions ``(M,)`` in a list, in the order of their appearance."""
    if not columns.isfinite().all():
        raise ValueError(f"Expected `task` in {source} to be finite.")
    if columns.dtype == torch.bfloat16:  # which NumPy does not know
        columns = columns.float()
    table: Any = columns.numpy()
    table = table[:, 0] if table.shape[1] == 1 else table
    axis = None if table.ndim == 1 else 0
    values, first, inverse = np.unique(table, return_index=True, return_inverse=True, axis=axis)
    order = first.argsort()
    places = torch.from_numpy(np.argsort(order))[torch.from_numpy(inverse.reshape(-1))]
    if values.dtype.kind == "f":  # 0.1 of single precision is 0.1, as one would type it
        values = values.astype(str).astype(float)
    labels = values[order].tolist()
    return places, [tuple(label) if isinstance(label, list) else label for label in labels]
