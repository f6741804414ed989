"""Many copies of a Gymnasium environment, in this process or shared out among others."""

from __future__ import annotations

import math
import os
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AsyncVectorEnv, AutoresetMode
from numpy.typing import NDArray

Array = NDArray[Any]
FLAGS = 3
"""Columns that follow an observation: the last reward, terminated, truncated."""
# TorchRL makes `spawn` the default, with which every process would import torch for seconds.
_CONTEXT = "fork" if sys.platform == "linux" else None


def unflatten(space: spaces.Space, rows: Array) -> Any:
    """Observations of a space from rows ``(B, k)``: an array ``(B, ...)``, or a dict of them."""
    if isinstance(space, spaces.Dict):
        parts, start = {}, 0
        for key, inner in space.spaces.items():
            size = spaces.flatdim(inner)
            parts[key] = unflatten(inner, rows[:, start : start + size])
            start += size
        return parts
    return rows.reshape(-1, *space.shape) if isinstance(space, spaces.Box) else rows


def states(space: spaces.Space, observe: Callable[[Any], Any] | None, rows: Array) -> Array:
    """States ``(B, n)`` of flat observations ``(B, k)``, which stay as they are."""
    return rows if observe is None else np.asarray(observe(unflatten(space, rows.copy())))


@dataclass(frozen=True)
class Recipe:
    """How one copy is made and told its task.

    Attributes:
        make_env: Makes an environment.
        set_task: Sets a task ``(k,)`` on it; what it returns, if anything, is the observation then.
        observation_space: Of the environment.
        action_space: Of the environment.
        max_steps: Length of an episode that does not end by itself.
    """

    make_env: Callable[[], gymnasium.Env]
    set_task: Callable[[gymnasium.Env, Array], Any]
    observation_space: spaces.Space
    action_space: spaces.Box
    max_steps: int

    @cached_property
    def is_flat(self) -> bool:
        """Whether observations are vectors already."""
        space = self.observation_space
        return isinstance(space, spaces.Box) and len(space.shape) == 1

    def start(self, env: gymnasium.Env, task: Array, seed: int) -> Array:
        """Starts an episode; the flat observation ``(k,)`` that it starts with.

        The environment's own reset may draw the task anew, so that it is set after every one. What
        it is given it may change: the next episode's is another copy.
        """
        observation, _ = env.reset(seed=seed)
        fresh = self.set_task(env, task.copy())
        return self.flat(observation if fresh is None else fresh)

    def told(self, task: Array) -> gymnasium.Env:
        """A new environment that knows its task: its first episode is then like all others."""
        env = self.make_env()
        self.start(env, task, 0)
        return env

    def flat(self, observation: Any) -> Array:
        """An observation as a vector ``(k,)``.

        Raises:
            ValueError: If it is of another size than its space says.
        """
        flat = observation
        if not self.is_flat:  # seldom, and ten times as slow
            flat = np.asarray(spaces.flatten(self.observation_space, observation))
        if np.shape(flat) != self._shape:  # NumPy would repeat a single number
            raise ValueError(
                f"Expected observations of {self.observation_space}, got shape {np.shape(flat)}."
            )
        return flat

    @cached_property
    def _shape(self) -> tuple[int]:
        return (spaces.flatdim(self.observation_space),)


class Copies(gymnasium.Env):
    """Copies of an environment, stepped one after the other: one environment of batches.

    Rows ``(B, k + 3)`` hold a copy's flat observation, its last reward, and whether its episode
    was terminated or truncated. A copy whose episode is over stands still, with rewards of zero,
    until it is restarted: environments may do anything when they are stepped beyond their end.

    Args:
        recipe: How a copy is made.
        tasks: The task of every copy, ``(B, k)``.
        part: Which rows of seeds and actions of all copies are these copies'.
        num_rows: Rows that are returned; those beyond ``B`` stay zero.
    """

    def __init__(self, recipe: Recipe, tasks: Array, part: slice, num_rows: int) -> None:
        self._recipe, self._tasks, self._part = recipe, tasks, part
        width = spaces.flatdim(recipe.observation_space) + FLAGS
        self.observation_space = spaces.Box(-np.inf, np.inf, (num_rows, width), np.float64)
        shape = (num_rows, math.prod(recipe.action_space.shape))
        self.action_space = spaces.Box(-np.inf, np.inf, shape, recipe.action_space.dtype.type)
        self._shape = recipe.action_space.shape
        self._rows = np.zeros((num_rows, width))
        self._seen = self._rows[:, :-FLAGS]
        self._steps, self._over = [0] * len(tasks), [False] * len(tasks)
        self._envs: list[gymnasium.Env] = []

    def restart(self, seeds: Array) -> Array:
        """Starts new episodes where a seed is not negative; the rows of all copies then."""
        self._make()
        seeds = seeds[self._part]
        for i in np.flatnonzero(seeds >= 0):
            self._rows[i], self._steps[i], self._over[i] = 0, 0, False
            self._seen[i] = self._recipe.start(self._envs[i], self._tasks[i], int(seeds[i]))
        return self._rows.copy()

    def replay(self, seeds: Array, actions: Array, steps: Array) -> Array:
        """Starts episodes anew, and repeats the first ``steps`` of the actions ``(B, T, m)``."""
        self.restart(seeds)
        actions, steps = actions[self._part], steps[self._part]
        for i in np.flatnonzero(seeds[self._part] >= 0):
            for action in actions[i, : steps[i]]:
                self._move(i, action)
        return self._rows.copy()

    def step(self, action: Array) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        """Steps every copy whose episode is not over, by actions ``(B, m)``."""
        for i in range(len(self._envs)):
            self._move(i, action[i])
        return self._rows.copy(), 0.0, False, False, {}

    def close(self) -> None:
        """Closes all environments."""
        while self._envs:
            self._envs.pop().close()

    def _make(self) -> None:
        if not self._envs:
            self._envs = [self._recipe.told(task) for task in self._tasks]

    def _move(self, i: Any, action: Array) -> None:
        if self._over[i]:
            self._rows[i, -FLAGS] = 0
            return
        action = action.reshape(self._shape)
        observation, reward, terminated, truncated, _ = self._envs[i].step(action)
        self._steps[i] += 1
        self._seen[i] = self._recipe.flat(observation)
        if reward is None or np.ndim(reward):
            raise ValueError(f"Expected rewards to be numbers, got {reward!r}.")
        self._rows[i, -FLAGS] = reward
        truncated = truncated or self._steps[i] >= self._recipe.max_steps
        if terminated or truncated:
            self._rows[i, -2:], self._over[i] = (bool(terminated), bool(truncated)), True


class _Vector(AsyncVectorEnv):
    """Gymnasium's, left alone by processes that were forked later and drop their copy of it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._owner = os.getpid()
        super().__init__(*args, **kwargs)

    def close(self, **kwargs: Any) -> None:
        if os.getpid() == self._owner:
            super().close(**kwargs)


class Workers:
    """The same as :class:`Copies` over several processes: Gymnasium's ``AsyncVectorEnv``.

    Every process steps a share of the copies, so that there are as many as cores and not as many
    as copies.

    Args:
        recipe: How a copy is made.
        tasks: The task of every copy, ``(B, k)``.
        num_workers: Number of processes.
    """

    def __init__(self, recipe: Recipe, tasks: Array, num_workers: int) -> None:
        self._num, size = len(tasks), -(-len(tasks) // num_workers)
        parts = [slice(i, i + size) for i in range(0, len(tasks), size)]
        self._shape = (len(parts), size)
        self._vector = _Vector(
            [partial(_share, os.getpid(), recipe, tasks[part], part, size) for part in parts],
            copy=False,
            context=_CONTEXT,
            autoreset_mode=AutoresetMode.DISABLED,  # every process restarts its copies itself
        )

    def restart(self, seeds: Array) -> Array:
        """See :meth:`Copies.restart`."""
        return np.concatenate(self._vector.call("restart", seeds))[: self._num]

    def replay(self, seeds: Array, actions: Array, steps: Array) -> Array:
        """See :meth:`Copies.replay`."""
        return np.concatenate(self._vector.call("replay", seeds, actions, steps))[: self._num]

    def step(self, action: Array) -> tuple[Array, Mapping[str, Any]]:
        """See :meth:`Copies.step`."""
        missing = math.prod(self._shape) - self._num
        padded = np.concatenate((action, np.zeros((missing, *action.shape[1:]), action.dtype)))
        rows, *_, infos = self._vector.step(padded.reshape(*self._shape, -1))
        return rows.reshape(-1, rows.shape[-1])[: self._num].copy(), infos

    def close(self) -> None:
        """Ends the processes."""
        self._vector.close()


def _share(owner: int, *args: Any) -> Copies:
    """Copies in a process of their own, which Ctrl-C leaves alone: whoever started it ends it."""
    if os.getpid() != owner:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    return Copies(*args)


def spread(recipe: Recipe, tasks: Array, num_workers: int) -> Copies | Workers:
    """Copies of these tasks ``(B, k)``: in this process, or in as many as there is work for."""
    if min(num_workers, len(tasks)) > 1:
        return Workers(recipe, tasks, min(num_workers, len(tasks)))
    return Copies(recipe, tasks, slice(None), len(tasks))
