"""What a geometry on disk must hold: entries, types, shapes that fit together, finite values."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from hgm.files.disk import brief
from hgm.geometry.sight import SOURCES

VERDICTS = ("found", "approximate", "partial", "none")

_ENTRIES = (
    *("generators", "action_generators", "coords", "dim_state", "verdict", "algebra_type"),
    *("calibration", "reward", "reward_of", "action_reward"),
)
_REWARD = ("mean", "root", "frequencies", "phases", "weights", "spread", "noise")
_ACTION_REWARD = ("scale", "frequencies", "phases", "weights", "inherited")


class WrongState(ValueError):
    """Names the entry that is wrong, and what would be right."""


def check_state(state: Any) -> None:
    """Checks what :meth:`hgm.geometry.Geometry.state` returned and a file gave back.

    Raises:
        WrongState: Naming the entry, its value and what would be right.
    """
    known = state if isinstance(state, dict) else {}
    more = tuple(name for name in ("orbits", "chart") if name in known)
    _check_keys("the file", state, (*_ENTRIES, *more))
    n = state["dim_state"]
    if type(n) is not int or n < 1:
        raise WrongState(f"Expected `dim_state` to be an int, at least 1, got {brief(n)}.")
    verdict = state["verdict"]
    if not isinstance(verdict, str) or verdict not in VERDICTS:
        raise WrongState(f"Expected `verdict` to be one of {list(VERDICTS)}, got {brief(verdict)}.")
    if not isinstance(state["algebra_type"], str):
        got = brief(state["algebra_type"])
        raise WrongState(f"Expected `algebra_type` to be a string, got {got}.")
    d, k, _ = _check("generators", state["generators"], ("d", "k", "k"))
    if k not in (n, n + 1):
        raise WrongState(
            f"Expected `generators` of {n} or {n + 1} columns for `dim_state` {n}, got {k}."
        )
    _, m, _ = _check("action_generators", state["action_generators"], (d, "m", "m"))
    num_tasks, _ = _check("coords", state["coords"], ("N", d))
    if num_tasks < 1:
        raise WrongState(f"Expected `coords` of 1 task or more, got {num_tasks}.")
    if state["calibration"] is not None:
        _check("calibration", state["calibration"], (num_tasks, 2))
    if state["reward"] is not None:
        _check_reward("reward", state["reward"], n)
    source = state["reward_of"]
    if not isinstance(source, str) or source not in SOURCES:
        raise WrongState(f"Expected `reward_of` to be one of {list(SOURCES)}, got {brief(source)}.")
    if state["action_reward"] is not None:
        _check_action_reward(state["action_reward"], m)
    if "orbits" in more:
        _check_orbits(state["orbits"], num_tasks, n)


def _check_orbits(orbits: Any, num_tasks: int, n: int) -> None:
    """Orbits that part the tasks: every task is on one of them, two or more."""
    if not isinstance(orbits, list) or len(orbits) < 2:
        raise WrongState(f"Expected `orbits` to be a list of 2 or more, got {brief(orbits)}.")
    every = []
    for index, orbit in enumerate(orbits):
        _check_keys(f"`orbits[{index}]`", orbit, ("tasks", "reward"))
        tasks = orbit["tasks"]
        whole = isinstance(tasks, list) and all(type(task) is int for task in tasks)
        if not whole or not tasks:
            raise WrongState(
                f"Expected `orbits[{index}].tasks` to list 1 int or more, got {brief(tasks)}."
            )
        every += tasks
        if orbit["reward"] is not None:
            _check_reward(f"orbits[{index}].reward", orbit["reward"], n)
    if sorted(every) != list(range(num_tasks)):
        raise WrongState(
            f"Expected `orbits` to hold each of {num_tasks} tasks once, got {brief(sorted(every))}."
        )


def _check_reward(what: str, reward: Any, n: int) -> None:
    # Files of before 0.2 know one noise for all points, and no long tails.
    more = [key for key in ("misfit", "tails") if isinstance(reward, dict) and key in reward]
    _check_keys(f"`{what}`", reward, (*_REWARD, *more))
    (num,) = _check(f"{what}.phases", reward["phases"], ("F",))
    tails = reward.get("tails")
    if tails is not None:
        _, n = _check(f"{what}.tails", tails, (n + 2, "q"))
        if not bool((tails[-1] > 0).all()):
            raise WrongState(f"Expected positive widths in the last row of `{what}.tails`.")
    _, q = _check(f"{what}.root", reward["root"], (n, "q"))
    shapes: dict[str, tuple[int | str, ...]] = {
        "mean": (n,),
        "root": (n, q),
        "frequencies": (num, q),
        "weights": (num + q + 1,),
        "spread": (num + q + 1, "S"),
        "noise": (),
    }
    if reward.get("misfit") is not None:
        shapes["misfit"] = (num + q + 1,)
    if tails is not None:
        shapes["tails"] = tuple(tails.shape)
    for name, shape in shapes.items():
        _check(f"{what}.{name}", reward[name], shape)
    _check_dtypes(what, reward, list(shapes), "phases")


def _check_action_reward(terms: Any, m: int) -> None:
    _check_keys("`action_reward`", terms, _ACTION_REWARD)
    (num,) = _check("action_reward.phases", terms["phases"], ("S",))
    _check("action_reward.scale", terms["scale"], (m,))
    _check("action_reward.frequencies", terms["frequencies"], (num, m))
    _check("action_reward.weights", terms["weights"], (m + m * (m + 1) // 2 + num,))
    _check_dtypes("action_reward", terms, list(_ACTION_REWARD[1:4]), "scale")
    if type(terms["inherited"]) is not bool:
        got = brief(terms["inherited"])
        raise WrongState(f"Expected `action_reward.inherited` to be true or false, got {got}.")


def _check_dtypes(what: str, tensors: dict[str, Any], names: list[str], like: str) -> None:
    for name in names:
        if tensors[name].dtype != tensors[like].dtype:
            raise WrongState(
                f"Expected `{what}.{name}` to be {tensors[like].dtype} like `{what}.{like}`, "
                f"got {tensors[name].dtype}."
            )


def _check_keys(what: str, value: Any, names: tuple[str, ...]) -> None:
    if not isinstance(value, dict):
        raise WrongState(f"Expected {what} to hold {list(names)}, got a {type(value).__name__}.")
    wrong = [name for name in names if name not in value]
    wrong += [name for name in value if name not in names]
    if wrong:
        fault = "lacks" if wrong[0] in names else "also holds"
        raise WrongState(
            f"Expected {what} to hold {list(names)}, but it {fault} {brief(wrong[0])}."
        )


def _check(name: str, value: Any, shape: tuple[int | str, ...]) -> tuple[int, ...]:
    """The sizes of a finite floating-point tensor; equal letters stand for equal sizes."""
    if type(value) is not Tensor or value.dtype not in (torch.float32, torch.float64):
        got = value.dtype if isinstance(value, Tensor) else brief(value)
        raise WrongState(f"Expected `{name}` to be a tensor of float32 or float64, got {got}.")
    sizes, known = tuple(value.shape), dict[str, int]()
    fits = len(sizes) == len(shape) and all(
        size == (known.setdefault(want, size) if isinstance(want, str) else want)
        for size, want in zip(sizes, shape, strict=True)
    )
    if not fits or 0 in [known[letter] for letter in known if letter not in "dS"]:
        wanted = ", ".join(map(str, shape)) + ("," if len(shape) == 1 else "")
        raise WrongState(f"Expected `{name}` of shape ({wanted}), got {sizes}.")
    if value.requires_grad:
        raise WrongState(f"Expected `{name}` to be plain numbers, got a tensor with gradients.")
    if not value.isfinite().all():
        raise WrongState(f"Expected `{name}` to be finite, got NaN or infinite entries.")
    return sizes
