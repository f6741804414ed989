"""Transitions of a policy that is being trained, all of them in the frame of the base task."""

from __future__ import annotations

from typing import Any

import torch
from tensordict import TensorDict, TensorDictBase
from tensordict.nn import TensorDictModuleBase
from torch import Tensor
from torchrl.envs import EnvBase
from torchrl.envs.utils import ExplorationType, set_exploration_type

from hgm.datamodules.base import KEYS
from hgm.envs.rollouts import walk
from hgm.geometry import Geometry
from hgm.policies.hereditary import HereditaryActor


class Collection:
    r"""Runs a policy of the base task in every task, and carries what it sees to the base task.

    In task ``i``, reached from the base task by :math:`g_i`, the policy acts by heredity,
    :math:`a = K_i \pi(L_i^{-1} s)`, and the transition counts as
    :math:`(L_i^{-1} s, K_i^{-1} a, (r - b_i) / a_i, L_i^{-1} s')` of the base task. Actions are
    clipped to the environment's range before they are executed and carried back.

    It steps the environment itself: TorchRL's ``Collector`` keeps the running episodes in a
    private attribute that its ``state_dict`` leaves out, and here a resumed run must be exact.

    Args:
        env: Environment of batch size ``(N, K)``.
        actor: Policy of the base task, from ``observation`` to ``action``.
        num_steps: Steps of every copy in one call of :meth:`collect`.
        geometry: How the tasks relate; None where the base task runs alone.
    """

    def __init__(
        self,
        env: EnvBase,
        actor: TensorDictModuleBase,
        num_steps: int,
        geometry: Geometry | None = None,
    ) -> None:
        self._env, self._num_steps, self._geometry = env, num_steps, geometry
        self._policy = actor
        if geometry is not None:
            self._coords = geometry.coords[:, None].to(env.device)
            self._policy = HereditaryActor(actor, geometry, self._coords)
        space = env.action_spec.space
        self._low, self._high = space.low, space.high
        self._current: TensorDictBase | None = None

    @torch.no_grad()
    def collect(self, seed: int, random: bool = False) -> TensorDictBase:
        """Goes on for ``num_steps`` steps, and starts new episodes where some end.

        Args:
            seed: Seed of the environment for these steps. Exploration draws from torch's global
                generator.
            random: Whether to act uniformly in the environment's range.

        Returns:
            Transitions of the base task, ``[N * K * num_steps]``, with the keys
            :data:`hgm.datamodules.base.KEYS`.

        Raises:
            ValueError: If the environment raises, or they are not finite.
            Diverged: If the policy's actions are not finite.
        """
        self._env.set_seed(seed)
        act = self._uniform if random else self._act
        steps = []
        for moved, current in walk(self._env, act, self._num_steps, self._current):
            steps.append(moved.select(*KEYS))
            self._current = current
        return self._carry(TensorDict.maybe_dense_stack(steps, 2)).reshape(-1)

    def state_dict(self) -> dict[str, Any]:
        """Running episodes, and what the environment itself remembers."""
        current = {} if self._current is None else self._current.flatten_keys(".").clone().to_dict()
        return {"current": current, "env": dict(self._env.state_dict())}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state_dict`."""
        self._env.load_state_dict(state["env"])
        if state["current"]:
            current = TensorDict(state["current"], self._env.batch_size, self._env.device)
            self._current = current.unflatten_keys(".")

    def close(self) -> None:
        """Closes the environment."""
        self._env.close(raise_if_closed=False)

    def _uniform(self, current: TensorDictBase) -> Tensor:
        return self._low + (self._high - self._low) * torch.rand_like(self._low)

    def _act(self, current: TensorDictBase) -> Tensor:
        """Sampled actions ``(N, K, m)`` in every task."""
        batch = current.select("observation")
        with set_exploration_type(ExplorationType.RANDOM):
            return self._policy(batch)["action"].clamp(self._low, self._high)

    def _carry(self, batch: TensorDictBase) -> TensorDictBase:
        """Transitions ``[N, K, T]`` of all tasks as transitions of the base task."""
        if self._geometry is None:
            return batch
        home, state, action = -self._coords[:, None], batch["observation"], batch["action"]
        after = batch["next", "observation"]
        batch["next", "observation"], _ = self._geometry.act(home, after, action)
        batch["observation"], batch["action"] = self._geometry.act(home, state, action)
        if self._geometry.calibration is not None:
            table = self._geometry.calibration.to(state)[:, None, None]
            factor, shift = table.split(1, -1)
            batch["next", "reward"] = (batch["next", "reward"] - shift) / factor
        return batch
