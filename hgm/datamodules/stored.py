"""Transitions from elsewhere: NumPy archives and TensorDict memmap folders."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor

from hgm.datamodules.base import KEYS, MIN_TRANSITIONS, TransitionData

Arrays = dict[str, Tensor]


class StoredTransitions(TransitionData):
    """A user's own transitions, with the interface of :class:`hgm.datamodules.Transitions`.

    ``path`` names one of

    * an ``.npz`` file with arrays ``observation (N, B, n)``, ``action (N, B, m)``, ``reward
      (N, B)`` or ``(N, B, 1)`` and ``next_observation (N, B, n)``, optionally ``done`` and
      ``terminated`` like the reward; pickled arrays are refused;
    * a folder written by ``TensorDict.memmap`` with TorchRL's keys: ``observation``, ``action``,
      ``("next", "observation")``, ``("next", "reward")``, and the flags under ``"next"``.

    Task 0 is the base task. Values become float32; flags that are missing are False. The truth is
    unknown: ``family`` and ``tasks`` are None.

    Args:
        path: File or folder.
        holdout_fraction: Fraction held out, in (0, 0.5].
        batch_size: Transitions per task in a batch; None: all that the rank holds.
        seed: Seed of split and shuffling.

    Raises:
        FileNotFoundError: If there is nothing at ``path``.
        ValueError: If the file cannot be read, an array is missing or of the wrong shape or type,
            there are fewer than 2 tasks or 20 transitions, or an argument is out of range.
    """

    def __init__(
        self,
        path: str | Path,
        holdout_fraction: float = 0.1,
        batch_size: int | None = None,
        seed: int = 0,
    ) -> None:
        arrays = _load(Path(path))
        _check_shapes(arrays, path)
        self.num_tasks, num_transitions, self.dim_state = arrays["observation"].shape
        self.dim_action = arrays["action"].shape[-1]
        super().__init__(num_transitions, holdout_fraction, batch_size, seed)
        self.family, self.tasks = None, None
        self._stored = _as_transitions(arrays)

    def _deliver(self) -> Iterator[TensorDictBase]:
        share, rest = divmod(self.num_transitions, self.world_size)
        start = self.rank * share + min(self.rank, rest)
        yield self._stored[:, start : start + self.num_local].select(*KEYS)


def _load(path: Path) -> Arrays:
    if not path.exists():
        raise FileNotFoundError(f"Expected `path` to be an .npz file or a folder, got {path}.")
    try:
        if path.is_dir():
            return dict(TensorDict.load_memmap(path).flatten_keys("_").items())
        with np.load(path, allow_pickle=False) as archive:
            return {key: torch.from_numpy(archive[key]) for key in archive.files}
    except (ValueError, TypeError, AttributeError, OSError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"Expected `path` to be an .npz file of plain arrays or a TensorDict memmap folder, "
            f"got {path}: {error}"
        ) from error


def _check_shapes(arrays: Arrays, path: str | Path) -> None:
    """Normalise the names of a memmap folder and check every array that is read."""
    for name in ("reward", "done", "terminated"):
        if f"next_{name}" in arrays:
            arrays[name] = arrays.pop(f"next_{name}")
    for name in ("observation", "action", "reward", "next_observation"):
        if name not in arrays:
            raise ValueError(f"Expected an array `{name}` in {path}, got {sorted(arrays)}.")
    state, action = arrays["observation"], arrays["action"]
    if state.ndim != 3 or state.shape[0] < 2 or state.shape[1] < MIN_TRANSITIONS:
        raise ValueError(
            f"Expected `observation` in {path} to have shape (N, B, n) with at least 2 tasks and "
            f"{MIN_TRANSITIONS} transitions, got {tuple(state.shape)}."
        )
    batch = tuple(state.shape[:2])
    vectors = {"next_observation": tuple(state.shape), "action": (*batch, action.shape[-1])}
    for name, shape in vectors.items():
        if tuple(arrays[name].shape) != shape:
            raise ValueError(
                f"Expected `{name}` in {path} to have shape {shape}, "
                f"got {tuple(arrays[name].shape)}."
            )
    for name in {"reward", "done", "terminated"} & set(arrays):
        if tuple(arrays[name].shape) not in (batch, (*batch, 1)):
            raise ValueError(
                f"Expected `{name}` in {path} to have shape {batch} or {(*batch, 1)}, "
                f"got {tuple(arrays[name].shape)}."
            )
    for name, array in arrays.items():
        if array.is_complex():
            raise ValueError(f"Expected `{name}` in {path} to be real, got {array.dtype}.")


def _as_transitions(arrays: Arrays) -> TensorDict:
    num_tasks, num, _ = arrays["observation"].shape
    none = torch.zeros(num_tasks, num, 1, dtype=torch.bool)
    following = {
        "observation": arrays["next_observation"].float(),
        "reward": arrays["reward"].reshape(num_tasks, num, 1).float(),
        "done": arrays.get("done", none).reshape(num_tasks, num, 1).bool(),
        "terminated": arrays.get("terminated", none).reshape(num_tasks, num, 1).bool(),
    }
    entries = {
        "observation": arrays["observation"].float(),
        "action": arrays["action"].float(),
        "task": torch.arange(num_tasks)[:, None, None].expand(num_tasks, num, 1),
        "next": TensorDict(following, [num_tasks, num]),
    }
    return TensorDict(entries, [num_tasks, num])
