"""Checks of arguments: each returns the value, or raises a message that names it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


def check_int(name: str, value: Any, least: int, most: int | None = None) -> int:
    """Return ``value`` as int, or raise a ValueError that names it and the range allowed."""
    inside = (
        isinstance(value, Integral)
        and not isinstance(value, bool)
        and int(value) >= least
        and (most is None or int(value) <= most)
    )
    if not inside:
        limit = "" if most is None else f" and at most {most}"
        raise ValueError(f"Expected `{name}` to be an int, at least {least}{limit}, got {value!r}.")
    return int(value)


_LARGEST: Any = 3.4e38
MAX_WIDTH, MAX_DEPTH = 2**14, 64
"""Largest layers and most layers of a network."""


def check_network(width: Any, depth: Any) -> tuple[int, int]:
    """Return width and number of hidden layers, or raise a ValueError that names what is wrong."""
    return check_int("width", width, 1, MAX_WIDTH), check_int("depth", depth, 1, MAX_DEPTH)


def check_entries(what: str, num: int, most: int = 2**31) -> None:
    """Check the number of entries of what is going to be allocated.

    Args:
        what: The product that ``num`` is, such as ```num_envs` * `num_steps```.
        num: Its value.
        most: Most entries; in single precision the default is 8 GiB.

    Raises:
        ValueError: If there are more, naming the product.
    """
    if num > most:
        raise ValueError(f"Expected {what} to be at most {most}, got {num}: lower one of them.")


def check_real(name: str, value: Any, least: float = -math.inf, strict: bool = False) -> float:
    """Return ``value`` as finite float, or raise a ValueError that names it and what is allowed."""
    valid = isinstance(value, Real) and not isinstance(value, bool) and abs(value) < _LARGEST
    if not (valid and (value > least if strict else value >= least)):
        limit = "" if least == -math.inf else f" {'above' if strict else 'of at least'} {least:g}"
        raise ValueError(f"Expected `{name}` to be a finite number{limit}, got {value!r}.")
    return float(value)


def check_choice(name: str, value: Any, choices: Sequence[str]) -> str:
    """Return ``value`` if it is one of ``choices``, or raise a ValueError that lists them."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"Expected `{name}` to be one of {list(choices)}, got {value!r}.")
    return value


def check_path(name: str, value: Any) -> Path:
    """Return a path, or raise a ValueError that names it."""
    if not isinstance(value, str | Path) or not str(value):
        raise ValueError(f"Expected `{name}` to be the path of a file or folder, got {value!r}.")
    return Path(value)


def check_names(name: str, value: Any) -> list[str]:
    """Return a list of texts, or raise a ValueError that names it."""
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise ValueError(f"Expected `{name}` to be a list of names, got {value!r}.")
    if not all(isinstance(entry, str) for entry in value):
        raise ValueError(f"Expected `{name}` to be a list of names, got {value!r}.")
    return list(value)


def check_matrix(name: str, value: Any, num_columns: int) -> Tensor:
    """Return nested sequences (lists, YAML lists, arrays) as a finite float64 matrix.

    Raises:
        ValueError: If it is not a sequence of vectors of length ``num_columns``, or not finite.
    """
    rows = value.tolist() if hasattr(value, "tolist") else value
    valid = isinstance(rows, Sequence) and not isinstance(rows, str) and len(rows) > 0
    for row in rows if valid else ():
        valid &= isinstance(row, Sequence) and not isinstance(row, str) and len(row) == num_columns
    if not valid:
        raise ValueError(
            f"Expected `{name}` to be a list of vectors of length {num_columns}, got {value!r}."
        )
    import torch  # here: the command line checks numbers within a second, without it

    numbers = [[check_real(name, entry) for entry in row] for row in rows]
    return torch.tensor(numbers, dtype=torch.float64)


class Diverged(RuntimeError):
    """Training has left the finite numbers: what was learned is lost."""


def check_finite_numbers(what: str, number: int, values: Mapping[str, float], remedy: str) -> None:
    """Check numbers of a training that may diverge.

    Args:
        what: Who is trained.
        number: Updates so far.
        values: The numbers, by name.
        remedy: What to change, as a command.

    Raises:
        Diverged: If one is NaN or infinite, naming it.
    """
    for name, value in values.items():
        if not math.isfinite(value):
            raise Diverged(
                f"Expected finite numbers in the training of {what}, got `{name}` = {value} at "
                f"update {number}: it has diverged. {remedy}."
            )
