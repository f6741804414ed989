"""Episodes of the base task, scored beside those of the optimum."""

from __future__ import annotations

from contextlib import closing

import torch
from tensordict import TensorDict, TensorDictBase
from tensordict.nn import TensorDictModuleBase
from torch import Tensor

from hgm.envs.base import TaskFamily
from hgm.envs.rollouts import Rollouts, returns


class Episodes:
    """Scores policies on the same episodes of one task: the same starts, the same noise.

    Args:
        family: The family of the task.
        task: Its row, ``(1, k)``.
        num: Number ``E`` of episodes.
        seed: Seed of starts and noise.
    """

    def __init__(self, family: TaskFamily, task: Tensor, num: int, seed: int) -> None:
        self._family, self._task, self._num, self._seed = family, task, num, seed
        self._optimum: Tensor | None = None

    def score(self, policy: TensorDictModuleBase, device: torch.device) -> TensorDictBase:
        """Runs a policy deterministically, and once the optimum.

        Args:
            policy: From ``observation`` to ``action``.
            device: Where policy and environment run.

        Returns:
            Per episode, ``[E]``: ``return``, ``success`` (0 or 1), and ``optimal_return`` if the
            family knows it.
        """
        own = self._run(policy, device)
        success = own.terminated[0] ^ self._family.fails
        entries = {"return": own.returns[0], "success": success.float()}
        optimum = self._family.optimal_policy(self._task)
        if optimum is not None:
            if self._optimum is None:
                self._optimum = self._run(optimum, device).returns[0]
            entries["optimal_return"] = self._optimum
        return TensorDict(entries, [self._num])

    def _run(self, policy: TensorDictModuleBase, device: torch.device) -> Rollouts:
        with closing(self._family.make_env(self._task, self._num, self._seed, device)) as env:
            return returns(env, policy, self._family.max_steps)
