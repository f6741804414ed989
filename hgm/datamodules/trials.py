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

from hgm.checks import check_entries, check_int
from hgm.datamodules.learner import learner_of
from hgm.datamodules.rounds import Source
from hgm.datamodules.streamed import MAX_BUFFER, MAX_FRAMES, MAX_ROUND, Streamed
from hgm.envs.base import TaskFamily
from hgm.envs.rollouts import walk


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
    one, and ``advantage``, which sees a whole round ``[M, T]``: see
    :class:`hgm.datamodules.learner.Learner`.

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
        check_int("num_envs", num_envs, len(self.tasks), MAX_ROUND)
        self._num_copies = num_envs // len(self.tasks)
        self._num_steps = check_int("num_steps", num_steps, 2, MAX_ROUND)
        self.num_episodes = check_int("num_episodes", num_episodes, 1, 1_000_000)
        envs = len(self.tasks) * self._num_copies
        self.frames_per_round = envs * self._num_steps
        check_entries("`num_envs` * `num_steps`", self.frames_per_round, MAX_BUFFER)
        check_int("num_frames", num_frames, 1, MAX_FRAMES)
        self.num_rounds = math.ceil(num_frames / self.frames_per_round)
        self._shape = (
            check_int("num_epochs", num_epochs, 1, 100_000),
            check_int("num_minibatches", num_minibatches, 1, envs),
        )
        self.updates_per_round = math.prod(self._shape)
        self.sizes = self._measured("trials")

    def _source(self, device: torch.device) -> Source:
        module = learner_of(self, "policy", "advantage")
        env = self.family.make_env(self.tasks, self._num_copies, self.seed, device)
        sizes = (self._num_steps, self.num_episodes)
        return _OneRound(env, module.policy, module.advantage, sizes, self._shape)


class _OneRound(Source):
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
        return {} if self._batch is None else self._batch.flatten_keys(".").clone().to_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state:
            shape = state["action_log_prob"].shape
            batch = TensorDict(state, shape, self._env.device)
            self._batch = batch.unflatten_keys(".")

    def close(self) -> None:
        self._env.close(raise_if_closed=False)

    def _run(self) -> TensorDictBase:
        env = self._env
        shape = env.batch_size
        self._action = env.action_spec.zero().flatten(0, 1)
        self._reward = self._action.new_zeros(len(self._action), 1)
        self._done = self._is_init = torch.ones_like(self._reward, dtype=torch.bool)
        self._memory: dict[str, Tensor] = {}
        num_ended = torch.zeros_like(self._reward, dtype=torch.long)
        steps: list[TensorDictBase] = []

        def act(current: TensorDictBase) -> Tensor:
            steps.append(self._choose(current))
            self._action = steps[-1]["action"]
            return self._action.unflatten(0, shape)

        for moved, now in walk(env, act, self._num_steps):
            current, after = now, moved["next"]
            self._reward, self._done = after["reward"].flatten(0, 1), after["done"].flatten(0, 1)
            num_ended = num_ended.masked_fill(self._is_init, 0) + self._done
            self._is_init = num_ended == self._num_episodes
            entries = {"reward": self._reward, "terminated": self._is_init, "done": self._is_init}
            steps[-1]["next"] = TensorDict(entries, [len(self._reward)])
        last = self._choose(current)["state_value"]
        values = [step["state_value"] for step in steps[1:]]
        for step, value in zip(steps, (*values, last), strict=True):
            step["next", "state_value"] = value
        steps[-1]["next", "done"] = torch.ones_like(self._is_init)
        return TensorDict.maybe_dense_stack(steps, 1)

    def _choose(self, current: TensorDictBase) -> TensorDictBase:
        """What the policy is told ``[N * K]``, and what it makes of that; its memory goes on."""
        entries = {
            "observation": current["observation"].flatten(0, 1),
            "previous_action": self._action.masked_fill(self._is_init, 0.0),
            "previous_reward": self._reward.masked_fill(self._is_init, 0.0),
            "start": self._done.to(self._reward),
            "is_init": self._is_init,
        }
        step = TensorDict(entries, [len(self._reward)])
        with set_exploration_type(ExplorationType.RANDOM):
            chosen = self._policy(step.copy().update(self._memory))
        self._memory = {"memory": chosen["next", "memory"]}
        return step.update(chosen.select("action", "action_log_prob", "state_value"))
