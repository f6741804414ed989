"""HDF5 files, read without running code, following links, or allocating what is merely claimed."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from hgm.files.arrays import MAX_GROWTH
from hgm.files.disk import brief, opened, quoted

MAX_OBJECTS, MAX_DEPTH = 2_000_000, 16
"""Groups and arrays in a file, and groups within groups: hard links can lead round in circles."""

_WHAT = "an HDF5 file of plain arrays"
# Other filters are libraries that HDF5 would look for and load.
_FILTERS = {1: "deflate", 2: "shuffle", 3: "fletcher32", 4: "szip", 5: "nbit", 6: "scaleoffset"}
_LZF = 32000  # within h5py itself

Key = tuple[str, ...]


class Hdf5(NamedTuple):
    """What a file holds.

    Attributes:
        arrays: Arrays of numbers by the names of their groups and their own.
        attributes: Numbers, texts and arrays of numbers that groups and arrays are annotated with.
    """

    arrays: dict[Key, Tensor]
    attributes: dict[Key, dict[str, Any]]


class _Unfit(Exception):
    """Why a file is not what was expected."""


def read_hdf5(path: str | Path, wanted: Callable[[Key], bool]) -> Hdf5:
    """Reads arrays of an HDF5 file.

    Every array is checked before anything is allocated: it must hold numbers, in this file, and be
    packed by nothing but HDF5's own filters.

    Args:
        path: The file.
        wanted: Which arrays to read, and groups to look into, by their names.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no such file, or an array that is wanted holds anything but numbers.
        ModuleNotFoundError: If h5py is not installed.
    """
    try:
        import h5py
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            f"Reading `{path}` needs h5py: pip install 'hgm[data]'."
        ) from None
    with opened(path, _WHAT) as stream:
        size = stream.seek(0, 2)
    try:
        with h5py.File(path, "r", locking=False) as file:
            return _Reader(size, wanted).read(file)
    except _Unfit as unfit:
        reason = str(unfit)
    except MemoryError:
        reason = "it does not fit into memory"
    except Exception as error:  # h5py raises about anything on bytes that HDF5 did not write
        reason = f"it cannot be read: {brief(str(error).partition(chr(10))[0])}"
    raise ValueError(f"Expected `{path}` to be {_WHAT}, but {reason}.")


class _Reader:
    def __init__(self, size: int, wanted: Callable[[Key], bool]) -> None:
        self.size, self.wanted = size, wanted
        self.count, self.total = 0, 0
        self.found = Hdf5({}, {})

    def read(self, group: Any, key: Key = ()) -> Hdf5:
        """Everything that is wanted in a group."""
        import h5py

        if len(key) > MAX_DEPTH:
            raise _Unfit(f"groups are nested more than {MAX_DEPTH} deep in {quoted(key[0])}")
        self.found.attributes[key] = dict(_attributes(group))
        for name in group:
            place = (*key, name)
            self.count += 1
            if self.count > MAX_OBJECTS:
                raise _Unfit(f"it holds more than {MAX_OBJECTS} arrays and groups")
            if not self.wanted(place):
                continue
            shown = quoted("/".join(place))
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise _Unfit(f"{shown} is a link: copy what it leads to into the file")
            entry = group[name]
            if isinstance(entry, h5py.Group):
                self.read(entry, place)
            elif isinstance(entry, h5py.Dataset):
                self._check(entry, shown)
                self.found.arrays[place] = _tensor(entry[()])
        return self.found

    def _check(self, array: Any, shown: str) -> None:
        kind = array.dtype
        if kind.hasobject or kind.kind not in "biuf":
            what = "is expected to be real" if kind.kind == "c" else "is expected to be numbers"
            raise _Unfit(f"{shown} {what}, got {brief(str(kind))}")
        if array.shape is None:
            raise _Unfit(f"{shown} has no shape")
        settings = array.id.get_create_plist()
        if array.is_virtual or settings.get_external_count():
            raise _Unfit(f"{shown} is kept in other files: copy it into this one")
        filters = [settings.get_filter(i)[0] for i in range(settings.get_nfilters())]
        unknown = [code for code in filters if code not in (*_FILTERS, _LZF)]
        if unknown:
            raise _Unfit(f"{shown} is packed by a plugin, filter {unknown[0]}: write it with gzip")
        self.total += math.prod(array.shape) * kind.itemsize
        most = MAX_GROWTH[0] * self.size + MAX_GROWTH[1]
        if self.total > most:
            raise _Unfit(f"it would grow from {self.size} to {self.total} bytes, more than {most}")


def _tensor(value: Any) -> Tensor:
    array = np.asarray(value)
    if array.dtype.kind == "b":  # any byte but 0 is true
        return torch.from_numpy(array.view(np.uint8) != 0)
    wide = array.dtype.kind == "f" and array.dtype.itemsize > 8
    native = np.dtype(np.float64) if wide else array.dtype.newbyteorder("=")
    return torch.from_numpy(np.ascontiguousarray(array, native).reshape(array.shape))


def _attributes(entry: Any) -> list[tuple[str, Any]]:
    """Annotations that are numbers, texts or arrays of numbers; others are left out."""
    found: list[tuple[str, Any]] = []
    for name in entry.attrs:
        kind = entry.attrs.get_id(name).dtype
        if kind.kind not in "biufOSU":
            continue
        value = entry.attrs[name]
        if isinstance(value, bytes):
            value = value.decode(errors="replace")
        if isinstance(value, str | np.generic) or (
            isinstance(value, np.ndarray) and value.dtype.kind in "biuf"
        ):
            found.append((name, value.item() if isinstance(value, np.generic) else value))
    return found
