"""Transitions of several tasks as rows of arrays, of which pieces are read when they are wanted."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from tensordict import TensorDict
from torch import Tensor

from hgm.files.disk import brief
from hgm.numerics.seeds import derive_seed

Arrays = dict[str, Tensor]

MIN_TRANSITIONS = 20
"""Fewest transitions of a task."""

_SUBSET = 20  # purpose of a seed
# What torch cannot index.
_UNSIGNED = (torch.uint16, torch.uint32, torch.uint64)


class TaskCount(NamedTuple):
    """How many transitions a task has.

    Attributes:
        task: Its label.
        rows: Rows in the recording.
        transitions: Those with a next observation.
        used: Those that are used: as many as the task with the fewest has.
    """

    task: str
    rows: int
    transitions: int
    used: int


class Recording:
    """Transitions ``[N, B]`` of arrays in memory or on disk; nothing is copied before it is read.

    Args:
        arrays: ``observation``, ``action``, ``reward`` and maybe ``done`` and ``terminated``, in
            rows ``(M, ...)``, or ``(N, B, ...)`` where there is no `index`. Without
            ``next_observation``, it is the next row's observation.
        counts: How many transitions every task has.
        index: Rows of every task's transitions, ``(N, B)``.
    """

    def __init__(
        self, arrays: Mapping[str, Tensor], counts: Sequence[TaskCount], index: Tensor | None = None
    ) -> None:
        self._arrays = {
            name: value.float() if value.dtype in _UNSIGNED else value
            for name, value in arrays.items()
        }
        self._index, self.counts = index, list(counts)

    @property
    def num_tasks(self) -> int:
        """Number ``N`` of tasks."""
        return len(self.counts)

    @property
    def num_transitions(self) -> int:
        """Number ``B`` of transitions of every task."""
        return self.counts[0].used

    @property
    def dim_state(self) -> int:
        """State dimension ``n``."""
        return self._arrays["observation"].shape[-1]

    @property
    def dim_action(self) -> int:
        """Action dimension ``m``."""
        return self._arrays["action"].shape[-1]

    def read(self, places: Tensor | slice) -> TensorDict:
        """Some transitions of every task in float32, ``[N, b]``, by their places below ``B``."""
        state, action = self._take("observation", places).float(), self._take("action", places)
        if "next_observation" in self._arrays:
            following = self._take("next_observation", places)
        else:
            following = self._take("observation", places, 1)
        shape = state.shape[:2]
        flags = {name: self._flag(name, places, shape) for name in ("done", "terminated")}
        reward = self._take("reward", places).reshape(*shape, 1).float()
        task = torch.arange(self.num_tasks)[:, None, None].expand(*shape, 1)
        after = TensorDict({"observation": following.float(), "reward": reward, **flags}, shape)
        entries = {"observation": state, "action": action.float(), "task": task, "next": after}
        return TensorDict(entries, shape)

    def _flag(self, name: str, places: Tensor | slice, shape: torch.Size) -> Tensor:
        if name not in self._arrays:
            return torch.zeros(*shape, 1, dtype=torch.bool)
        return self._take(name, places).reshape(*shape, 1) != 0

    def _take(self, name: str, places: Tensor | slice, ahead: int = 0) -> Tensor:
        array = self._arrays[name]
        return array[:, places] if self._index is None else array[self._index[:, places] + ahead]


def grouped(
    arrays: Arrays,
    valid: Tensor,
    task: Tensor,
    labels: Sequence[Hashable],
    source: object,
    seed: int,
) -> Recording:
    """Rows grouped by task, all tasks cut to the fewest transitions that one of them has.

    Of a task that has more, a random subset is taken, in the order of time.

    Args:
        arrays: Rows ``(M, ...)``.
        valid: Which rows are transitions, ``(M,)``.
        task: Position of each row's task in `labels`, ``(M,)``.
        labels: The tasks, the base task first.
        source: Where the rows are from, for messages.
        seed: Seed of the subsets.

    Raises:
        ValueError: If there are fewer than 2 tasks, or a task has fewer than 20 transitions.
    """
    if len(labels) < 2:
        raise ValueError(
            f"Expected transitions of at least 2 tasks in {source}, got only those of {labels!r}."
        )
    total, there = (torch.bincount(one, minlength=len(labels)) for one in (task, task[valid]))
    fewest = int(there.argmin())
    num = int(there[fewest])
    if num < MIN_TRANSITIONS:
        raise ValueError(
            f"Expected every task in {source} to have at least {MIN_TRANSITIONS} transitions, got "
            f"{num} of task {shown(labels[fewest])}."
        )
    places = valid.nonzero()[:, 0]
    rows = places[task[places].argsort(stable=True)].split(there.tolist())
    counts = [
        TaskCount(shown(label), int(all_of_them), len(own), num)
        for label, all_of_them, own in zip(labels, total, rows, strict=True)
    ]
    index = torch.stack([_subset(own, num, seed, number) for number, own in enumerate(rows)])
    return Recording(arrays, counts, index)


def as_label(given: Any, name: str) -> Hashable:
    """A task's label: numbers and texts, of arrays and lists a tuple of them.

    Raises:
        ValueError: If it is none, naming the argument that holds it.
    """
    plain = given.tolist() if isinstance(given, Tensor | np.ndarray | np.generic) else given
    if isinstance(plain, list | tuple):
        return tuple(as_label(entry, name) for entry in plain)
    if plain is None or not isinstance(plain, Hashable) or plain != plain:
        raise ValueError(f"Expected labels in `{name}` to be numbers or texts, got {brief(given)}.")
    return plain


def shown(label: Hashable) -> str:
    """A label in a table: numbers without the digits that single precision makes up."""
    if isinstance(label, tuple):
        return f"({', '.join(map(shown, label))})"
    return f"{label:g}" if isinstance(label, float) else str(label)


def _subset(rows: Tensor, num: int, seed: int, number: int) -> Tensor:
    if len(rows) == num:
        return rows
    generator = torch.Generator().manual_seed(derive_seed(seed, _SUBSET, number))
    return rows[torch.randperm(len(rows), generator=generator)[:num].sort().values]
