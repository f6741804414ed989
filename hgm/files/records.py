"""JSON files: always valid, always whole."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from hgm.files.disk import opened, replacing

MAX_BYTES = 2**30


def write_json(path: str | Path, content: Any, indent: int = 2) -> None:
    """Writes valid JSON in one go: a reader sees the former file or the new one.

    NaN and infinities, which JSON does not know, become null; scalars and arrays of NumPy and torch
    become numbers and lists; paths become strings.

    Args:
        path: The file.
        content: Nested dictionaries, lists, numbers, strings and tensors.
        indent: Spaces per level.

    Raises:
        OSError: If it cannot be written; the former file is then still there.
        TypeError: If something else is in it, naming where; nothing is written then.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_json(f"{folder}/a.json", {"regret": math.nan, "found": np.arange(2)})
        ...     read_json(f"{folder}/a.json")
        {'regret': None, 'found': [0, 1]}
    """
    text = json.dumps(_plain(content, ""), indent=indent, allow_nan=False) + "\n"
    with replacing(path) as file:
        file.write(text.encode())


def read_json(path: str | Path, what: str = "a JSON file") -> Any:
    """Reads a JSON file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not valid JSON, naming the file.
    """
    with opened(path, what) as file:
        try:
            text = file.read(MAX_BYTES + 1)
            if len(text) > MAX_BYTES:
                raise ValueError(f"it is larger than {MAX_BYTES} bytes")
            return json.loads(text)
        except RecursionError:
            reason = "it is nested too deeply"
        except UnicodeDecodeError:
            reason = "it is no text"
        except (ValueError, OSError, MemoryError) as error:
            reason = str(error)
    raise ValueError(f"Expected `{path}` to be {what}, but {reason}.")


def _plain(value: Any, where: str) -> Any:
    if isinstance(value, Tensor):
        value = value.detach().cpu().tolist()
    elif isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str | int):
                raise TypeError(f"Expected keys of `{where}` to be strings, got {key!r}.")
        return {
            str(key): _plain(entry, f"{where}.{key}".strip(".")) for key, entry in value.items()
        }
    if isinstance(value, list | tuple):
        return [_plain(entry, f"{where}[{index}]") for index, entry in enumerate(value)]
    raise TypeError(f"Expected `{where}` to be numbers, strings or tensors, got {value!r}.")
