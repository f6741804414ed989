"""NumPy archives, read without pickle, and without allocating what a header merely claims."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import IO, BinaryIO

import numpy as np
import torch
from numpy.lib import format as npy
from torch import Tensor

from hgm.files.disk import brief, opened, quoted

MAX_GROWTH = 50, 2**28
"""What may be unpacked from a file: this many times its size, and this many bytes."""

_WHAT = "an .npz archive of plain arrays"


class _Unfit(Exception):
    """Why an archive is not what was expected."""


def read_npz(path: str | Path) -> dict[str, Tensor]:
    """Reads the arrays of an archive that ``numpy.savez`` or ``savez_compressed`` wrote.

    Integers, floats and booleans of all widths and byte orders are read. Every header is checked
    against the size of its array's data before anything is allocated.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no such archive, or an array holds anything but numbers, naming it.
    """
    with opened(path, _WHAT) as file:
        try:
            return _read(file)
        except _Unfit as unfit:
            reason = str(unfit)
        except zipfile.BadZipFile:
            reason = "it was cut off or is damaged"
        except MemoryError:
            reason = "it does not fit into memory"
        except Exception as error:  # zlib's, NumPy's and zipfile's own, on bytes they did not write
            reason = f"it cannot be read: {brief(str(error).partition(chr(10))[0])}"
    raise ValueError(f"Expected `{path}` to be {_WHAT}, but {reason}.")


def _read(file: BinaryIO) -> dict[str, Tensor]:
    size = file.seek(0, 2)
    if not zipfile.is_zipfile(file):
        raise _Unfit("it is no zip archive, or was cut off")
    archive = zipfile.ZipFile(file)
    entries = archive.infolist()
    names = [entry.filename.removesuffix(".npy") for entry in entries]
    if len(set(names)) < len(names):
        raise _Unfit("it holds two arrays of the same name")
    for entry in entries:
        if not entry.filename.endswith(".npy"):
            raise _Unfit(f"it holds {quoted(entry.filename)}, which is no array")
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise _Unfit(f"{quoted(entry.filename)} is packed in a way that NumPy does not write")
    total, most = sum(entry.file_size for entry in entries), MAX_GROWTH[0] * size + MAX_GROWTH[1]
    if total > most:
        raise _Unfit(
            f"it would grow from {size} to {total} bytes, more than {most}: write it with "
            "numpy.savez, not savez_compressed"
        )
    for entry, name in zip(entries, names, strict=True):
        _check_header(archive, entry, name)
    return {name: _array(archive, entry, name) for entry, name in zip(entries, names, strict=True)}


def _check_header(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, name: str) -> None:
    with archive.open(entry) as stream:
        shape, _, dtype, start = _header(stream, name)
    if dtype.hasobject:
        raise _Unfit(
            f"{quoted(name)} holds Python objects (ragged rows?), which would have to be "
            "unpickled: write plain arrays of numbers, all rows equally long"
        )
    if dtype.kind == "c":
        raise _Unfit(f"{quoted(name)} is expected to be real, got {dtype}")
    if dtype.kind not in "biuf":
        raise _Unfit(f"{quoted(name)} holds {brief(str(dtype))}, not numbers")
    if any(length < 0 for length in shape):
        raise _Unfit(f"{quoted(name)} claims the shape {brief(shape)}")
    need, there = math.prod(shape) * dtype.itemsize, entry.file_size - start
    if need != there:
        raise _Unfit(
            f"{quoted(name)} claims the shape {brief(shape)} of {dtype}, {need} bytes, and holds "
            f"{there}"
        )


def _header(stream: IO[bytes], name: str) -> tuple[tuple[int, ...], bool, np.dtype, int]:
    """Shape, Fortran order, type, and where the data start."""
    readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    try:
        version = npy.read_magic(stream)
        if version not in readers:
            raise ValueError(f"version {version} is for named fields")
        shape, fortran, dtype = readers[version](stream)
    except zipfile.BadZipFile:
        raise
    except Exception as error:
        reason = brief(str(error).partition("\n")[0])
        raise _Unfit(f"{quoted(name)} has no valid header: {reason}") from None
    return shape, fortran, dtype, stream.tell()


def _array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, name: str) -> Tensor:
    with archive.open(entry) as stream:
        shape, fortran, dtype, _ = _header(stream, name)
        data = bytearray(stream.read())  # all of it: the checksum is compared at the end
    # Of booleans, any byte but 0 is true: torch would keep a 2, which is neither.
    array = np.frombuffer(data, np.uint8 if dtype.kind == "b" else dtype)
    array = (array != 0 if dtype.kind == "b" else array).reshape(
        shape, order="F" if fortran else "C"
    )
    native = np.float64 if dtype.kind == "f" and dtype.itemsize > 8 else dtype.newbyteorder("=")
    return torch.from_numpy(np.ascontiguousarray(array, native).reshape(shape))
