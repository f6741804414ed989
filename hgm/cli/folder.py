"""The folder of a run: new, to be gone on with, or finished."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from enum import Enum
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

CONFIG = "config.yaml"
METRICS = "metrics.json"
LOCAL = ("run_dir", "ckpt_path", "num_threads", "logger", "allow")
"""Keys that do not change what a run computes."""


class State(Enum):
    """What a folder holds."""

    NEW = "nothing"
    UNFINISHED = "a run without results"
    FINISHED = "a run with results"


def is_first_process() -> bool:
    """Whether this process is the one that writes, however the others were started."""
    rank = next((os.environ[key] for key in ("RANK", "SLURM_PROCID") if key in os.environ), None)
    return int(rank if rank is not None else os.environ.get("LOCAL_RANK", 0)) == 0


def state_of(path: Path) -> State:
    """What a folder holds; looks only.

    Raises:
        ValueError: If it holds something that is no run.
    """
    try:
        names = {entry.name for entry in path.iterdir()} if path.exists() else set()
    except OSError as error:
        raise _unusable(path, error) from None
    # What a process left that was killed while it wrote: see hgm.files.disk.
    names = {name for name in names if not (name.startswith(".") and name.endswith(".tmp"))}
    if not names:
        return State.NEW
    if CONFIG not in names:
        raise ValueError(
            f"Expected `run_dir` to be new or empty, or the folder of a run, but {path} holds "
            "other files: choose another one; nothing is overwritten."
        )
    return State.FINISHED if METRICS in names else State.UNFINISHED


def check_folder(path: Path, settings: Mapping[str, Any]) -> State:
    """Checks that a folder is free for a run, or holds this run, unfinished; looks only.

    Raises:
        ValueError: If it holds another run, a finished one, or something else.
    """
    state = state_of(path)
    if state is State.FINISHED:
        raise ValueError(
            f"The run in {path} is finished (it has {METRICS}): choose another `run_dir`; nothing "
            "is overwritten."
        )
    if state is State.UNFINISHED:
        check_same(read_config(path), settings, f"The unfinished run in {path}")
        if not os.access(path, os.W_OK):
            raise ValueError(f"Expected `run_dir` to be a folder that can be written, got {path}.")
    return state


def open_folder(path: Path, settings: Mapping[str, Any]) -> bool:
    """Makes a run's folder and writes its configuration, unless the unfinished run is there.

    Args:
        path: The folder.
        settings: The whole configuration.

    Returns:
        Whether the folder is new.

    Raises:
        ValueError: If it is not free for this run, or cannot be written.
    """
    if check_folder(path, settings) is State.UNFINISHED:
        return False
    try:
        path.mkdir(parents=True, exist_ok=True)
        write_config(path, settings)
    except OSError as error:
        with suppress(OSError):
            path.rmdir()  # if nothing is in it
        raise _unusable(path, error) from None
    return True


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keeps a run's folder from being gone on with by two processes at a time.

    The lock is the system's, on ``config.yaml``, and ends with the process, however that ends.

    Raises:
        ValueError: If another process holds it.
    """
    if fcntl is None:
        yield
        return
    with (path / CONFIG).open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(
                f"The run in {path} is running, in another process: wait for it, or choose another "
                "`run_dir`."
            ) from None
        except OSError:  # a file system without locks
            pass
        yield


def write_config(path: Path, settings: Mapping[str, Any]) -> None:
    """Writes ``config.yaml`` whole or not at all."""
    from hgm.files.disk import replacing

    with replacing(path / CONFIG) as file:
        file.write(OmegaConf.to_yaml(OmegaConf.create(dict(settings))).encode())


def read_config(path: Path) -> dict[str, Any]:
    """The configuration in a run folder, as plain data: interpolations are refused.

    Raises:
        FileNotFoundError: If the folder is not that of a run.
        ValueError: If the file is no configuration.
    """
    file = path / CONFIG
    if not file.is_file():
        raise FileNotFoundError(f"There is no run at {path}: it has no {CONFIG}.")
    try:
        content = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
    except Exception as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"Expected {file} to be a run's configuration: {reason}") from None
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise ValueError(f"Expected {file} to be a run's configuration, with its keys.")
    for key, value in flatten(content):
        if isinstance(value, str) and "${" in value:
            raise ValueError(f"Expected plain values in {file}, but `{key}` is {value!r}.")
    return content  # type: ignore[return-value]


def check_same(saved: Mapping[str, Any], settings: Mapping[str, Any], whose: str) -> None:
    """Checks that two configurations compute the same.

    Raises:
        ValueError: Naming the first keys that differ.
    """
    old, new = (
        {key: value for key, value in relative(part) if key.partition(".")[0] not in LOCAL}
        for part in (saved, settings)
    )
    names = [key for key in sorted({*old, *new}) if old.get(key) != new.get(key)]
    if names:
        shown = ", ".join(f"`{key}` = {old.get(key)!r}, not {new.get(key)!r}" for key in names[:3])
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        raise ValueError(
            f"{whose} has {shown}{more}: give the same settings, or another `run_dir`."
        )


def relative(settings: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Dotted keys and values, absolute paths as seen from the run folder: folders may move."""
    start = os.path.abspath(os.path.expanduser(str(settings.get("run_dir", "."))))
    for key, value in flatten(settings):
        path = isinstance(value, str) and os.path.isabs(value)
        yield key, os.path.relpath(value, start) if path else value


def flatten(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values of nested dicts and lists."""
    if isinstance(node, Mapping) and node:
        for key, child in node.items():
            yield from flatten(child, f"{path}.{key}" if path else str(key))
    elif isinstance(node, list) and node:
        for index, child in enumerate(node):
            yield from flatten(child, f"{path}.{index}")
    else:
        yield path, node


def _unusable(path: Path, error: OSError) -> ValueError:
    return ValueError(
        f"Expected `run_dir` to be a folder that can be written, got {path}: {error.strerror}."
    )
