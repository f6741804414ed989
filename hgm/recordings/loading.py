"""Arrays of transitions from files and folders, by their names there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from hgm.files import read_hdf5, read_json, read_memmap, read_npz
from hgm.files.disk import brief
from hgm.recordings.names import KNOWN, Arrays

_SAVEZ = "numpy.savez('data.npz', observation=..., action=..., reward=..., next_observation=...)"
_REMEDIES = {
    **dict.fromkeys((".pt", ".pth", ".ckpt"), "a file of torch.save: load it and write"),
    **dict.fromkeys((".pkl", ".pickle"), "a pickle, which would run as code: write"),
    **dict.fromkeys((".csv", ".tsv", ".txt"), "a table of text: read it with pandas and write"),
    **dict.fromkeys((".parquet", ".arrow", ".feather"), "a table: read it with pandas and write"),
    ".npy": "a single array: write all of them with",
    ".mat": "a MATLAB file: read it with scipy.io.loadmat and write",
    ".tdz": "a packed TensorDict: unpack it with unzip into a folder, or write",
}
_HDF5 = (".h5", ".hdf5")
_NOTES = "storage_metadata.json"
WHAT = "an .npz file or a folder, an HDF5 file, or a list of at least 2 of them, one a task"


def load(path: str | Path) -> Arrays:
    """All arrays, with the keys of folders and groups joined by underscores.

    Raises:
        FileNotFoundError: If there is nothing at ``path``.
        ValueError: If it cannot be read.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"Expected `path` to be {WHAT}, got {path}.")
    if path.is_dir():
        return _folder(path)
    if path.suffix.lower() in _HDF5:
        return _hdf5(path)
    if path.suffix.lower() in _REMEDIES:
        raise ValueError(
            f"Expected `path` to be an .npz file of plain arrays, an HDF5 file or a folder, but "
            f"{path} is {_REMEDIES[path.suffix.lower()]} {_SAVEZ}."
        )
    return read_npz(path)


def _hdf5(path: Path) -> Arrays:
    there: list[str] = []

    def wanted(key: tuple[str, ...]) -> bool:
        there.append(key[0])
        return key[0] in KNOWN

    arrays = _joined(read_hdf5(path, wanted).arrays)
    if not arrays:
        raise ValueError(
            f"Expected arrays like `observation` at the top of {path}, got {brief(there)}: episodes"
            " in groups of their own are read with h5py, and given to "
            "StoredTransitions.from_episodes."
        )
    return arrays


def _joined(arrays: Mapping[tuple[str, ...], Tensor]) -> Arrays:
    return {"_".join(key): array for key, array in arrays.items()}


def _folder(path: Path) -> Arrays:
    """A folder of ``TensorDict.memmap``, or of TorchRL's ``ReplayBuffer.dumps``."""
    inner = path / "storage"
    if (inner / _NOTES).is_file() and not (path / "meta.json").exists():
        return _folder(inner)
    arrays = _joined(read_memmap(path))
    if (path / _NOTES).is_file():
        if "next_observation" not in arrays:  # the oldest row may follow the newest
            raise ValueError(
                f"Expected `('next', 'observation')` in {path}: the rows of a replay buffer are "
                f"not in the order of time once it was full, got {sorted(arrays)[:12]}."
            )
        return _written(arrays, path / _NOTES)
    rows = [value for name, value in arrays.items() if name in KNOWN and value.ndim < 3]
    if arrays.get("observation", Tensor()).ndim == 2 and _is_silent(rows):
        raise ValueError(
            f"Expected transitions in {path}, but its last row is all zeros, as in a storage that "
            "is not full: write it with ReplayBuffer.dumps, which notes how many rows there are."
        )
    return arrays


def _written(arrays: Arrays, notes: Path) -> Arrays:
    """The rows of a buffer that were written: in the others is whatever was in memory."""
    content = read_json(notes, "what ReplayBuffer.dumps wrote")
    num = content.get("len") if isinstance(content, dict) else None
    if type(num) is not int or num < 0 or any(len(value) < num for value in arrays.values()):
        raise ValueError(f"Expected `len` in {notes} to count rows, got {brief(num)}.")
    return {name: value[:num] for name, value in arrays.items()}


def _is_silent(rows: list[Tensor]) -> bool:
    return all(len(value) > 0 and not (value[-1] != 0).any() for value in rows if value.ndim)
