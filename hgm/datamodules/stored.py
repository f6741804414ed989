"""Transitions from elsewhere: files, folders, episodes and buffers."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from tensordict import TensorDictBase
from torch import Tensor

from hgm.datamodules.recorded import RecordedTransitions
from hgm.recordings.episodes import recording_of_episodes
from hgm.recordings.loading import WHAT, load
from hgm.recordings.names import NEEDED, check_names, renamed
from hgm.recordings.recording import Recording, grouped
from hgm.recordings.tables import Order, joined, ordered, recording_of, with_ends

_EITHER = [name for name in NEEDED if name != "next_observation"]


class StoredTransitions(RecordedTransitions):
    """A user's own transitions, with the interface of :class:`hgm.datamodules.Transitions`.

    ``path`` names one of

    * an ``.npz`` file with arrays ``observation (N, B, n)``, ``action (N, B, m)``, ``reward
      (N, B)`` or ``(N, B, 1)`` and ``next_observation (N, B, n)``, optionally ``done`` and
      ``terminated`` like the reward, of 0 and 1;
    * the same with rows, ``observation (M, n)`` and so on, beside a column ``task`` of numbers,
      ``(M,)`` or ``(M, k)``. With ``done`` or ``truncated``, ``next_observation`` may be left out:
      it is then the next row's, and the last row of an episode is no transition;
    * an ``.h5`` or ``.hdf5`` file of either kind;
    * a folder written by ``TensorDict.memmap`` with TorchRL's keys: ``observation``, ``action``,
      ``("next", "observation")``, ``("next", "reward")``, the flags under ``"next"``, and ``task``
      where there is one batch dimension. It stays on the disk, and may be larger than memory;
    * a folder written by TorchRL's ``ReplayBuffer.dumps``, with the same keys;
    * a list of files or folders of rows, each of a task of its own.

    Task 0 is the base task: the one that appears first, unless ``order`` says otherwise. All tasks
    are cut to as many transitions as the one with the fewest has, by a random subset in the order
    of time; :attr:`counts` says how many there were. Real numbers of any type become float32; flags
    that are missing are False, and ``done`` is also where one of the others is set. D4RL's names
    will do, mixed with these or not: ``observations``, ``actions``, ``rewards``,
    ``next_observations``, ``terminals``, ``timeouts``; also Minari's, and ``dones``. The truth is
    unknown: ``family`` and ``tasks`` are None. Nothing that is read runs as code or is changed.

    Args:
        path: File, folder or list of them; or a recording in memory.
        holdout_fraction: Fraction held out, in (0, 0.5].
        batch_size: Transitions per task in a batch; None: all that the rank holds, in pieces where
            these are many.
        seed: Seed of split, subsets and shuffling.
        order: The tasks as ``task`` or ``path`` names them, the base task first.

    Raises:
        FileNotFoundError: If there is nothing at ``path``.
        ValueError: If the file cannot be read, an array is missing or of the wrong shape or type,
            there are fewer than 2 tasks or 20 transitions, or an argument is out of range.
        ModuleNotFoundError: If an HDF5 file is to be read, and h5py is not installed.
    """

    def __init__(
        self,
        path: str | Path | Sequence[str | Path] | Recording,
        holdout_fraction: float = 0.1,
        batch_size: int | None = None,
        seed: int = 0,
        order: Order = None,
    ) -> None:
        recording = path if isinstance(path, Recording) else _read(path, seed, order)
        super().__init__(recording, holdout_fraction, batch_size, seed)

    @classmethod
    def from_episodes(
        cls,
        episodes: Sequence[Mapping[str, Any]],
        tasks: Sequence[Hashable],
        order: Order = None,
        holdout_fraction: float = 0.1,
        batch_size: int | None = None,
        seed: int = 0,
    ) -> StoredTransitions:
        """From episodes of any length.

        Args:
            episodes: Of each, arrays or tensors ``observation (T, n)`` or ``(T + 1, n)``, ``action
                (T, m)``, ``reward (T,)``, and maybe ``next_observation (T, n)``, ``terminated`` and
                ``truncated (T,)``; D4RL's and Minari's names will do. Without
                ``next_observation``, a step is no transition that a flag ends on the way, nor the
                last one where there are only `T` observations.
            tasks: The label of every episode's task.
            order: All labels, the base task first; None: as they first appear.
            holdout_fraction: Fraction held out, in (0, 0.5].
            batch_size: Transitions per task in a batch.
            seed: Seed of split, subsets and shuffling.

        Raises:
            ValueError: If an episode lacks an array, or one does not fit, naming both.

        Example:
            >>> import numpy as np
            >>> draw = np.random.default_rng(0).normal
            >>> episodes = [
            ...     {"observation": draw(size=(T + 1, 2)), "action": draw(size=(T, 1)),
            ...      "reward": draw(size=T)}
            ...     for T in (30, 20, 25)
            ... ]
            >>> data = StoredTransitions.from_episodes(episodes, ["left", "left", "right"])
            >>> [(count.task, count.used, count.transitions) for count in data.counts]
            [('left', 25, 50), ('right', 25, 25)]
        """
        recording = recording_of_episodes(episodes, tasks, "`episodes`", seed, order)
        return cls(recording, holdout_fraction, batch_size, seed)

    @classmethod
    def from_tensordict(
        cls,
        transitions: TensorDictBase,
        order: Order = None,
        holdout_fraction: float = 0.1,
        batch_size: int | None = None,
        seed: int = 0,
    ) -> StoredTransitions:
        """From a TensorDict with TorchRL's keys, such as ``replay_buffer[:]``.

        Args:
            transitions: A batch ``[N, B]``, or ``[M]`` with an entry ``task``.
            order: All labels in ``task``, the base task first; None: as they first appear.
            holdout_fraction: Fraction held out, in (0, 0.5].
            batch_size: Transitions per task in a batch.
            seed: Seed of split, subsets and shuffling.

        Raises:
            ValueError: If an entry is missing, or does not fit.
        """
        entries = transitions.flatten_keys("_").items()
        arrays = {
            name: value.detach().cpu() for name, value in entries if isinstance(value, Tensor)
        }
        recording = recording_of(arrays, "`transitions`", seed, order)
        return cls(recording, holdout_fraction, batch_size, seed)


def _read(path: Any, seed: int, order: Order) -> Recording:
    if isinstance(path, str | Path):
        return recording_of(load(path), path, seed, order)
    valid = isinstance(path, Sequence) and not isinstance(path, bytes) and len(path) > 1
    if not valid or not all(isinstance(entry, str | Path) for entry in path):
        raise ValueError(f"Expected `path` to be {WHAT}, got {path!r}.")
    labels = [str(entry) for entry in path]
    if len(set(labels)) < len(labels):
        raise ValueError(f"Expected `path` to name different files, got {labels}.")
    parts = []
    for label in labels:
        arrays = renamed(load(label), label)
        check_names(arrays, _EITHER, label)
        _check_one_task(arrays.pop("task", None), label)
        parts.append(with_ends(arrays, label))
    for rows, label in zip(parts, labels, strict=True):
        sizes = [part[0]["observation"].shape[1] for part in (rows, parts[0])]
        moves = [part[0]["action"].shape[1] for part in (rows, parts[0])]
        if sizes[0] != sizes[1] or moves[0] != moves[1]:
            raise ValueError(
                f"Expected states and actions in {label} to have {sizes[1]} and {moves[1]} "
                f"columns, as in {labels[0]}, got {sizes[0]} and {moves[0]}."
            )
    lengths = torch.tensor([len(valid) for _, valid in parts])
    task = torch.arange(len(parts)).repeat_interleave(lengths)
    return grouped(*joined(parts), *ordered(task, labels, order), "`path`", seed)


def _check_one_task(column: Tensor | None, source: str) -> None:
    if column is not None and len(column) and bool((column != column[:1]).any()):
        raise ValueError(
            f"Expected {source} to be of one task, as each of several files is, but its column "
            "`task` changes: give it alone, or drop that column."
        )
