"""Families with a few actions to choose from: pure functions on batches, and their environment."""

from __future__ import annotations

from abc import abstractmethod
from typing import final

import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor
from torchrl.data import Binary, Bounded, Composite, Unbounded
from torchrl.envs import EnvBase

from hgm.checks import check_int
from hgm.envs.base import MAX_DIM, MAX_STEPS, MAX_TASKS, TaskFamily


class DiscreteFamily(TaskFamily):
    """Tasks in which one of ``m`` actions is carried out at a time.

    An action is a vector ``(m,)`` of scores in [0, 1], of which the environment carries out the
    largest: one-hot vectors are what policies send, and uniform ones choose uniformly. So bounds,
    random exploration and TorchRL's specs are those of any family; models that need dynamics that
    are smooth in the action refuse it by :attr:`discrete`.

    A subclass sets the ``num_*`` below and writes four hooks, pure functions on tensors of any
    batch shape ``(...)``, in which the tasks' is broadcast. Their randomness is handed to them as
    numbers uniform in [0, 1). This class adds what every family has: observations of pure noise
    (distractors), and a random order of observations and actions in every task.

    Args:
        num_train_tasks: Number of training tasks, 2 or more.
        max_steps: Truncation of an episode.
        shuffle: Whether every task has its own random order of observations and of actions.
        num_distractors: Observations that are noise, uniform in [-1, 1], drawn anew at every step.

    Attributes:
        num_observations: Observations without distractors, set by the subclass.
        num_actions: Number of actions, set by the subclass.
        num_states: Size of the hidden state, set by the subclass.
        num_parameters: Size of a task's own parameters, set by the subclass.
        num_start_noise: Uniform numbers that a start takes, set by the subclass.
        num_step_noise: Uniform numbers that a step takes, set by the subclass.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        A walk on a line, whose goal the task says:

        >>> class Line(DiscreteFamily):
        ...     num_observations, num_actions, num_states, num_parameters = 1, 2, 1, 1
        ...     num_start_noise = 1
        ...     def _sample(self, num, generator):
        ...         return 3 + 4 * torch.rand(num, 1, generator=generator)
        ...     def _start(self, noise, tasks):
        ...         return noise
        ...     def _step(self, state, action, noise, tasks):
        ...         state = state + (2 * action - 1)[..., None]
        ...         there = (state > tasks)[..., 0]
        ...         return state, there.to(state), there
        ...     def _observe(self, state, tasks):
        ...         return state
        >>> family = Line(num_train_tasks=4, max_steps=20, shuffle=True, num_distractors=2)
        >>> from hgm.testing import check_family
        >>> check_family(family)
        >>> family.dim_state, family.dim_action
        (3, 2)
    """

    discrete = True
    num_observations: int
    num_actions: int
    num_states: int
    num_parameters: int
    num_start_noise: int = 0
    num_step_noise: int = 0

    def __init__(
        self, num_train_tasks: int, max_steps: int, shuffle: bool, num_distractors: int
    ) -> None:
        self.num_train_tasks = check_int("num_train_tasks", num_train_tasks, 2, MAX_TASKS)
        self.max_steps = check_int("max_steps", max_steps, 1, MAX_STEPS)
        self.num_distractors = check_int("num_distractors", num_distractors, 0, MAX_DIM)
        if not isinstance(shuffle, bool):
            raise ValueError(f"Expected `shuffle` to be true or false, got {shuffle!r}.")
        self.shuffle = shuffle

    @abstractmethod
    def _sample(self, num: int, generator: torch.Generator) -> Tensor:
        """Own parameters of tasks, ``(num, k)``."""

    @abstractmethod
    def _start(self, noise: Tensor, tasks: Tensor) -> Tensor:
        """States ``(..., s)`` at which episodes start."""

    @abstractmethod
    def _step(
        self, state: Tensor, action: Tensor, noise: Tensor, tasks: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Next states, rewards ``(...)`` and whether episodes terminate, of action indices."""

    @abstractmethod
    def _observe(self, state: Tensor, tasks: Tensor) -> Tensor:
        """Observations ``(..., n)`` without distractors."""

    @property
    def dim_state(self) -> int:
        """Number of observations, distractors included."""
        return self.num_observations + self.num_distractors

    @property
    def dim_action(self) -> int:
        """Number of actions."""
        return self.num_actions

    @final
    def sample_tasks(self, num: int, generator: torch.Generator) -> Tensor:
        """Own parameters; where shuffled, then the orders of observations and of actions."""
        own = self._sample(num, generator)
        if not self.shuffle:
            return own
        orders = [
            torch.rand(num, size, generator=generator).argsort(-1).to(own)
            for size in (self.dim_state, self.dim_action)
        ]
        return torch.cat((own, *orders), -1)

    @final
    def start(self, noise: Tensor, tasks: Tensor) -> Tensor:
        """States at which episodes start, ``(..., s)``.

        Args:
            noise: Uniform in [0, 1), ``(..., num_start_noise + num_distractors)``.
            tasks: Rows of tasks, ``(..., k)``.
        """
        own, distractors = noise.split((self.num_start_noise, self.num_distractors), -1)
        state = self._start(own, tasks[..., : self.num_parameters])
        return torch.cat((state, 2 * distractors - 1), -1) if self.num_distractors else state

    @final
    def step(
        self, state: Tensor, action: Tensor, noise: Tensor, tasks: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Next states ``(..., s)``, rewards ``(...)``, and whether episodes terminate ``(...)``.

        Args:
            state: Of :meth:`start` or the last step.
            action: Indices of actions, ``(...)``.
            noise: Uniform in [0, 1), ``(..., num_step_noise + num_distractors)``.
            tasks: Rows of tasks, ``(..., k)``.
        """
        own, distractors = noise.split((self.num_step_noise, self.num_distractors), -1)
        action = self.carried_out(action, tasks)
        state, reward, terminated = self._step(
            state[..., : self.num_states], action, own, tasks[..., : self.num_parameters]
        )
        if self.num_distractors:
            distractors = (2 * distractors - 1).expand(*state.shape[:-1], -1)
            state = torch.cat((state, distractors), -1)
        return state, reward, terminated

    @final
    def observe(self, state: Tensor, tasks: Tensor) -> Tensor:
        """Observations ``(..., n)``, in the tasks' order."""
        own, distractors = state.split((self.num_states, self.num_distractors), -1)
        seen = self._observe(own, tasks[..., : self.num_parameters])
        seen = torch.cat((seen, distractors), -1) if self.num_distractors else seen
        if not self.shuffle:
            return seen
        order = tasks[..., self.num_parameters :][..., : self.dim_state].long()
        return seen.gather(-1, order.expand(seen.shape))

    @final
    def carried_out(self, action: Tensor, tasks: Tensor) -> Tensor:
        """What action indices ``(...)`` mean in tasks ``(..., k)``."""
        if not self.shuffle:
            return action
        order = tasks[..., -self.dim_action :].long().expand(*action.shape, -1)
        return order.gather(-1, action[..., None]).squeeze(-1)

    def make_env(
        self,
        tasks: Tensor,
        num_copies: int,
        seed: int,
        device: torch.device | str | None = None,
    ) -> EnvBase:
        """A :class:`DiscreteEnv` of batch size ``(N, num_copies)``."""
        return DiscreteEnv(self, tasks, num_copies, seed, device)


class DiscreteEnv(EnvBase):
    """TorchRL's view of a :class:`DiscreteFamily`: ``N`` tasks in ``K`` copies each.

    The hidden state is in the TensorDict under ``state``, the tasks are not.

    Args:
        family: The family.
        tasks: Task parameters, ``(N, k)``.
        num_copies: Copies ``K`` of each task.
        seed: Seed of the private generator.
        device: Where it runs; the CPU if None.
        dtype: Floating-point type of states, observations and rewards.
    """

    def __init__(
        self,
        family: DiscreteFamily,
        tasks: Tensor,
        num_copies: int,
        seed: int = 0,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        device = torch.device("cpu" if device is None else device)
        batch = torch.Size((len(tasks), num_copies))
        super().__init__(device=device, batch_size=batch)
        self._family, self._rows = family, tasks.to(device, dtype)[:, None]
        self._task = torch.arange(batch[0], device=device)[:, None, None].expand(*batch, 1)
        self._generator = torch.Generator(device).manual_seed(seed)
        scalar, float_like = (*batch, 1), {"device": device, "dtype": dtype}
        num_states = family.num_states + family.num_distractors
        self.observation_spec = Composite(
            observation=Unbounded((*batch, family.dim_state), **float_like),
            state=Unbounded((*batch, num_states), **float_like),
            task=Bounded(0, batch[0] - 1, scalar, device, torch.int64),
            step_count=Bounded(0, family.max_steps, scalar, device, torch.int64),
            shape=batch,
            device=device,
        )
        self.action_spec = Bounded(0.0, 1.0, (*batch, family.dim_action), **float_like)
        self.reward_spec = Unbounded(scalar, **float_like)
        flag = Binary(1, scalar, device=device, dtype=torch.bool)
        self.done_spec = Composite(
            done=flag, terminated=flag.clone(), truncated=flag.clone(), shape=batch, device=device
        )

    def _noise(self, num: int) -> Tensor:
        shape = (*self.batch_size, num + self._family.num_distractors)
        return self._rows.new_empty(shape).uniform_(generator=self._generator)

    def _reset(self, tensordict: TensorDictBase | None = None, **kwargs: object) -> TensorDictBase:
        state = self._family.start(self._noise(self._family.num_start_noise), self._rows)
        state = state.expand(*self.batch_size, -1).clone()
        return self._seen(state, torch.zeros_like(self._task))

    def _step(self, tensordict: TensorDictBase) -> TensorDictBase:
        action = tensordict["action"].argmax(-1)
        noise = self._noise(self._family.num_step_noise)
        state, reward, terminated = self._family.step(
            tensordict["state"], action, noise, self._rows
        )
        after = self._seen(state, tensordict["step_count"] + 1)
        truncated = after["step_count"] >= self._family.max_steps
        flags = {"terminated": terminated[..., None], "truncated": truncated}
        done = flags["terminated"] | truncated
        return after.update({"reward": reward[..., None], "done": done, **flags})

    def _seen(self, state: Tensor, count: Tensor) -> TensorDictBase:
        entries = {
            "observation": self._family.observe(state, self._rows),
            "state": state,
            "task": self._task.clone(),
            "step_count": count,
        }
        return TensorDict(entries, self.batch_size, device=self.device)

    def _set_seed(self, seed: int | None) -> None:
        if seed is not None:
            self._generator.manual_seed(seed)
