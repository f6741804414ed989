"""Recordings written to the disk: an archive at once, or a folder piece by piece."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tensordict import TensorDict, TensorDictBase

from hgm.checks import check_path
from hgm.datamodules.base import KEYS, check_finite
from hgm.datamodules.gathered import GatheredTransitions
from hgm.files.disk import drafts_removed, replacing

_ARCHIVE: dict[str, Any] = {  # what an array is called in an archive
    "observation": "observation",
    "action": "action",
    "reward": ("next", "reward"),
    "next_observation": ("next", "observation"),
    "done": ("next", "done"),
    "terminated": ("next", "terminated"),
}


def check_target(path: str | Path) -> Path:
    """Where a recording can be written.

    Raises:
        ValueError: If there is something already, or the name is of another kind of file.
        FileNotFoundError: If there is no folder to write it in.
    """
    target = check_path("path", path).expanduser()
    if target.suffix not in (".npz", ""):
        raise ValueError(
            f"Expected `path` to end in .npz, or to be the name of a folder, got {str(path)!r}."
        )
    if target.exists() or target.is_symlink():
        raise ValueError(f"Expected `path` to be new, but there is something at {target} already.")
    if not target.absolute().parent.is_dir():
        raise FileNotFoundError(f"Expected `path` to be in a folder that is there, got {target}.")
    return target


def write_recording(data: GatheredTransitions, path: str | Path) -> Path:
    """Writes all transitions that a source delivers, to be read by ``StoredTransitions``.

    A folder, as of ``TensorDict.memmap``, is written piece by piece: memory holds one piece. An
    ``.npz`` archive is held in memory as a whole. Either is there as a whole or not at all.

    Args:
        data: The source.
        path: A new file that ends in ``.npz``, or a new folder.

    Returns:
        The path.

    Raises:
        ValueError: If `path` is none of these, or transitions are not finite.
        OSError: If it cannot be written.
    """
    target = check_target(path)
    if target.suffix:
        pieces = list(_checked(data))
        whole: TensorDictBase = torch.cat(pieces, 1)
        arrays: dict[str, Any] = {name: whole.get(key).numpy() for name, key in _ARCHIVE.items()}
        with replacing(target) as file:
            np.savez(file, **arrays)
        return target
    with _new_folder(target) as draft:
        store: TensorDictBase | None = None
        start = 0
        for piece in _checked(data):
            if store is None:
                whole_shape = piece[:, :1].expand(data.num_tasks, data.num_transitions)
                store = whole_shape.memmap_like(str(draft))
            store[:, start : start + piece.shape[1]] = piece
            start += piece.shape[1]
    return target


def _checked(data: GatheredTransitions) -> Iterator[TensorDict]:
    for piece in data.deliver():
        check_finite(piece)
        yield TensorDict({key: piece.get(key) for key in KEYS}, piece.shape)


@contextmanager
def _new_folder(target: Path) -> Iterator[Path]:
    """A folder beside the target, which takes its name in the end, or is removed."""
    draft = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        yield draft
        os.rename(draft, target)  # refused where there is anything by now
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    finally:
        drafts_removed(target)
