"""Any Gymnasium environment as a task family."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import torch
from torch import Tensor
from torchrl.envs import EnvBase

from hgm.checks import check_int
from hgm.envs.base import MAX_STEPS, MAX_TASKS, TaskFamily
from hgm.envs.gymnasium_env import GymnasiumEnv
from hgm.envs.probing import probe

_MAX_WORKERS = 1024


class GymnasiumFamily(TaskFamily):
    """Any Gymnasium environment, and how it is told a hidden task.

    ``set_task(env, task)`` is called after every reset, with the environment as ``make_env`` made
    it, wrappers and all: what it reads is mostly ``env.unwrapped``. So tasks hold where a reset
    draws a goal of its own. The first reset of a copy only comes before the task can be told, and
    is not seen: where a reset reads the task, the one before told it. If the observation
    shows what ``set_task`` changes, the one of the reset is stale, and ``set_task`` returns the
    right one; otherwise it returns None.

    ``observe`` is given a batch ``(B, ...)`` of observations in one array (of a Dict space: a dict
    of them), and returns states ``(B, n)``: it leaves out what would tell the task, or adds
    coordinates. Nothing else of an observation is ever seen.

    Episodes start by ``reset(seed=...)``, each with a seed of its own, and are truncated after
    ``max_steps``. A copy whose episode is over is not stepped until it starts anew. See
    :class:`hgm.envs.gymnasium_env.GymnasiumEnv` for what a checkpoint keeps.

    Args:
        make_env: Makes a new environment every time it is called; or the id of a registered one.
        sample_tasks: Draws tasks: a number and a ``torch.Generator`` to a float tensor ``(num,
            k)``.
        set_task: Sets a task, an array ``(k,)``, on an environment; see above.
        num_train_tasks: Number of training tasks, 2 or more.
        observe: From observations to states; None: the observation, flat.
        max_steps: Length of an episode that does not end by itself; None: the environment's own
            time limit.
        num_workers: Processes that step the copies; below 2: this one. Results are the same.

    Raises:
        ValueError: If an argument is out of range, the environment cannot be made, reset, told a
            task or stepped, or its actions are no finite box, naming what would be right.
        UserWarning: If the environment does not start equally from equal seeds, if tasks change
            nothing, or if observations show the task.

    Example:
        >>> def sample_tasks(num, generator):
        ...     return 1 + torch.rand(num, 1, generator=generator)
        >>> def set_task(env, task):
        ...     env.unwrapped.m = task[0]  # the pendulum's mass
        >>> family = GymnasiumFamily("Pendulum-v1", sample_tasks, set_task, num_train_tasks=4)
        >>> family.dim_state, family.dim_action, family.max_steps
        (3, 1, 200)
    """

    max_copies = 64  # an environment of Gymnasium's each

    def __init__(
        self,
        make_env: str | Callable[[], gymnasium.Env],
        sample_tasks: Callable[[int, torch.Generator], Tensor],
        set_task: Callable[[gymnasium.Env, np.ndarray], Any],
        num_train_tasks: int = 4,
        observe: Callable[[Any], Any] | None = None,
        max_steps: int | None = None,
        num_workers: int = 0,
    ) -> None:
        self.num_train_tasks = check_int("num_train_tasks", num_train_tasks, 2, MAX_TASKS)
        self.num_workers = check_int("num_workers", num_workers, 0, _MAX_WORKERS)
        if max_steps is not None:
            check_int("max_steps", max_steps, 1, MAX_STEPS)
        make = registered(make_env, max_steps) if isinstance(make_env, str) else make_env
        functions = {"make_env": make, "sample_tasks": sample_tasks, "set_task": set_task}
        for name, function in (functions | {"observe": observe}).items():
            if not callable(function) and not (name == "observe" and function is None):
                raise ValueError(f"Expected `{name}` to be a function, got {function!r}.")
        self._sample_tasks, self._observe = sample_tasks, observe
        self._recipe, self._dim_state = probe(make, sample_tasks, set_task, observe, max_steps)
        self.max_steps = self._recipe.max_steps

    @property
    def dim_state(self) -> int:
        """What ``observe`` leaves, ``n``."""
        return self._dim_state

    @property
    def dim_action(self) -> int:
        """Number of entries of an action, ``m``."""
        return math.prod(self._recipe.action_space.shape)

    def sample_tasks(self, num: int, generator: torch.Generator) -> Tensor:
        """As the function says, in single precision."""
        tasks = self._sample_tasks(num, generator)
        return tasks.float() if isinstance(tasks, Tensor) else tasks

    def make_env(
        self,
        tasks: Tensor,
        num_copies: int,
        seed: int,
        device: torch.device | str | None = None,
    ) -> EnvBase:
        """A :class:`hgm.envs.gymnasium_env.GymnasiumEnv` of batch size ``(N, num_copies)``."""
        return GymnasiumEnv(
            self._recipe,
            self._observe,
            self.dim_state,
            tasks,
            num_copies,
            num_workers=self.num_workers,
            seed=seed,
            device=device,
        )


@dataclass(frozen=True)
class GymnasiumTasks:
    """What hgm must know of a Gymnasium environment, as one object that a command line can name.

    In a file ``mypkg.py`` of one's own, ``reach_goal = GymnasiumTasks(sample_tasks, set_task)`` is
    what ``hgm env=gymnasium env.id=Reacher-v5 env.task=mypkg:reach_goal`` names.

    Attributes:
        sample_tasks: See :class:`GymnasiumFamily`.
        set_task: See :class:`GymnasiumFamily`.
        observe: See :class:`GymnasiumFamily`.
        make_env: Makes the environment, where it has no id or is made with arguments.
    """

    sample_tasks: Callable[[int, torch.Generator], Tensor]
    set_task: Callable[[gymnasium.Env, np.ndarray], Any]
    observe: Callable[[Any], Any] | None = None
    make_env: Callable[[], gymnasium.Env] | None = None


class NamedFamily(GymnasiumFamily):
    """The family that ``env=gymnasium`` names: :class:`GymnasiumFamily` from a configuration.

    Args:
        task: From the command line its name, ``module:object``.
        id: Id of a registered environment; None: ``task.make_env`` makes it.
        num_train_tasks: See :class:`GymnasiumFamily`.
        max_steps: See :class:`GymnasiumFamily`.
        num_workers: See :class:`GymnasiumFamily`.

    Raises:
        ValueError: As :class:`GymnasiumFamily`, or if not exactly one of ``id`` and
            ``task.make_env`` is given.
    """

    def __init__(
        self,
        task: GymnasiumTasks,
        id: str | None = None,
        num_train_tasks: int = 4,
        max_steps: int | None = None,
        num_workers: int = 0,
    ) -> None:
        if not isinstance(task, GymnasiumTasks):
            raise ValueError(f"Expected `task` to be a hgm.envs.GymnasiumTasks, got {task!r}.")
        if (id is None) == (task.make_env is None):
            raise ValueError(
                f"Expected either `id` or the task's `make_env` to say which environment, got "
                f"id = {id!r} and make_env = {task.make_env!r}."
            )
        super().__init__(
            task.make_env if id is None else id,  # type: ignore[arg-type]
            task.sample_tasks,
            task.set_task,
            num_train_tasks,
            task.observe,
            max_steps,
            num_workers,
        )


def registered(id: str, max_steps: int | None = None) -> Callable[[], gymnasium.Env]:
    """A function that makes the environment of an id, with another time limit where one is given.

    Raises:
        ValueError: If no environment of this id is registered.
    """
    if ":" in id:  # it would import a module: where a configuration is read, that must be asked for
        module, _, name = id.partition(":")
        raise ValueError(
            f"Expected `id` to name a registered environment, got {id!r}: where the tasks are "
            f"defined, `import {module}`, and give {name!r}."
        )
    try:
        gymnasium.spec(id)
    except gymnasium.error.Error as error:
        raise ValueError(
            f"Expected `id` to name an environment that is registered with Gymnasium, got {id!r}: "
            f"{' '.join(str(error).split())}"
        ) from None

    def make() -> gymnasium.Env:
        limit = {} if max_steps is None else {"max_episode_steps": max_steps}
        return gymnasium.make(id, disable_env_checker=True, **limit)

    return make
