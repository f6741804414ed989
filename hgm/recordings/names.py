"""What arrays of transitions are called, here and elsewhere, and what shapes they have."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor

from hgm.files.disk import quoted
from hgm.recordings.recording import MIN_TRANSITIONS, Arrays

FLAGS = ("done", "terminated", "truncated")
NEEDED = ("observation", "action", "next_observation", "reward")

PLURAL = {  # D4RL's, Minari's where they differ, and Stable-Baselines3's flag
    "observations": "observation",
    "actions": "action",
    "rewards": "reward",
    "next_observations": "next_observation",
    **dict.fromkeys(("terminals", "terminations"), "terminated"),
    **dict.fromkeys(("timeouts", "truncations"), "truncated"),
    "dones": "done",
}
KNOWN = {*NEEDED, *FLAGS, *PLURAL, "task", "next"}
"""All names that are looked for in a file."""

_ELSEWHERE = {
    **dict.fromkeys(("obs", "state", "states", "s"), "observation"),
    **dict.fromkeys(("act", "a"), "action"),
    **dict.fromkeys(("rew", "r"), "reward"),
    **dict.fromkeys(("next_obs", "obs_next", "next_state", "next_states"), "next_observation"),
}


def renamed(arrays: Mapping[str, Tensor], source: object) -> Arrays:
    """The arrays under hgm's names: TorchRL's ``next_reward`` is ``reward``, and D4RL's plurals.

    Raises:
        ValueError: If two arrays stand for the same.
    """
    found = dict(arrays)
    for name in ("reward", *FLAGS):
        if f"next_{name}" in found:  # the flags beside it are of the state before
            found[name] = found.pop(f"next_{name}")
    for theirs, ours in PLURAL.items():
        if theirs in found and ours in found:
            raise ValueError(f"Expected one array `{ours}` in {source}, got `{theirs}` besides.")
        if theirs in found:
            found[ours] = found.pop(theirs)
    return found


def either(flags: Mapping[str, Tensor], shape: Sequence[int]) -> Tensor:
    """Where any of the flags ``done``, ``terminated`` and ``truncated`` is set, in a shape."""
    given = [flags[name].reshape(*shape) != 0 for name in FLAGS if name in flags]
    return torch.stack(given).any(0) if given else torch.zeros(*shape, dtype=torch.bool)


def check_names(arrays: Arrays, needed: Collection[str], source: object) -> None:
    """Checks that nothing is missing, or is there under a name that is only close.

    Raises:
        ValueError: Naming what is missing, and what may be meant for it.
    """
    for name in needed:
        if name not in arrays:
            others = sorted(set(arrays) - {*NEEDED, *FLAGS, "task"})
            close = [other for other in others if _meant(other) == name]
            hint = f": rename {quoted(close[0])}" if close else ""
            raise ValueError(
                f"Expected an array `{name}` in {source}, got {sorted(arrays)[:12]}{hint}."
            )


def _meant(other: str) -> str | None:
    """Which of our names somebody else's stands for."""
    low = other.lower()
    if low in _ELSEWHERE:
        return _ELSEWHERE[low]
    close = difflib.get_close_matches(low, NEEDED, n=1, cutoff=0.75)
    return close[0] if close else None


def check_shapes(arrays: Arrays, leading: int, source: object) -> None:
    """Checks the shapes of arrays ``(N, B, ...)``, or of rows ``(M, ...)``.

    Args:
        arrays: By hgm's names; those that are needed are there, but maybe for the next observation.
        leading: How many dimensions come before those of a state: 2 or 1.
        source: Where they are from, for the message.

    Raises:
        ValueError: Naming the first that does not fit.
    """
    state, action = arrays["observation"], arrays["action"]
    if leading == 2 and (state.ndim != 3 or state.shape[0] < 2 or state.shape[1] < MIN_TRANSITIONS):
        rows = ", or (M, n) beside a column `task` (M,)" if state.ndim == 2 else ""
        raise ValueError(
            f"Expected `observation` in {source} to have shape (N, B, n) with at least 2 tasks and "
            f"{MIN_TRANSITIONS} transitions{rows}, got {tuple(state.shape)}."
        )
    if state.ndim != leading + 1:
        raise ValueError(
            f"Expected `observation` in {source} to have shape (M, n), got {tuple(state.shape)}."
        )
    batch = tuple(state.shape[:leading])
    columns = action.shape[-1] if action.ndim == leading + 1 else "m"
    vectors = {"next_observation": tuple(state.shape), "action": (*batch, columns)}
    for name, shape in vectors.items():
        if name in arrays and tuple(arrays[name].shape) != shape:
            raise ValueError(
                f"Expected `{name}` in {source} to have shape {shape}, "
                f"got {tuple(arrays[name].shape)}.".replace("'m'", "m")
            )
    for name in ("observation", "action"):
        if arrays[name].shape[-1] == 0:
            raise ValueError(
                f"Expected `{name}` in {source} to have at least 1 column, "
                f"got {tuple(arrays[name].shape)}."
            )
    for name in ("reward", *FLAGS):
        if name in arrays and tuple(arrays[name].shape) not in (batch, (*batch, 1)):
            raise ValueError(
                f"Expected `{name}` in {source} to have shape {batch} or {(*batch, 1)}, "
                f"got {tuple(arrays[name].shape)}."
            )
    _check_flags(arrays, source)


def _check_flags(arrays: Arrays, source: object) -> None:
    for name in FLAGS:
        if name in arrays:
            value = arrays[name]
            bad = ~((value == 0) | (value == 1))
            if bad.any():
                raise ValueError(
                    f"Expected `{name}` in {source} to be flags, 0 or 1, got "
                    f"{value[bad][0].item()}."
                )
