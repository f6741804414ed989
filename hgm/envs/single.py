"""A task family as an environment of Gymnasium that runs one task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor
from torchrl.envs import EnvBase

from hgm import envs
from hgm.envs.base import TaskFamily

_SEEDS = 2**31


class SingleTask(gymnasium.Env):
    """One task of a family at a time, hidden from observations and ``info``.

    Every reset draws a task by :meth:`TaskFamily.sample_tasks`, unless it is given one, as
    ``reset(options={"task": row})``, or the environment was. Task, start and noise follow from the
    seeds of the resets. ``info["success"]`` says after every step whether the episode terminated
    at the goal; where families :attr:`~hgm.envs.TaskFamily.fails`, whether it has come to its time
    limit. Time limits are the family's own.

    Args:
        family: Any family.
        task: A row of task parameters ``(k,)`` for all episodes; None: another one each.

    Attributes:
        task: Parameters of the task that runs, ``(k,)``; None before the first reset.

    Raises:
        TypeError: If ``family`` is not a TaskFamily.
        ValueError: If a task is not a row of ``k`` finite numbers, or actions are not bounded.

    Example:
        >>> env = SingleTask(envs.Navigation())
        >>> observation, info = env.reset(seed=0, options={"task": [0.0, 1.0, 1.0, 0.0, 1.0]})
        >>> observation.shape, info
        ((2,), {'success': False})
    """

    metadata = {"render_modes": []}  # noqa: RUF012 (Gymnasium's own way)

    def __init__(self, family: TaskFamily, task: Sequence[float] | None = None) -> None:
        if not isinstance(family, TaskFamily):
            raise TypeError(f"Expected `family` to be a hgm.envs.TaskFamily, got {family!r}.")
        self._family = family
        self._size = family.train_tasks(0).shape[1]
        self._given = None if task is None else self._row(task)
        self.task: Tensor | None = None
        self._env: EnvBase | None = None
        low, high = family.action_box().numpy()
        self.action_space = spaces.Box(low, high, dtype=np.float32)
        most = np.finfo(np.float32).max
        self.observation_space = spaces.Box(-most, most, (family.dim_state,), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Starts an episode.

        Args:
            seed: Of this and all later episodes; None goes on.
            options: ``{"task": row}`` runs that task.

        Raises:
            ValueError: If the options are others.
        """
        super().reset(seed=seed)
        options = options or {}
        if set(options) - {"task"}:
            raise ValueError(f"Expected `options` to have the key 'task' at most, got {options}.")
        of_task, of_env = (int(number) for number in self.np_random.integers(_SEEDS, size=2))
        task = self._row(options["task"]) if "task" in options else self._given
        if task is None:
            task = self._family.sample_tasks(1, torch.Generator().manual_seed(of_task))[0]
        if self._env is None or self.task is None or not torch.equal(task, self.task):
            self.close()
            self._env, self.task = self._family.make_env(task[None], 1, of_env), task
        else:
            self._env.set_seed(of_env)
        self._current = self._env.reset()
        return self._observation(), {"success": False}

    def step(
        self, action: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """One step by an action ``(m,)``."""
        if self._env is None:
            raise gymnasium.error.ResetNeeded("Call `reset` before `step`.")
        flat = torch.as_tensor(np.asarray(action, np.float32)).view(1, 1, -1)
        after = self._env.step(self._current.clone(False).set("action", flat))["next"]
        self._current = after.exclude("reward")
        terminated, truncated, reward = (
            after[key].item() for key in ("terminated", "truncated", "reward")
        )
        success = truncated and not terminated if self._family.fails else terminated
        info = {"success": success}
        return self._observation(), reward, terminated, truncated, info

    def close(self) -> None:
        """Closes the family's environment."""
        if self._env is not None:
            self._env.close()
        self._env = None

    def _observation(self) -> NDArray[np.float32]:
        return self._current["observation"][0, 0].numpy().astype(np.float32)

    def _row(self, task: Any) -> Tensor:
        row = torch.as_tensor(np.asarray(task), dtype=torch.float32)
        if row.shape != (self._size,) or not row.isfinite().all():
            raise ValueError(
                f"Expected `task` to be {self._size} finite numbers, a row of "
                f"{type(self._family).__name__}.sample_tasks, got {task!r}."
            )
        return row


def make_single(family: str, task: Sequence[float] | None = None, **arguments: Any) -> SingleTask:
    """What ``gymnasium.make("hgm/Navigation-v0", task=..., ...)`` makes.

    Args:
        family: The name of a family in :mod:`hgm.envs`.
        task: See :class:`SingleTask`.
        **arguments: The family's own.
    """
    return SingleTask(getattr(envs, family)(**arguments), task)
