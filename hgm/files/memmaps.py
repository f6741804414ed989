"""Folders written by ``TensorDict.memmap``, mapped without running or changing anything in them.

TensorDict's own ``load_memmap`` can unpickle, imports the types that a folder names, and enlarges
files that are too short. This reader takes shapes and types from ``meta.json`` and nothing else.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hgm.files.disk import brief, quoted
from hgm.files.records import read_json

MAX_FILES = 10_000
MAX_META_BYTES = 2**24

_WHAT = "a folder that TensorDict.memmap wrote"
_TYPES: dict[str, tuple[np.dtype, torch.dtype | None]] = {
    f"torch.{name}": (np.dtype(name), None)
    for name in (
        *("float16", "float32", "float64", "int8", "int16", "int32", "int64"),
        *("uint8", "uint16", "uint32", "uint64"),
    )
} | {
    "torch.bool": (np.dtype("uint8"), torch.bool),
    "torch.bfloat16": (np.dtype("int16"), torch.bfloat16),
}


def read_memmap(folder: str | Path) -> dict[tuple[str, ...], Tensor]:
    """Maps the tensors of a folder that ``TensorDict.memmap`` wrote, nested ones too.

    Files are opened for reading only; what is written to the tensors stays in memory.

    Returns:
        Tensors by their keys, such as ``("next", "reward")``. Entries that are no tensors are left
        out.

    Raises:
        ValueError: If it is no such folder, holds pickles, links or devices, or a file is not of
            the size that ``meta.json`` says, naming the file.
    """
    place = Path(folder).resolve()
    _check_tree(place, folder)
    return _read(place, Path(folder), ())


def _check_tree(place: Path, folder: str | Path) -> None:
    """Checks that nothing in the folder leaves it, waits, or would have to be unpickled."""
    count, left = 0, [place]
    while left:
        try:
            with os.scandir(left.pop()) as entries:
                listed = list(entries)
        except OSError as error:
            raise _unfit(folder, f"it cannot be read: {error.strerror}") from None
        count += len(listed)
        if count > MAX_FILES:
            raise _unfit(folder, f"it holds more than {MAX_FILES} files")
        for entry in listed:
            name = quoted(os.path.relpath(entry.path, place))
            if entry.is_symlink():
                raise _unfit(folder, f"{name} is a link: copy what it leads to into the folder")
            if entry.name.endswith((".pickle", ".pkl")):
                raise _unfit(folder, f"{name} would have to be unpickled: write the tensors alone")
            if entry.is_dir():
                left.append(Path(entry.path))
            elif not entry.is_file():
                raise _unfit(folder, f"{name} is no regular file")


def _read(place: Path, shown: Path, key: tuple[str, ...]) -> dict[tuple[str, ...], Tensor]:
    found: dict[tuple[str, ...], Tensor] = {}
    for name, entry in _meta(place, shown).items():
        if not isinstance(entry, dict):  # the folder's own shape, device and type
            continue
        if name.startswith(("/", "\\", ".")) or ".." in name or "\0" in name:
            raise _unfit(shown / "meta.json", f"it names {quoted(name)}, outside of the folder")
        if not name.replace("_", "").isalnum():  # written under a name that is encoded: not ours
            continue
        if "type" not in entry:
            found[*key, name] = _map(place, shown, name, entry)
        elif entry["type"] == "TensorDict" and (place / name).is_dir():
            found |= _read(place / name, shown / name, (*key, name))
    return found


def _meta(place: Path, shown: Path) -> dict[str, Any]:
    try:
        if (place / "meta.json").stat().st_size > MAX_META_BYTES:
            raise _unfit(shown / "meta.json", f"it is larger than {MAX_META_BYTES} bytes")
        meta = read_json(place / "meta.json")
    except OSError:
        raise _unfit(shown, "it has no meta.json") from None
    except ValueError as error:
        reason = str(error).partition("but ")[2].removesuffix(".") or str(error)
        raise _unfit(shown, f"its meta.json is not valid: {brief(reason)}") from None
    kind = meta.get("_type") if isinstance(meta, dict) else None
    if kind != "<class 'tensordict._td.TensorDict'>":
        raise _unfit(
            shown,
            f"its meta.json names the type {brief(kind)}: write a plain TensorDict, as "
            "`.to_tensordict()` returns",
        )
    return meta


def _map(place: Path, shown: Path, name: str, entry: dict[str, Any]) -> Tensor:
    where, shape, kind = shown / f"{name}.memmap", entry.get("shape"), entry.get("dtype")
    if entry.get("is_nested") or not isinstance(kind, str):
        raise _unfit(where, "it is ragged, or of no known type: write rows of equal length")
    if kind not in _TYPES:
        raise _unfit(where, f"it is expected to be real numbers, got {brief(kind)}")
    valid = isinstance(shape, list) and len(shape) <= 16
    if not valid or not all(type(size) is int and 0 <= size <= 2**48 for size in shape or ()):
        raise _unfit(shown / "meta.json", f"it claims the shape {brief(shape)} for `{name}`")
    shape, (stored, final) = tuple(shape or ()), _TYPES[kind]
    need = math.prod(shape) * stored.itemsize
    if need == 0:  # there is no file for it
        return torch.zeros(shape)
    file = place / f"{name}.memmap"
    there = file.stat().st_size if file.is_file() else None
    if there != need:
        got = "there is no such file" if there is None else f"it holds {there}"
        raise _unfit(where, f"meta.json says {brief(shape)} of {kind}, {need} bytes, and {got}")
    # Copy on write: the file is open for reading only, and torch still gets what it can write to.
    array = np.memmap(file, stored, "c", shape=shape or (1,))
    tensor = torch.from_numpy(np.asarray(array)).reshape(shape)
    if final is torch.bool:
        return tensor != 0
    return tensor if final is None else tensor.view(final)


def _unfit(path: str | Path, reason: str) -> ValueError:
    return ValueError(f"Expected `{path}` to be of {_WHAT}, but {reason}.")
