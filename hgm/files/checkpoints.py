"""Checkpoints: the last one and the one before, and whether one belongs to a model."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from hgm.files.disk import brief, quoted, replacing
from hgm.files.tensors import packed, read_tensors

LAST, PREVIOUS = "last.ckpt", "previous.ckpt"


def write_checkpoint(path: str | Path, content: dict[str, Any]) -> None:
    """Writes a checkpoint in one go; a former ``last.ckpt`` becomes ``previous.ckpt``.

    At no moment are both missing or torn, whenever the process is killed. Its folder is made.

    Raises:
        OSError: If it cannot be written; the former ones are then still there.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, path.with_name(PREVIOUS) if path.name == LAST else None) as file:
        file.write(packed(content))


def readable_checkpoint(folder: str | Path) -> Path | None:
    """The newest checkpoint of a folder that can be read completely, or None.

    Args:
        folder: Where ``last.ckpt`` and ``previous.ckpt`` are.

    Returns:
        ``last.ckpt``, else ``previous.ckpt``, else None. A warning tells of one that is there and
        cannot be read.
    """
    for name in (LAST, PREVIOUS):
        path = Path(folder) / name
        try:
            read_tensors(path, "a checkpoint")
        except FileNotFoundError:
            continue
        except ValueError as error:
            warnings.warn(f"{error} It is left out.", stacklevel=2)
            continue
        return path
    return None


def check_checkpoint(content: Any, module: nn.Module, path: str | Path) -> None:
    """Checks that a checkpoint that was read holds the weights of a model like this one.

    Args:
        content: What :func:`hgm.files.read_tensors` read.
        module: The model that is to take the weights; it is not changed.
        path: Where they come from, for the messages.

    Raises:
        ValueError: If there are no weights, or keys are missing or unknown, shapes or kinds of
            numbers differ, or weights are NaN or infinite, naming the file and the key.
    """
    weights = content.get("state_dict") if isinstance(content, dict) else None
    if not isinstance(weights, dict) or not all(isinstance(key, str) for key in weights):
        raise ValueError(f"Expected `{path}` to be a checkpoint with a `state_dict`.")
    own = module.state_dict()
    name = type(module).__name__
    for keys, fault in ((own.keys() - weights.keys(), "lacks"), (weights.keys() - own.keys(), "")):
        if keys:
            listed = ", ".join(quoted(key) for key in sorted(keys)[:3])
            listed += f" and {len(keys) - 3} more" if len(keys) > 3 else ""
            raise ValueError(
                f"Expected `{path}` to be a checkpoint of this {name}, but it "
                f"{fault or 'also holds'} {listed}: another model's?"
            )
    for key, mine in own.items():
        _check_weight(key, weights[key], mine, path)


def _check_weight(key: str, value: Any, mine: Any, path: str | Path) -> None:
    if not isinstance(mine, Tensor):  # a module's own extra state
        return
    if not isinstance(value, Tensor):
        raise ValueError(f"Expected `{key}` in `{path}` to be a tensor, got {brief(value)}.")
    if value.shape != mine.shape:
        raise ValueError(
            f"Expected `{path}` to fit this model, but `{key}` has shape {tuple(value.shape)}, "
            f"and this model's is {tuple(mine.shape)}: another width or other data?"
        )
    if (value.is_floating_point(), value.is_complex()) != (
        mine.is_floating_point(),
        mine.is_complex(),
    ):
        raise ValueError(f"Expected `{key}` in `{path}` to be {mine.dtype}, got {value.dtype}.")
    bad = ~value.isfinite() & mine.isfinite().to(value.device)
    if bad.any():
        raise ValueError(
            f"Expected finite weights in `{path}`, but {int(bad.sum())} of {bad.numel()} entries "
            f"of `{key}` are NaN or infinite: the run diverged."
        )
