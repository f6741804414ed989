"""Transitions of Minari datasets, read as data: no environment is built, nothing unpickled."""

from __future__ import annotations

import os
import re
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from hgm.checks import check_path
from hgm.datamodules.recorded import RecordedTransitions
from hgm.files import read_hdf5, read_json
from hgm.files.disk import brief, quoted
from hgm.recordings.episodes import recording_of_episodes
from hgm.recordings.names import PLURAL
from hgm.recordings.recording import Recording, as_label
from hgm.recordings.tables import Order

_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*")
_EPISODE = re.compile(r"episode_(\d+)")
_LARGEST = 100  # numbers in a label


class MinariTransitions(RecordedTransitions):
    """Transitions of a local Minari dataset, or of several, each of a task of its own.

    Of a dataset, ``metadata.json`` and ``main_data.hdf5`` are read, as what they are: no space and
    no environment specification in them is built. Tasks and their numbers of transitions are as in
    :class:`~hgm.datamodules.StoredTransitions`.

    Args:
        id: Names of datasets, such as ``D4RL/pointmaze/umaze-v2``.
        task_of: What tells an episode's task: the name of a number or text in the episode's
            metadata (``seed``, ``options/goal``), of its ``infos``, or an array of the episode
            (``observations/desired_goal``), which must not change within it; or a list with a label
            for every episode. None: every dataset is a task.
        observation: Which part of an observation is the state, where it has several.
        root: Where datasets are; None: ``MINARI_DATASETS_PATH``, or else ``~/.minari/datasets``.
        holdout_fraction: Fraction held out, in (0, 0.5].
        batch_size: Transitions per task in a batch.
        seed: Seed of split, subsets and shuffling.
        order: All labels, the base task first; None: as they first appear.

    Raises:
        FileNotFoundError: If there is no such dataset.
        ValueError: If it cannot be read, does not say what an episode's task is, or an argument is
            out of range.
        ModuleNotFoundError: If h5py is not installed.
    """

    def __init__(
        self,
        id: str | Sequence[str],
        task_of: str | Sequence[Any] | None = None,
        observation: str | None = None,
        root: str | Path | None = None,
        holdout_fraction: float = 0.1,
        batch_size: int | None = None,
        seed: int = 0,
        order: Order = None,
    ) -> None:
        recording = _read(id, task_of, observation, root, seed, order)
        super().__init__(recording, holdout_fraction, batch_size, seed)


class _Episode(NamedTuple):
    """Arrays by their names in the episode, and its metadata."""

    name: str
    arrays: dict[str, Tensor]
    metadata: dict[str, Any]


def _read(
    given: Any,
    task_of: Any,
    observation: str | None,
    root: str | Path | None,
    seed: int,
    order: Order,
) -> Recording:
    ids = [given] if isinstance(given, str) else given
    if not isinstance(ids, Sequence) or not all(isinstance(one, str) for one in ids) or not ids:
        raise ValueError(f"Expected `id` to be the name of a dataset, or several, got {given!r}.")
    if len(set(ids)) < len(ids):
        raise ValueError(f"Expected `id` to name different datasets, got {given!r}.")
    if task_of is not None and not isinstance(task_of, Sequence):
        raise ValueError(f"Expected `task_of` to be a name or a list of labels, got {task_of!r}.")
    if task_of is None and len(ids) < 2:
        raise ValueError(
            f"Expected `task_of` to say what an episode's task is, as {ids[0]} is one dataset, "
            "got None."
        )
    place = _root(root)
    datasets = {one: _episodes(one, place, task_of) for one in ids}
    flat = [(one, episode) for one, episodes in datasets.items() for episode in episodes]
    labels = [one for one, _ in flat]
    if isinstance(task_of, str):
        labels = [_task(task_of, episode, one) for one, episode in flat]
    elif task_of is not None:
        labels = [_label(label) for label in task_of]
        if len(labels) != len(flat):
            raise ValueError(
                f"Expected `task_of` to have a label for each of {len(flat)} episodes, got "
                f"{len(labels)}."
            )
    episodes = [_of_state(episode, observation, one) for one, episode in flat]
    return recording_of_episodes(episodes, labels, "episodes of " + ", ".join(ids), seed, order)


def _root(root: str | Path | None) -> Path:
    if root is not None:
        return check_path("root", root).expanduser()
    there = os.environ.get("MINARI_DATASETS_PATH")
    return Path(there) if there else Path.home() / ".minari" / "datasets"


def _episodes(name: str, root: Path, task_of: Any) -> list[_Episode]:
    if not _ID.fullmatch(name) or ".." in name:
        raise ValueError(f"Expected `id` to be like D4RL/pointmaze/umaze-v2, got {brief(name)}.")
    folder = root / name / "data"
    if not folder.is_dir():
        raise FileNotFoundError(
            f"Expected `id` to be a dataset in {root}, got {name!r}: minari download {name}"
        )
    notes = read_json(folder / "metadata.json", "the metadata of a Minari dataset")
    kind = notes.get("data_format") if isinstance(notes, dict) else None
    if kind != "hdf5":
        raise ValueError(
            f"Expected the Minari dataset {name} to have the data_format 'hdf5', got {brief(kind)}."
        )
    wanted = set(PLURAL) | {"infos"} | {"options"}
    file = read_hdf5(
        folder / "main_data.hdf5",
        lambda key: (
            _EPISODE.fullmatch(key[0]) is not None
            and (len(key) == 1 or key[1] in wanted)
            and (key[1:2] != ("infos",) or _is_part(key[2:], task_of))
        ),
    )
    found: dict[str, _Episode] = {}
    for key, array in file.arrays.items():
        episode = found.setdefault(key[0], _Episode(key[0], {}, file.attributes[key[:1]]))
        episode.arrays["/".join(key[1:])] = array
    return sorted(found.values(), key=lambda one: int(one.name.removeprefix("episode_")))


def _is_part(key: tuple[str, ...], task_of: Any) -> bool:
    """Whether an array of infos, or a group on the way to it, tells the task."""
    way = task_of.removeprefix("infos/").split("/") if isinstance(task_of, str) else []
    return list(key) == way[: len(key)]


def _task(task_of: str, episode: _Episode, name: str) -> Hashable:
    """The label of an episode's task."""
    if task_of in episode.metadata:
        return _label(episode.metadata[task_of])
    for place in (task_of, f"infos/{task_of}"):
        if place in episode.arrays:
            values = episode.arrays[place]
            if values.ndim == 0:
                return _label(values.numpy())
            if not len(values):
                raise ValueError(
                    f"Expected `task_of` {task_of!r} to tell the task of {episode.name} of {name}, "
                    "but there it is empty."
                )
            if bool((values != values[:1]).any()):
                raise ValueError(
                    f"Expected `task_of` {task_of!r} to stay the same within an episode, but in "
                    f"{episode.name} of {name} it changes."
                )
            return _label(values[0].numpy())
    there = sorted({*episode.metadata, *episode.arrays})[:12]
    raise ValueError(
        f"Expected `task_of` to be in the metadata, the infos or the arrays of {episode.name} of "
        f"{name}, got {task_of!r}; there are {there}."
    )


def _label(found: Any) -> Hashable:
    label = as_label(found, "task_of")
    if isinstance(label, tuple) and len(label) > _LARGEST:
        raise ValueError(
            f"Expected `task_of` to lead to at most {_LARGEST} numbers, got {len(label)}."
        )
    return label


def _of_state(episode: _Episode, observation: str | None, name: str) -> dict[str, Tensor]:
    """An episode whose observations are states."""
    arrays = {key: value for key, value in episode.arrays.items() if "/" not in key}
    parts = [key.partition("/")[2] for key in episode.arrays if key.startswith("observations/")]
    if observation is not None or parts:
        if observation not in parts:
            raise ValueError(
                f"Expected `observation` to name a part of what {name} observes, "
                f"{[quoted(part).strip('`') for part in parts]}, got {observation!r}."
            )
        arrays["observations"] = episode.arrays[f"observations/{observation}"]
    return arrays
