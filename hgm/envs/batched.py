"""Pure functions of a task family as one batched TorchRL environment."""

from __future__ import annotations

from collections.abc import Callable

import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor
from torchrl.data import Binary, Bounded, Composite, Unbounded
from torchrl.envs import EnvBase

Start = Callable[[Tensor, Tensor], Tensor]
Step = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
Reward = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
Done = Callable[[Tensor, Tensor], Tensor]


class BatchedEnv(EnvBase):
    r"""Runs ``N`` tasks in ``K`` copies each, as one batch ``(N, K)``.

    With standard normal :math:`\xi` and the task's row :math:`z`, episodes start at
    :math:`s_0 = \mathrm{start}(\xi, z)` and go on by :math:`s' = \mathrm{step}(s, a, \xi, z)`,
    :math:`r = \mathrm{reward}(s, a, s', z) + \sigma_r \xi`. They are truncated after ``max_steps``
    and terminate where :math:`\mathrm{done}(s', z)`.

    The task parameters are a table on the environment and never enter a TensorDict. State and time
    are read from the TensorDict; all randomness comes from one private generator. Build it on the
    device where it is to run: a generator cannot be moved.

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
        device = torch.device("cpu" if device is None else device)
        batch = torch.Size((table.shape[0], num_copies))
        super().__init__(device=device, batch_size=batch)
        self._rows = table.to(device, dtype)[:, None]
        self._start_at, self._move, self._reward, self._done = start, step, reward, done
        self._reward_noise, self._max_steps = reward_noise, max_steps
        self._task = torch.arange(batch[0], device=device)[:, None, None].expand(*batch, 1)
        self._generator = torch.Generator(device)
        self._generator.manual_seed(seed)

        vector, scalar = (*batch, dim_state), (*batch, 1)
        self.observation_spec = Composite(
            observation=Unbounded(vector, device=device, dtype=dtype),
            task=Bounded(0, batch[0] - 1, scalar, device, torch.int64),
            step_count=Bounded(0, max_steps, scalar, device, torch.int64),
            shape=batch,
            device=device,
        )
        high = high.to(device, dtype).expand(*batch, len(high))
        self.action_spec = Bounded(-high, high, high.shape, device, dtype)
        self.reward_spec = Unbounded(scalar, device=device, dtype=dtype)
        flag = Binary(1, scalar, device=device, dtype=torch.bool)
        self.done_spec = Composite(
            done=flag, terminated=flag.clone(), truncated=flag.clone(), shape=batch, device=device
        )

    def _randn(self, *shape: int) -> Tensor:
        return self._rows.new_empty(shape).normal_(generator=self._generator)

    def _reset(self, tensordict: TensorDictBase | None = None, **kwargs: object) -> TensorDictBase:
        # Fresh starts for all copies: TorchRL keeps the running ones when a reset is partial.
        random = self._randn(*self.observation_spec["observation"].shape)
        entries = {
            "observation": self._start_at(random, self._rows),
            "task": self._task.clone(),
            "step_count": torch.zeros_like(self._task),
        }
        return TensorDict(entries, self.batch_size, device=self.device)

    def _step(self, tensordict: TensorDictBase) -> TensorDictBase:
        state, action = tensordict["observation"], tensordict["action"]
        following = self._move(state, action, self._randn(*state.shape), self._rows)
        reward = self._reward(state, action, following, self._rows)
        if self._reward_noise:
            reward = reward + self._reward_noise * self._randn(*reward.shape)
        count = tensordict["step_count"] + 1
        truncated = count >= self._max_steps
        terminated = torch.zeros_like(truncated)
        if self._done is not None:
            terminated = self._done(following, self._rows)[..., None]
        entries = {
            "observation": following,
            "task": self._task.clone(),
            "step_count": count,
            "reward": reward[..., None],
            "terminated": terminated,
            "truncated": truncated,
            "done": terminated | truncated,
        }
        return TensorDict(entries, self.batch_size, device=self.device)

    def step_and_maybe_reset(
        self, tensordict: TensorDictBase
    ) -> tuple[TensorDictBase, TensorDictBase]:
        """TorchRL's in two thirds of its time: the rest is for environments of other kinds.

        Where a copy starts anew it keeps the last action, which TorchRL sets to zero.
        """
        after = tensordict["next"] = self._step(tensordict)
        current = tensordict.exclude("next").update(after.exclude("reward"))
        done = after["done"]
        if done.any():
            for key, start in self._reset().items():
                current[key] = start.where(done, after[key])
            for key in self.done_keys:
                current[key] = torch.zeros_like(done)
        return tensordict, current

    def _set_seed(self, seed: int | None) -> None:
        if seed is not None:
            self._generator.manual_seed(seed)
