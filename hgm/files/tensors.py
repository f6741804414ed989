"""Files of tensors, numbers and strings, as ``torch.save`` writes them; read without running code.

PyTorch's own ``weights_only=True`` keeps code from running. Before it sees a file, this module
checks what it does not: that every byte is as it was written, that nothing is packed so as to grow
when it is unpacked, and that only plain tensors and containers are named.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import re
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from hgm.files.disk import brief, opened, quoted, replacing

MAX_PICKLE_BYTES = 2**28
MAX_VIEW_BYTES = 2**30
"""What a tensor may claim beyond what is stored of it: an expanded one is stored once."""

_NAMES = {
    "collections OrderedDict",
    "_codecs encode",  # how protocol 2 writes bytes
    "__builtin__ set",
    "torch Size",
    "torch device",
    "torch._utils _rebuild_tensor_v2",
    "torch._utils _rebuild_tensor_v3",
    "torch._utils _rebuild_parameter",
    "torch.storage UntypedStorage",
    *(f"torch {name}Storage" for name in ("Double", "Float", "Half", "BFloat16", "Bool", "Byte")),
    *(f"torch {name}Storage" for name in ("Long", "Int", "Short", "Char")),
    *(f"torch {name}Storage" for name in ("ComplexFloat", "ComplexDouble")),
    *(f"torch float{bits}" for bits in (16, 32, 64)),
    *(f"torch int{bits}" for bits in (8, 16, 32, 64)),
    *(f"torch uint{bits}" for bits in (8, 16, 32, 64)),
    *(f"torch {name}" for name in ("bfloat16", "bool", "complex64", "complex128")),
}


class _Unfit(Exception):
    """Why a file is not what was expected."""


def write_tensors(path: str | Path, content: Any) -> None:
    """Writes tensors, numbers and strings in one go; read back by :func:`read_tensors`.

    Raises:
        OSError: If it cannot be written; the former file is then still there.
    """
    with replacing(path) as file:
        file.write(packed(content))


def packed(content: Any) -> memoryview:
    """What ``torch.save`` writes of it: in memory first, since it can crash on a full disk."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getbuffer()


def read_tensors(path: str | Path, what: str = "a file of tensors") -> Any:
    """Reads what :func:`write_tensors` wrote, onto the CPU. No code runs, the file stays as it is.

    Args:
        path: The file.
        what: What is expected there, such as ``"a geometry"``, for the messages.

    Returns:
        Nested containers of dense tensors, numbers and strings.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be read for whatever reason, in one line that names it.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_tensors(f"{folder}/a.pt", {"weight": torch.ones(2)})
        ...     read_tensors(f"{folder}/a.pt")
        {'weight': tensor([1., 1.])}
    """
    with opened(path, what) as file:
        try:
            _check_archive(file)
            file.seek(0)
            content = torch.load(file, map_location="cpu", weights_only=True)
            _check_content(content)
            return content
        except _Unfit as unfit:
            reason = str(unfit)
        except RecursionError:
            reason = "it is nested too deeply"
        except (MemoryError, OverflowError):
            reason = "it claims more memory than there is"
        except pickle.UnpicklingError as error:
            name = re.search(r"GLOBAL (\S+)", str(error))
            reason = _code(name[1]) if name else "it is not made of tensors, numbers and strings"
        except Exception as error:  # PyTorch raises about anything on bytes that it did not write
            reason = f"it cannot be read: {brief(str(error).splitlines()[0])}"
    raise ValueError(f"Expected `{path}` to be {what}, but {reason}.")


def _check_archive(file: BinaryIO) -> None:
    """Checks that the bytes are those that ``torch.save`` wrote, before PyTorch sees them."""
    if file.read(4) != b"PK\x03\x04":
        raise _Unfit("it is not what torch.save writes")
    size = file.seek(0, io.SEEK_END)
    try:
        archive = zipfile.ZipFile(file)
    except zipfile.BadZipFile:
        raise _Unfit("it was cut off or is damaged") from None
    entries = archive.infolist()
    names = [entry.filename for entry in entries]
    pickles = [entry for entry in entries if entry.filename.endswith("/data.pkl")]
    if len(pickles) != 1 or any(name.endswith("/constants.pkl") for name in names):
        raise _Unfit(f"it is an archive of something else, of {brief(sorted(names)[:3])}")
    packed = any(entry.compress_type or entry.flag_bits & 1 for entry in entries)
    total = sum(entry.file_size for entry in entries)
    if packed or total > size or len(set(names)) < len(names):
        raise _Unfit("it is packed in a way in which torch.save does not write")
    if pickles[0].file_size > MAX_PICKLE_BYTES:
        raise _Unfit(f"it holds more than {MAX_PICKLE_BYTES} bytes besides tensors")
    try:
        damaged = archive.testzip()
    except (zipfile.BadZipFile, EOFError):
        damaged = "an entry"
    if damaged is not None:
        raise _Unfit(f"it is damaged: {quoted(damaged)} is not as it was written")
    _check_names(archive.read(pickles[0]))


def _check_names(code: bytes) -> None:
    """Checks that a pickle names nothing but tensors and plain containers."""
    try:
        for operation, value, _ in pickletools.genops(code):
            if operation.name == "GLOBAL" and value not in _NAMES:
                raise _Unfit(_code(str(value).replace(" ", ".")))
    except (ValueError, UnicodeDecodeError):
        raise _Unfit("it is damaged: it cannot be unpickled") from None


def _code(name: str) -> str:
    return (
        f"it names {quoted(name)}, and only tensors, numbers and strings are read: no code was run"
    )


def _check_content(content: Any) -> None:
    """Checks that tensors claim no memory that they do not hold, and dictionaries no methods."""
    left, seen = [content], set[int]()
    while left:
        value = left.pop()
        if isinstance(value, Tensor):
            _check_tensor(value)
        elif isinstance(value, dict | list | tuple | set) and id(value) not in seen:
            seen.add(id(value))
            extra = getattr(value, "__dict__", {})  # a state_dict has one attribute, of versions
            versions = extra.get("_metadata", {})
            plain = set(extra) <= {"_metadata"} and isinstance(versions, dict)
            if not plain or not all(isinstance(entry, dict) for entry in versions.values()):
                raise _Unfit("it holds a dictionary with attributes of its own")
            left += [*value.keys(), *value.values()] if isinstance(value, dict) else value


def _check_tensor(value: Tensor) -> None:
    claimed = value.numel() * value.element_size()
    if claimed > max(value.untyped_storage().nbytes(), MAX_VIEW_BYTES):
        raise _Unfit(f"it holds a tensor of shape {brief(tuple(value.shape))} without its entries")
