"""Pure functions of a task family as one batched TorchRL environment."""

from __future__ import annotations

from collections.abc import Callable

import torch
from tensordict import TensorDictBase
from torch import Tensor

from hgm.envs.task_env import TaskEnv

Start = Callable[[Tensor, Tensor], Tensor]
Step = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
Reward = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
Done = Callable[[Tensor, Tensor], Tensor]


class BatchedEnv(TaskEnv):
    r"""Runs ``N`` tasks in ``K`` copies each, as one batch ``(N, K)``.

    With standard normal :math:`\xi` and the task's row :math:`z`, episodes start at
    :math:`s_0 = \mathrm{start}(\xi, z)` and go on by :math:`s' = \mathrm{step}(s, a, \xi, z)`,
    :math:`r = \mathrm{reward}(s, a, s', z) + \sigma_r \xi`. They are truncated after ``max_steps``
    and terminate where :math:`\mathrm{done}(s', z)`.

    State and time are read from the TensorDict, see :class:`~hgm.envs.task_env.TaskEnv`.

    Args:
        table: Task parameters, ``(N, k)``.
        num_copies: Copies ``K`` of each task.
        dim_state: State dimension ``n``.
        high: Largest actions, ``(m,)``; the least are their negatives.
        start: First states ``(N, K, n)`` of ``(N, K, n)`` normal numbers and rows ``(N, 1, k)``.
        step: Next states ``(N, K, n)`` of states, actions ``(N, K, m)``, ``(N, K, n)`` normal
            numbers and rows. It bounds actions that are outside of what can be carried out.
        reward: Noise-free rewards ``(N, K)`` of states, actions, next states and rows.
        done: Booleans ``(N, K)`` of next states and rows; None: never terminated.
        reward_noise: Standard deviation of additive Gaussian reward noise.
        max_steps: Truncation.
        seed: Seed of the private generator.
        device: Where it runs; the CPU if None.
        dtype: Floating-point type of states, actions and rewards.

    Example:
        >>> env = BatchedEnv(
        ...     table=torch.tensor([[1.0], [2.0]]),
        ...     num_copies=3,
        ...     dim_state=1,
        ...     high=torch.ones(1),
        ...     start=lambda random, rows: random,
        ...     step=lambda state, action, random, rows: state + action,
        ...     reward=lambda state, action, following, rows: -(following - rows)[..., 0].abs(),
        ... )
        >>> env.rollout(5)["next", "reward"].shape
        torch.Size([2, 3, 5, 1])
    """

    def __init__(
        self,
        table: Tensor,
        num_copies: int,
        *,
        dim_state: int,
        high: Tensor,
        start: Start,
        step: Step,
        reward: Reward,
        done: Done | None = None,
        reward_noise: float = 0.0,
        max_steps: int = 100,
        seed: int = 0,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(
            table,
            num_copies,
            dim_state=dim_state,
            box=torch.stack((-high, high)),
            max_steps=max_steps,
            seed=seed,
            device=device,
            dtype=dtype,
        )
        self._start_at, self._move, self._reward, self._done = start, step, reward, done
        self._reward_noise = reward_noise

    def _randn(self, *shape: int) -> Tensor:
        return self._rows.new_empty(shape).normal_(generator=self._generator)

    def _begin(self) -> dict[str, Tensor]:
        random = self._randn(*self.observation_spec["observation"].shape)
        return {"observation": self._start_at(random, self._rows)}

    def _advance(
        self, tensordict: TensorDictBase
    ) -> tuple[dict[str, Tensor], Tensor, Tensor | None]:
        state, action = tensordict["observation"], tensordict["action"]
        following = self._move(state, action, self._randn(*state.shape), self._rows)
        reward = self._reward(state, action, following, self._rows)
        if self._reward_noise:
            reward = reward + self._reward_noise * self._randn(*reward.shape)
        ended = None if self._done is None else self._done(following, self._rows)
        return {"observation": following}, reward, ended
