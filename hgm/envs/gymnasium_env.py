"""Copies of a Gymnasium environment as one batched environment of TorchRL."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from tensordict import TensorDict, TensorDictBase
from torch import Tensor
from torchrl.data import Binary, Bounded, Composite, Unbounded
from torchrl.envs import EnvBase

from hgm.envs.copies import FLAGS, Recipe, spread, states
from hgm.numerics.seeds import derive_seed


class GymnasiumEnv(EnvBase):
    """Runs ``N`` tasks in ``K`` copies each, as one batch ``(N, K)`` in single precision.

    Every episode starts by ``reset(seed=...)`` with a seed of its own, made of the environment's
    seed, the copy and the number of the episode. So equal seeds give equal trajectories, with any
    number of processes, and the state that a checkpoint keeps is small and needs no knowledge of
    the simulator: the seeds and the actions of the running episodes. Loading it plays these once
    more, which is exact wherever the same seed and actions give the same episode, and takes as
    long as the longest of them. A warning tells where it came out differently.

    Args:
        recipe: How a copy is made.
        observe: From observations to states, see :class:`hgm.envs.GymnasiumFamily`.
        dim_state: Number of states' components.
        tasks: Task parameters, ``(N, k)``.
        num_copies: Copies ``K`` of each task.
        num_workers: Processes that share the copies; below 2: this one.
        seed: What all seeds derive from.
        device: Where tensors are; the simulator runs on the CPU.
    """

    def __init__(
        self,
        recipe: Recipe,
        observe: Callable[[Any], Any] | None,
        dim_state: int,
        tasks: Tensor,
        num_copies: int,
        *,
        num_workers: int = 0,
        seed: int = 0,
        device: torch.device | str | None = None,
    ) -> None:
        device = torch.device("cpu" if device is None else device)
        batch = torch.Size((len(tasks), num_copies))
        super().__init__(device=device, batch_size=batch)
        self._recipe, self._observe = recipe, observe
        rows = tasks.double().cpu().repeat_interleave(num_copies, 0).numpy()
        self._copies = spread(recipe, rows, num_workers)
        self._task = torch.arange(batch[0], device=device)[:, None, None].expand(*batch, 1)

        space, num = recipe.action_space, len(rows)
        size = math.prod(space.shape)
        self._low, self._high = space.low.reshape(1, size), space.high.reshape(1, size)
        self._seed, self._episodes = seed, np.zeros(num, dtype=np.int64)
        self._starts = np.full(num, -1, dtype=np.int64)
        self._steps = np.zeros(num, dtype=np.int64)
        self._actions = np.zeros((num, min(recipe.max_steps, 64), size), space.dtype)
        self._rows = np.zeros((num, spaces.flatdim(recipe.observation_space) + FLAGS))

        vector, scalar, dtype = (*batch, dim_state), (*batch, 1), torch.float32
        self.observation_spec = Composite(
            observation=Unbounded(vector, device=device, dtype=dtype),
            task=Bounded(0, batch[0] - 1, scalar, device, torch.int64),
            shape=batch,
            device=device,
        )
        low, high = (
            torch.as_tensor(bound, dtype=dtype, device=device).expand(*batch, size)
            for bound in (self._low, self._high)
        )
        self.action_spec = Bounded(low, high, (*batch, size), device, dtype)
        self.reward_spec = Unbounded(scalar, device=device, dtype=dtype)
        flag = Binary(1, scalar, device=device, dtype=torch.bool)
        self.done_spec = Composite(
            done=flag, terminated=flag.clone(), truncated=flag.clone(), shape=batch, device=device
        )

    def step_and_maybe_reset(
        self, tensordict: TensorDictBase
    ) -> tuple[TensorDictBase, TensorDictBase]:
        """TorchRL's in less time; where a copy starts anew it keeps the last action."""
        after = tensordict["next"] = self._step(tensordict)
        current = tensordict.exclude("next").update(after.exclude("reward"))
        if after["done"].any():
            self._restart(after["done"])
            current.update(self._seen().exclude("reward"))
        return tensordict, current

    def close(self, *, raise_if_closed: bool = True) -> None:
        """Closes all environments, and ends their processes."""
        super().close(raise_if_closed=raise_if_closed)
        self._copies.close()

    def get_extra_state(self) -> dict[str, Any]:
        """What :meth:`state_dict` keeps: seeds, and the actions of the running episodes."""
        longest = int(self._steps.max())
        return {
            "seed": self._seed,
            "episodes": torch.from_numpy(self._episodes.copy()),
            "starts": torch.from_numpy(self._starts.copy()),
            "steps": torch.from_numpy(self._steps.copy()),
            "actions": torch.from_numpy(self._actions[:, :longest].copy()),
            "rows": torch.from_numpy(self._rows.copy()),
        }

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`get_extra_state`, by playing the running episodes once more."""
        self._seed = state["seed"]
        self._episodes, self._starts, self._steps, actions, rows = (
            state[key].cpu().numpy().copy()
            for key in ("episodes", "starts", "steps", "actions", "rows")
        )
        self._reserve(actions.shape[1])
        self._actions[:, : actions.shape[1]] = actions
        if (self._starts < 0).all():
            return
        self._rows = self._copies.replay(self._starts, actions, self._steps)
        over = rows[:, -2:].any(-1)  # if they stood still since, their last reward is zero
        self._rows[over, -FLAGS] = rows[over, -FLAGS]
        different = (self._rows != rows).any(-1) & ~np.isnan(rows).any(-1)
        if different.any():
            warnings.warn(
                f"Expected the same seeds and actions to give the same episodes once more, but "
                f"{int(different.sum())} of {len(rows)} that were running came out differently: "
                "this environment draws from elsewhere than `self.np_random`, or keeps something "
                "from one episode to the next. The run goes on, and not exactly where it was.",
                stacklevel=2,
            )

    def _set_seed(self, seed: int | None) -> None:
        """Applies to the episodes that start from here on."""
        if seed is not None:
            self._seed, self._episodes[:] = seed, 0

    def _reset(self, tensordict: TensorDictBase | None = None, **kwargs: object) -> TensorDictBase:
        mask = None if tensordict is None else tensordict.get("_reset", None)
        everywhere = torch.ones_like(self._task, dtype=torch.bool)
        self._restart(everywhere if mask is None else mask)
        return self._seen().exclude("reward", "done", "terminated", "truncated")

    def _step(self, tensordict: TensorDictBase) -> TensorDictBase:
        action = tensordict["action"].detach().flatten(0, 1).cpu().numpy()
        # Single precision may round a bound up, out of a box in double precision.
        action = action.astype(self._actions.dtype).clip(self._low, self._high)
        alive = np.flatnonzero(~self._rows[:, -2:].any(-1))
        self._reserve(int(self._steps.max()) + 1)
        self._actions[alive, self._steps[alive]] = action[alive]
        self._steps[alive] += 1
        self._rows, *_ = self._copies.step(action)
        return self._seen()

    def _restart(self, mask: Tensor) -> None:
        where = mask.flatten().cpu().numpy()
        seeds = np.full(len(where), -1, dtype=np.int64)
        for i in np.flatnonzero(where):
            seeds[i] = derive_seed(self._seed, int(i), int(self._episodes[i]))
        self._episodes[where] += 1
        self._starts[where], self._steps[where] = seeds[where], 0
        self._rows = self._copies.restart(seeds)

    def _seen(self) -> TensorDictBase:
        """What the last rows say."""
        space = self._recipe.observation_space
        seen = states(space, self._observe, self._rows[:, :-FLAGS])
        expected = (len(self._rows), self.observation_spec["observation"].shape[-1])
        if seen.shape != expected:
            raise ValueError(f"Expected `observe` to make states {expected}, got {seen.shape}.")
        terminated, truncated = (self._tensor(self._rows[:, [i]] > 0) for i in (-2, -1))
        entries = {
            "observation": self._tensor(seen, torch.float32),
            "task": self._task.clone(),
            "reward": self._tensor(self._rows[:, [-FLAGS]], torch.float32),
            "terminated": terminated,
            "truncated": truncated,
            "done": terminated | truncated,
        }
        return TensorDict(entries, self.batch_size, device=self.device)

    def _tensor(self, values: Any, dtype: torch.dtype | None = None) -> Tensor:
        found = torch.tensor(np.asarray(values), dtype=dtype, device=self.device)
        return found.unflatten(0, self.batch_size)

    def _reserve(self, num_steps: int) -> None:
        """Room for the actions of so many steps; doubled, for episodes may be very long."""
        num, room, size = self._actions.shape
        if num_steps > room:
            more = np.zeros((num, max(num_steps, 2 * room) - room, size), self._actions.dtype)
            self._actions = np.concatenate((self._actions, more), 1)
