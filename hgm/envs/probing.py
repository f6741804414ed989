"""What a Gymnasium environment is like, found out by a few steps of it; and what is wrong."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from hgm.envs.base import MAX_DIM
from hgm.envs.copies import FLAGS, Array, Copies, Recipe, states

_STEPS = 16
"""Steps of the comparison of tasks."""
_BATCH = 5
"""Observations that ``observe`` is tried on; a number that no axis has by chance, mostly."""


def probe(
    make_env: Callable[[], gymnasium.Env],
    sample_tasks: Callable[[int, torch.Generator], Tensor],
    set_task: Callable[[gymnasium.Env, Array], Any],
    observe: Callable[[Any], Any] | None,
    max_steps: int | None,
) -> tuple[Recipe, int]:
    """The recipe of copies, and the number of a state's components.

    Raises:
        ValueError: See :class:`hgm.envs.GymnasiumFamily`.
    """
    env, other = (_called("make_env", make_env) for _ in range(2))
    for made in (env, other):
        if not isinstance(made, gymnasium.Env):
            raise ValueError(f"Expected `make_env` to make a gymnasium.Env, got {made!r}.")
    if env.unwrapped is other.unwrapped:
        raise ValueError(
            f"Expected `make_env` to make a new environment every time, but it returned the same "
            f"{env} twice: make it inside of the function."
        )
    other.close()
    if env.render_mode == "human":
        raise ValueError(
            "Expected environments that show no window, got render_mode='human': leave it out, for "
            "there will be many of them."
        )
    recipe = Recipe(
        make_env,
        set_task,
        _observation_space(env),
        _action_space(env),
        _limit(env, max_steps),
    )
    tasks = _called("sample_tasks", sample_tasks, 2, torch.Generator().manual_seed(0))
    if not isinstance(tasks, Tensor) or tasks.ndim != 2 or len(tasks) != 2:
        got = tuple(tasks.shape) if hasattr(tasks, "shape") else repr(tasks)
        raise ValueError(
            f"Expected `sample_tasks` to draw 2 tasks as a float tensor (2, k), got {got}."
        )
    if not tasks.isfinite().all():
        raise ValueError(f"Expected `sample_tasks` to draw finite tasks, got {tasks.tolist()}.")
    again = _called("sample_tasks", sample_tasks, 2, torch.Generator().manual_seed(0))
    if not torch.equal(tasks, again):
        raise ValueError(
            "Expected `sample_tasks` to draw equal tasks from generators of equal seeds, got "
            f"{tasks.tolist()} and {again.tolist()}: draw from `generator` only."
        )
    rows = tasks.double().numpy()
    start = _start(env, recipe, rows[0])
    seen = _states(recipe, observe, np.repeat(start[None], _BATCH, 0))
    env.close()
    _compare(recipe, observe, rows)
    return recipe, seen.shape[1]


def _called(name: str, function: Callable, *args: Any) -> Any:
    try:
        return function(*args)
    except Exception as error:
        kind, reason = type(error).__name__, " ".join(str(error).split())
        raise ValueError(f"Expected `{name}` to run, but it raised {kind}: {reason}") from error


def _observation_space(env: gymnasium.Env) -> spaces.Space:
    space = env.observation_space
    try:
        size = spaces.flatdim(space)
    except (ValueError, NotImplementedError):
        size = 0
    if not 1 <= size <= MAX_DIM:
        raise ValueError(
            f"Expected observations of 1 to {MAX_DIM} numbers, got the space {space}: wrap the "
            "environment, as by gymnasium.wrappers.TransformObservation."
        )
    return space


def _action_space(env: gymnasium.Env) -> spaces.Box:
    space = env.action_space
    if not isinstance(space, spaces.Box) or space.dtype.kind != "f":
        raise ValueError(
            f"Expected actions in a Box of floats, got {space}: hgm's groups act on continuous "
            "actions. Wrap the environment in a gymnasium.ActionWrapper that takes them."
        )
    if not (np.isfinite(space.low).all() and np.isfinite(space.high).all()):
        raise ValueError(
            f"Expected actions with finite bounds, got {space}: wrap the environment, as in "
            "gymnasium.wrappers.TransformAction(env, lambda action: action, Box(-1, 1, "
            f"{space.shape}))."
        )
    return space


def _limit(env: gymnasium.Env, max_steps: int | None) -> int:
    layer, own = env, []
    while isinstance(layer, gymnasium.Wrapper):
        if isinstance(layer, gymnasium.wrappers.TimeLimit):
            own.append(layer._max_episode_steps)
        layer = layer.env
    if max_steps is not None:
        if max_steps > min(own, default=max_steps):
            raise ValueError(
                f"Expected `max_steps` to be at most {min(own)}, the time limit of {env}, got "
                f"{max_steps}: make it with gymnasium.make(..., max_episode_steps={max_steps})."
            )
        return max_steps
    if not own:
        raise ValueError(
            f"Expected `max_steps` to be an int: {env} has no time limit of its own, and episodes "
            "must come to an end. Give one, as in max_steps=200."
        )
    return min(own)


def _start(env: gymnasium.Env, recipe: Recipe, task: Array) -> Array:
    """The flat observation of a reset, after which the task is set; what is wrong with it."""
    observation, _ = _called("reset", lambda: env.reset(seed=0))
    before = {id(layer): set(vars(layer)) for layer in _layers(env)}
    fresh = _called("set_task", recipe.set_task, env, task)
    for layer in _layers(env):
        new = sorted(set(vars(layer)) - before[id(layer)])
        if new:
            raise ValueError(
                f"Expected `set_task` to set what the environment reads, but it set `{new[0]}` on "
                f"Gymnasium's wrapper {type(layer).__name__}, which does not: set it on "
                "`env.unwrapped`."
            )
    name, value = ("reset", observation) if fresh is None else ("set_task", fresh)
    try:
        flat = recipe.flat(value)
        fits = flat.shape == (spaces.flatdim(recipe.observation_space),)
    except Exception:
        fits = False
    if not fits:
        hint = "" if fresh is None else ", or nothing"
        got = value.shape if isinstance(value, np.ndarray) else value
        raise ValueError(
            f"Expected `{name}` to return an observation of {recipe.observation_space}{hint}, got "
            f"{got!r}."
        )
    return flat


def _layers(env: gymnasium.Env) -> list[gymnasium.Env]:
    """Wrappers that are Gymnasium's own, whose attributes nothing but themselves reads."""
    layers: list[gymnasium.Env] = []
    while isinstance(env, gymnasium.Wrapper):
        if type(env).__module__.startswith("gymnasium.wrappers"):
            layers.append(env)
        env = env.env
    return layers


def _states(recipe: Recipe, observe: Callable[[Any], Any] | None, rows: Array) -> Array:
    found = _called("observe", states, recipe.observation_space, observe, rows)
    if found.ndim != 2 or len(found) != len(rows) or not 1 <= found.shape[1] <= MAX_DIM:
        raise ValueError(
            f"Expected `observe` to make states ({len(rows)}, n) of a batch of {len(rows)} "
            f"observations, got shape {found.shape}: work on the last axis, as in "
            "observation[..., :4]."
        )
    if found.dtype.kind not in "fiub":
        raise ValueError(f"Expected `observe` to make numbers, got {found.dtype}.")
    return found


def _compare(recipe: Recipe, observe: Callable[[Any], Any] | None, tasks: Array) -> None:
    """Warns of what shows in one task twice, and in another, from the same seeds and actions."""
    copies = Copies(recipe, tasks[[0, 0, 1]], slice(None), 3)
    space = recipe.action_space
    low, high = (np.asarray(bound, np.float64).reshape(-1) for bound in (space.low, space.high))
    draw = np.random.default_rng(0)
    rows = [_called("reset", copies.restart, np.zeros(3, dtype=np.int64))]
    for _ in range(min(_STEPS, recipe.max_steps)):
        action = draw.uniform(low, high).astype(space.dtype).clip(space.low.min(), space.high.max())
        rows.append(_called("step", copies.step, np.repeat(action[None], 3, 0))[0])
    copies.close()
    first, again, other = np.stack(rows, 1)
    if not np.isfinite(first[:, -FLAGS]).all():
        raise ValueError("Expected finite rewards, got NaN or infinite ones of random actions.")
    if not np.isfinite(_states(recipe, observe, first[:, :-FLAGS])).all():
        raise ValueError("Expected finite states, got NaN or infinite ones of random actions.")
    if not np.array_equal(first, again, equal_nan=True):
        warnings.warn(
            "Expected equal seeds and actions to give equal episodes, but two of the same task "
            "differ: let the environment draw from `self.np_random` only. What is measured with it "
            "cannot be repeated, and a run that was killed does not go on exactly.",
            stacklevel=4,
        )
        return
    if np.array_equal(first, other, equal_nan=True):
        warnings.warn(
            f"Expected tasks to differ, but rewards and observations of {tasks[0]} and {tasks[1]} "
            f"are equal over {len(rows) - 1} steps from the same start: check that `set_task` sets "
            "what the reward reads, on `env.unwrapped`.",
            stacklevel=4,
        )
    seen, theirs = (_states(recipe, observe, row[1:2, :-FLAGS])[0] for row in (first, other))
    gaps = tasks[0] - tasks[1]
    told = np.isclose(np.abs(seen - theirs)[:, None], np.abs(gaps)[None, gaps != 0], 1e-4, 1e-9)
    if told.any():
        warnings.warn(
            f"Expected observations to hide the task, but components "
            f"{np.flatnonzero(told.any(1)).tolist()} differ between two tasks by as much as their "
            "parameters: leave them out by `observe`.",
            stacklevel=4,
        )
