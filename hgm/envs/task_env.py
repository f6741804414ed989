"""What the batched environments of hgm share: a table of tasks, time limits, partial resets."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor
from torchrl.data import Binary, Bounded, Composite, Unbounded
from torchrl.envs import EnvBase


class TaskEnv(EnvBase, ABC):
    """Runs ``N`` tasks in ``K`` copies each, as one batch ``(N, K)``.

    The task parameters are a table on the environment and never enter a TensorDict. State and time
    are read from the TensorDict; all randomness comes from one private generator, which is part of
    the ``state_dict``. Build it on the device where it is to run: a generator cannot be moved.

    A subclass writes :meth:`_begin` and :meth:`_advance`.

    Args:
        table: Task parameters, ``(N, k)``.
        num_copies: Copies ``K`` of each task.
        dim_state: State dimension ``n``.
        box: Least and largest actions, ``(2, m)``.
        max_steps: Truncation.
        seed: Seed of the private generator.
        device: Where it runs; the CPU if None.
        dtype: Floating-point type of states, actions and rewards.
    """

    def __init__(
        self,
        table: Tensor,
        num_copies: int,
        *,
        dim_state: int,
        box: Tensor,
        max_steps: int,
        seed: int,
        device: torch.device | str | None,
        dtype: torch.dtype,
    ) -> None:
        device = torch.device("cpu" if device is None else device)
        batch = torch.Size((table.shape[0], num_copies))
        super().__init__(device=device, batch_size=batch)
        self._rows = table.to(device, dtype)[:, None]
        self._max_steps = max_steps
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
        low, high = box.to(device, dtype).expand(*batch, 2, box.shape[-1]).unbind(-2)
        self.action_spec = Bounded(low, high, high.shape, device, dtype)
        self.reward_spec = Unbounded(scalar, device=device, dtype=dtype)
        flag = Binary(1, scalar, device=device, dtype=torch.bool)
        self.done_spec = Composite(
            done=flag, terminated=flag.clone(), truncated=flag.clone(), shape=batch, device=device
        )

    @abstractmethod
    def _begin(self) -> dict[str, Tensor]:
        """Hook: fresh starts of all copies, ``observation`` and other entries of the state."""

    @abstractmethod
    def _advance(
        self, tensordict: TensorDictBase
    ) -> tuple[dict[str, Tensor], Tensor, Tensor | None]:
        """Hook: the same entries a step later, rewards ``(N, K)``, and which copies terminate.

        None: no copy does.
        """

    def get_extra_state(self) -> Tensor:
        """State of the private generator."""
        return self._generator.get_state()

    def set_extra_state(self, state: Tensor) -> None:
        """The inverse of :meth:`get_extra_state`."""
        self._generator.set_state(state.cpu())

    def _reset(self, tensordict: TensorDictBase | None = None, **kwargs: object) -> TensorDictBase:
        # Fresh starts for all copies: TorchRL keeps the running ones when a reset is partial.
        entries = self._begin()
        entries["task"], entries["step_count"] = self._task.clone(), torch.zeros_like(self._task)
        return TensorDict(entries, self.batch_size, device=self.device)

    def _step(self, tensordict: TensorDictBase) -> TensorDictBase:
        entries, reward, ended = self._advance(tensordict)
        count = tensordict["step_count"] + 1
        truncated = count >= self._max_steps
        terminated = torch.zeros_like(truncated) if ended is None else ended[..., None]
        entries |= {
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
