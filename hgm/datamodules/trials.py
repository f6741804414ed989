"""Trials of a recurrent policy in training: some episodes of one task each, with one memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from tensordict import TensorDict, TensorDictBase
from tensordict.nn import TensorDictModuleBase
from torch import Tensor
from torchrl.envs import EnvBase
from torchrl.envs.utils import ExplorationType, set_exploration_type

from hgm.checks import check_int
from hgm.datamodules.rounds import Source
from hgm.datamodules.streamed import Streamed
from hgm.envs.base import TaskFamily


class Trials(Streamed):
    r"""On-policy rounds of trials: ``num_episodes`` episodes of one task, then the memory empties.

    Source: Y. Duan et al., arXiv 1611.02779. The trial is the episode of the meta-problem: it goes
    on through the ends of the episodes within it, and it alone ends returns. It has so many
    episodes, and not so many steps, since otherwise it would pay not to end an episode: a point
    that waits beside its goal earns more per step than one that arrives and starts anew.

    A round starts every environment anew and runs it for ``num_steps`` steps, one trial after the
    other; the last one is cut, and its value goes on. Batches are the whole rows of some
    environments, ``[M, T]``, with the keys

    * ``observation (n,)``, ``previous_action (m,)``, ``previous_reward (1,)``, ``start (1,)``,
      which is 1. where an episode starts, and ``is_init (1,)``, True where a trial starts: there
      the previous ones are zero,
    * ``action (m,)``, ``action_log_prob ()`` and ``state_value (1,)`` of the policy,
    * under ``next``: ``reward (1,)``, ``state_value (1,)`` and ``terminated (1,)``, True where the
      trial ends; ``done`` also where it is cut,

    and what the module's ``advantage`` adds. The LightningModule has two TensorDictModules, the
    ``policy`` from the first line, ``is_init`` and its own ``("next", "memory")`` to the second
    one, and ``advantage``, which sees a whole round ``[M, T]``.

    Args:
        family: Where tasks and environments come from; all training tasks run.
        num_frames: Transitions in all, the last round rounded up.
        num_envs: Environments of every process, shared out evenly among the tasks.
        num_steps: Steps of every environment in a round, ``T``.
        num_episodes: Episodes of a trial.
        num_epochs: Passes through a round.
        num_minibatches: Batches of a pass.
        seed: Seed of tasks, environments, exploration and batches.

    Attributes:
        num_episodes: See above.

    Raises:
        TypeError: If ``family`` is not a TaskFamily.
        ValueError: If an argument is out of range.
    """

    kind = "trials"

    def __init__(
        self,
        family: TaskFamily,
        num_frames: int = 3_000_000,
        num_envs: int = 256,
        num_steps: int = 128,
        num_episodes: int = 4,
        num_epochs: int = 3,
        num_minibatches: int = 8,
        seed: int = 0,
    ) -> None:
        super().__init__(family, seed)
        self._num_copies = check_int("num_envs", num_envs, self.num_tasks) // self.num_tasks
        self._num_steps = check_int("num_steps", num_steps, 2)
        self.num_episodes = check_int("num_episodes", num_episodes, 1)
        envs = self.num_tasks * self._num_copies
        self.frames_per_round = envs * self._num_steps
        self.num_rounds = math.ceil(check_int("num_frames", num_frames, 1) / self.frames_per_round)
        self._shape = (
            check_int("num_epochs", num_epochs, 1),
            check_int("num_minibatches", num_minibatches, 1, envs),
        )
        self.updates_per_round = math.prod(self._shape)

    def _source(self, device: torch.device) -> Source:
        assert self.trainer is not None
        module = self.trainer.lightning_module
        env = self.family.make_env(self.tasks, self._num_copies, self.seed, device)
        sizes = (self._num_steps, self.num_episodes)
        return _Trials(env, module.policy, module.advantage, sizes, self._shape)


class _Trials(Source):
    """Source of one round; between rounds nothing is kept.

    Args:
        env: Environment of batch size ``(N, K)``.
        policy: Writes ``action``, ``action_log_prob``, ``state_value``, ``("next", "memory")``.
        advantage: Completes a round ``[N * K, T]``.
        sizes: Steps of a round, and episodes of a trial.
        shape: Passes, and batches of a pass.
    """

    def __init__(
        self,
        env: EnvBase,
        policy: TensorDictModuleBase,
        advantage: TensorDictModuleBase,
        sizes: tuple[int, int],
        shape: tuple[int, int],
    ) -> None:
        self._env, self._policy, self._advantage = env, policy, advantage
        self._num_steps, self._num_episodes = sizes
        self._shape = shape
        self._batch: TensorDictBase | None = None

    @torch.no_grad()
    def collect(self, number: int, seed: int) -> None:
        self._env.set_seed(seed)
        self._batch = self._advantage(self._run())

    def draw(self, generator: torch.Generator) -> Sequence[TensorDictBase]:
        assert self._batch is not None
        num_epochs, num_minibatches = self._shape
        batches = []
        for _ in range(num_epochs):
            order = torch.randperm(
                len(self._batch), generator=generator, device=generator.device
            ).tensor_split(num_minibatches)
            batches += [self._batch[rows] for rows in order]
        return batches

    def state_dict(self) -> dict[str, Any]:
        return {} if self._batch is None else self._batch.flatten_keys(".").to_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state:
            shape = state["action_log_prob"].shape
            batch = TensorDict(state, shape, self._env.device)
            self._batch = batch.unflatten_keys(".")

    def close(self) -> None:
        self._env.close(raise_if_closed=False)

    def _run(self) -> TensorDictBase:
        env, num = self._env, self._env.batch_size.numel()
        current = env.reset()
        action = env.action_spec.zero().flatten(0, 1)
        reward = action.new_zeros(num, 1)
        done = is_init = torch.ones_like(reward, dtype=torch.bool)
        num_ended = torch.zeros_like(reward, dtype=torch.long)
        memory: dict[str, Tensor] = {}
        steps: list[TensorDictBase] = []
        for index in range(self._num_steps + 1):
            told = TensorDict(
                {
                    "observation": current["observation"].flatten(0, 1),
                    "previous_action": action.masked_fill(is_init, 0.0),
                    "previous_reward": reward.masked_fill(is_init, 0.0),
                    "start": done.to(reward),
                    "is_init": is_init,
                },
                [num],
            )
            with set_exploration_type(ExplorationType.RANDOM):
                chosen = self._policy(told.copy().update(memory))
            memory = {"memory": chosen["next", "memory"]}
            if steps:
                steps[-1]["next", "state_value"] = chosen["state_value"]
            if index == self._num_steps:
                break
            action = chosen["action"]
            current["action"] = action.unflatten(0, env.batch_size)
            moved, current = env.step_and_maybe_reset(current)
            reward, done = (moved["next", key].flatten(0, 1) for key in ("reward", "done"))
            num_ended = num_ended.masked_fill(is_init, 0) + done
            is_init = num_ended == self._num_episodes
            entries = {"reward": reward, "terminated": is_init, "done": is_init}
            told["next"] = TensorDict(entries, [num])
            keys = ("action", "action_log_prob", "state_value")
            steps.append(told.update(chosen.select(*keys)))
        steps[-1]["next", "done"] = torch.ones_like(is_init)
        batch = TensorDict.maybe_dense_stack(steps, 1)
        for key in ("observation", ("next", "reward")):
            if not batch[key].isfinite().all():
                raise ValueError(
                    f"Expected finite transitions, but `{key}` has NaN or infinite values. Check "
                    "the environment."
                )
        return batch
