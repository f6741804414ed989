"""Tables on disk, and columns as numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from hgm.files import read_npz

_LEVELS = 20
"""Most levels of a text that becomes indicators."""
_CLASSES = 1000
"""Most classes of a target of integers."""


def read_table(path: Path) -> dict[str, Any]:
    """Columns of a table, as pandas Series by name.

    Args:
        path: A ``.parquet`` or ``.csv`` file, or an ``.npz`` archive of arrays of equal length:
            one-dimensional ones are columns, of others every column is one, ``name_0`` and so on.

    Raises:
        FileNotFoundError: If there is no such file.
        ImportError: If pandas is missing.
        ValueError: If the file is of another kind, cannot be read, or has no rows.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"Expected `path` to be a .parquet, .csv or .npz file, got {path}: there is none."
        )
    try:
        import pandas as pd
    except ImportError as error:
        raise ImportError("Tables are read with pandas: pip install hgm[tables].") from error
    readers = {".parquet": pd.read_parquet, ".csv": pd.read_csv}
    if path.suffix == ".npz":
        frame = pd.DataFrame(_columns_of(path))
    elif path.suffix in readers:
        try:
            frame = readers[path.suffix](path)
        except ImportError:
            raise
        except Exception as error:  # pyarrow's and pandas' own, on bytes that are no table
            reason = str(error).partition("\n")[0]
            raise ValueError(f"Expected {path} to be a table, but {reason}") from error
    else:
        raise ValueError(f"Expected `path` to end in .parquet, .csv or .npz, got {path}.")
    if len(frame) < 20:
        raise ValueError(f"Expected at least 20 rows in {path}, got {len(frame)}.")
    return {str(name): frame[name] for name in frame.columns}


def _columns_of(path: Path) -> dict[str, np.ndarray]:
    arrays = {name: array.numpy() for name, array in read_npz(path).items()}
    lengths = {len(array) if array.ndim else 0 for array in arrays.values()}
    if len(lengths) != 1:
        raise ValueError(
            f"Expected arrays of equal length in {path}, got shapes "
            f"{', '.join(f'{name} {array.shape}' for name, array in arrays.items())}."
        )
    columns = {}
    for name, array in arrays.items():
        if array.ndim == 1:
            columns[name] = array
        else:
            flat = array.reshape(len(array), -1)
            columns |= {f"{name}_{i}": flat[:, i] for i in range(flat.shape[1])}
    return columns


def encode_features(columns: dict[str, Any], names: list[str]) -> tuple[np.ndarray, list[str]]:
    """Numbers ``(N, p)`` of columns, and a name for each.

    Texts of at most 20 levels become indicators of all but the first.

    Raises:
        ValueError: If a column is neither, naming it, or there is none.
    """
    parts: list[np.ndarray] = []
    found: list[str] = []
    for name in names:
        column = columns[name]
        if column.dtype.kind in "biuf":
            values = column.to_numpy(dtype=np.float64, copy=True)
            if not np.isfinite(values).all():
                raise ValueError(
                    f"Expected finite numbers in column {name!r}, got an infinite one."
                )
            parts.append(values)
            found.append(name)
            continue
        if column.dtype.kind in "mM":
            raise ValueError(
                f"Expected column {name!r} to be numbers or texts, got times: make it a number, or "
                "leave it out with `features`."
            )
        levels = sorted(column.astype(str).unique())
        if len(levels) > _LEVELS:
            raise ValueError(
                f"Expected at most {_LEVELS} levels of text in the feature {name!r}, got "
                f"{len(levels)}: name it in `clusters`, or leave it out with `features`."
            )
        for level in levels[1:]:
            parts.append((column.astype(str) == level).to_numpy(dtype=np.float64))
            found.append(f"{name}={level}")
    if not parts:
        raise ValueError("Expected at least one column of features beside target and clusters.")
    return np.stack(parts, 1), found


def encode_target(column: Any) -> tuple[np.ndarray, list[str] | None]:
    """Numbers ``(N,)`` of a target, and the names of its classes; None for numbers.

    Texts, truth values and integers of at most 1000 values from 0 on are classes; texts are
    numbered in alphabetical order.

    Raises:
        ValueError: If a number is infinite, or all targets are the same.
    """
    if column.dtype.kind in "biuf":
        values = column.to_numpy(dtype=np.float64, copy=True)
        levels = np.unique(values)
        whole = bool((levels == np.arange(len(levels))).all()) and len(levels) <= _CLASSES
        classes = [str(int(level)) for level in levels] if whole else None
    else:
        names, index = np.unique(column.astype(str).to_numpy(dtype=object), return_inverse=True)
        values, levels, classes = index.astype(np.float64), names, [str(name) for name in names]
    if len(levels) < 2:
        raise ValueError(f"Expected targets that differ, got {levels[0]} in all rows.")
    if not np.isfinite(values).all():
        raise ValueError(f"Expected finite numbers in the target {column.name!r}.")
    return values, classes
