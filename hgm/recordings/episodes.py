"""Recordings from lists of episodes, which may be of any length."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hgm.recordings.names import (
    FLAGS,
    NEEDED,
    PLURAL,
    Arrays,
    check_names,
    check_shapes,
    either,
    renamed,
)
from hgm.recordings.recording import Recording, as_label, grouped
from hgm.recordings.tables import Order, joined, ordered, with_ends

_NAMES = (*NEEDED, *FLAGS)


def recording_of_episodes(
    episodes: Sequence[Mapping[str, Any]],
    tasks: Sequence[Hashable],
    source: str,
    seed: int = 0,
    order: Order = None,
) -> Recording:
    """Episodes one after the other, grouped by task.

    Args:
        episodes: Arrays of each, as :meth:`hgm.datamodules.StoredTransitions.from_episodes` says.
        tasks: The label of every episode's task.
        source: What they are, for messages, where ``[i]`` names one.
        seed: Seed of subsets, where tasks have different numbers of transitions.
        order: Labels, the base task first; None: as they first appear.

    Raises:
        ValueError: If an episode lacks an array, or one does not fit, naming both.
    """
    if len(episodes) != len(tasks):
        raise ValueError(
            f"Expected a task for each of {len(episodes)} episodes in {source}, got {len(tasks)}."
        )
    if not episodes:
        raise ValueError(f"Expected episodes in {source}, got none.")
    parts = [_rows(episode, f"{source}[{i}]") for i, episode in enumerate(episodes)]
    sizes = [{rows["observation"].shape[1:] + rows["action"].shape[1:]} for rows, _ in parts]
    for number, size in enumerate(sizes):
        if size != sizes[0]:
            n, m = (parts[0][0][name].shape[1] for name in ("observation", "action"))
            raise ValueError(
                f"Expected `observation` and `action` in {source}[{number}] to have {n} and {m} "
                f"columns, as in {source}[0], got {tuple(size.pop())}."
            )
    arrays, valid = joined(parts)
    every = [as_label(label, "tasks") for label in tasks]
    labels = list(dict.fromkeys(every))
    places = {label: place for place, label in enumerate(labels)}
    lengths = torch.tensor([len(rows["observation"]) for rows, _ in parts])
    task = torch.tensor([places[label] for label in every]).repeat_interleave(lengths)
    return grouped(arrays, valid, *ordered(task, labels, order), source, seed)


def _rows(episode: Mapping[str, Any], source: str) -> tuple[Arrays, Tensor]:
    """Rows of one episode, and which are transitions."""
    if not isinstance(episode, Mapping):
        raise ValueError(f"Expected {source} to be a dict of arrays, got {episode!r}.")
    given = {name: value for name, value in episode.items() if value is not None}
    arrays = {name: _array(value, name, source) for name, value in given.items()}
    arrays = renamed(arrays, source)
    check_names(arrays, ("observation", "action", "reward"), source)
    arrays = {name: arrays[name] for name in _NAMES if name in arrays}
    state, num = arrays["observation"], len(arrays["action"]) if arrays["action"].ndim else 0
    last = torch.arange(num) == num - 1
    if "next_observation" not in arrays and len(state) == num + 1:
        arrays |= {"observation": state[:-1], "next_observation": state[1:]}
        rows, valid = with_ends(arrays, source)
        # What follows an end on the way is another start.
        return rows, valid & (last | ~rows["done"])
    if "next_observation" in arrays:
        return with_ends(arrays, source)
    # Nobody saw where the last step led.
    check_shapes(arrays, 1, source)
    return with_ends({**arrays, "done": last | either(arrays, [num])}, source)


def _array(value: Any, name: str, source: str) -> Tensor:
    if name not in {*_NAMES, *PLURAL}:
        return torch.zeros(0)  # not read
    array = value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
    if array.dtype.kind not in "biuf":
        raise ValueError(f"Expected `{name}` in {source} to be real numbers, got {array.dtype}.")
    wide = array.dtype.kind == "f" and array.dtype.itemsize > 8
    native = np.dtype(np.float64) if wide else array.dtype.newbyteorder("=")
    return torch.from_numpy(np.array(array, native))
