"""Transitions from elsewhere: NumPy archives and TensorDict memmap folders."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from pathlib import Path

import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor

from hgm.datamodules.base import KEYS, MIN_TRANSITIONS, TransitionData
from hgm.files import read_memmap, read_npz
from hgm.files.disk import quoted

Arrays = dict[str, Tensor]

_VECTORS = ("observation", "action", "next_observation")
_FLAGS = ("done", "terminated")
_NEEDED = (*_VECTORS, "reward")

_ELSEWHERE = {  # what others call it
    **dict.fromkeys(("obs", "state", "states", "s"), "observation"),
    **dict.fromkeys(("act", "a"), "action"),
    **dict.fromkeys(("rew", "r"), "reward"),
    **dict.fromkeys(("next_obs", "obs_next", "next_state", "next_states"), "next_observation"),
}

_SAVEZ = "numpy.savez('data.npz', observation=..., action=..., reward=..., next_observation=...)"
_REMEDIES = {
    **dict.fromkeys((".h5", ".hdf5"), "an HDF5 file: read it with h5py and write"),
    **dict.fromkeys((".pt", ".pth", ".ckpt"), "a file of torch.save: load it and write"),
    **dict.fromkeys((".pkl", ".pickle"), "a pickle, which would run as code: write"),
    **dict.fromkeys((".csv", ".tsv", ".txt"), "a table of text: read it with pandas and write"),
    **dict.fromkeys((".parquet", ".arrow", ".feather"), "a table: read it with pandas and write"),
    ".npy": "a single array: write all of them with",
    ".mat": "a MATLAB file: read it with scipy.io.loadmat and write",
    ".tdz": "a packed TensorDict: unpack it with unzip into a folder, or write",
}


class StoredTransitions(TransitionData):
    """A user's own transitions, with the interface of :class:`hgm.datamodules.Transitions`.

    ``path`` names one of

    * an ``.npz`` file with arrays ``observation (N, B, n)``, ``action (N, B, m)``, ``reward
      (N, B)`` or ``(N, B, 1)`` and ``next_observation (N, B, n)``, optionally ``done`` and
      ``terminated`` like the reward, of 0 and 1;
    * a folder written by ``TensorDict.memmap`` with TorchRL's keys: ``observation``, ``action``,
      ``("next", "observation")``, ``("next", "reward")``, and the flags under ``"next"``.

    Task 0 is the base task. Real numbers of any type become float32; flags that are missing are
    False. The truth is unknown: ``family`` and ``tasks`` are None. Nothing that is read runs as
    code or is changed.

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
        arrays = _load(path)
        _check_shapes(arrays, path)
        self.num_tasks, num_transitions, self.dim_state = arrays["observation"].shape
        self.dim_action = arrays["action"].shape[-1]
        super().__init__(num_transitions, holdout_fraction, batch_size, seed)
        self.family, self.tasks = None, None
        _check_flags(arrays, path)
        self._stored = _as_transitions(arrays)

    def _deliver(self) -> Iterator[TensorDictBase]:
        share, rest = divmod(self.num_transitions, self.world_size)
        start = self.rank * share + min(self.rank, rest)
        yield self._stored[:, start : start + self.num_local].select(*KEYS)


def _load(given: str | Path) -> Arrays:
    """All arrays, with the keys of a folder joined by underscores."""
    if not isinstance(given, str | Path):
        raise ValueError(f"Expected `path` to be an .npz file or a folder, got {given!r}.")
    path = Path(given)
    if not path.exists():
        raise FileNotFoundError(f"Expected `path` to be an .npz file or a folder, got {path}.")
    if path.is_dir():
        return {"_".join(key): array for key, array in read_memmap(path).items()}
    if path.suffix.lower() in _REMEDIES:
        raise ValueError(
            f"Expected `path` to be an .npz file of plain arrays or a folder, but {path} is "
            f"{_REMEDIES[path.suffix.lower()]} {_SAVEZ}."
        )
    return read_npz(path)


def _check_shapes(arrays: Arrays, path: str | Path) -> None:
    """Normalise the names of a memmap folder and check every array that is read."""
    for name in ("reward", *_FLAGS):
        if f"next_{name}" in arrays:
            arrays[name] = arrays.pop(f"next_{name}")
    _check_names(arrays, path)
    state, action = arrays["observation"], arrays["action"]
    if state.ndim != 3 or state.shape[0] < 2 or state.shape[1] < MIN_TRANSITIONS:
        raise ValueError(
            f"Expected `observation` in {path} to have shape (N, B, n) with at least 2 tasks and "
            f"{MIN_TRANSITIONS} transitions, got {tuple(state.shape)}."
        )
    batch = tuple(state.shape[:2])
    columns = action.shape[-1] if action.ndim == 3 else "m"
    vectors = {"next_observation": tuple(state.shape), "action": (*batch, columns)}
    for name, shape in vectors.items():
        if tuple(arrays[name].shape) != shape:
            raise ValueError(
                f"Expected `{name}` in {path} to have shape {shape}, "
                f"got {tuple(arrays[name].shape)}.".replace("'m'", "m")
            )
    for name in ("observation", "action"):
        if arrays[name].shape[-1] == 0:
            raise ValueError(
                f"Expected `{name}` in {path} to have at least 1 column, "
                f"got {tuple(arrays[name].shape)}."
            )
    for name in ("reward", *_FLAGS):
        if name in arrays and tuple(arrays[name].shape) not in (batch, (*batch, 1)):
            raise ValueError(
                f"Expected `{name}` in {path} to have shape {batch} or {(*batch, 1)}, "
                f"got {tuple(arrays[name].shape)}."
            )


def _check_names(arrays: Arrays, path: str | Path) -> None:
    """Checks that nothing is missing, or is there under a name that is only close."""
    for name in _NEEDED:
        if name not in arrays:
            others = sorted(set(arrays) - set(_NEEDED) - set(_FLAGS))
            close = [other for other in others if _meant(other) == name]
            hint = f": rename {quoted(close[0])}" if close else ""
            raise ValueError(
                f"Expected an array `{name}` in {path}, got {sorted(arrays)[:12]}{hint}."
            )


def _meant(other: str) -> str | None:
    """Which of our names somebody else's stands for."""
    low = other.lower()
    if low in _ELSEWHERE:
        return _ELSEWHERE[low]
    close = difflib.get_close_matches(low, _NEEDED, n=1, cutoff=0.75)
    return close[0] if close else None


def _check_flags(arrays: Arrays, path: str | Path) -> None:
    for name in _FLAGS:
        if name in arrays:
            value = arrays[name]
            bad = ~((value == 0) | (value == 1))
            if bad.any():
                raise ValueError(
                    f"Expected `{name}` in {path} to be flags, 0 or 1, got {value[bad][0].item()}."
                )


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
