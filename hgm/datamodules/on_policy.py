"""Rounds of a policy in training: what it did last is what it learns from, and then forgotten."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from tensordict import TensorDict, TensorDictBase
from tensordict.nn import TensorDictModuleBase
from torch import Tensor
from torchrl.envs import EnvBase
from torchrl.envs.utils import ExplorationType, set_exploration_type

from hgm.checks import check_entries, check_int
from hgm.datamodules.base import Batches
from hgm.datamodules.episodes import Episodes
from hgm.datamodules.learner import learner_of
from hgm.datamodules.rounds import Source
from hgm.datamodules.streamed import MAX_BUFFER, MAX_FRAMES, MAX_ROUND, Streamed
from hgm.envs.base import TaskFamily
from hgm.envs.rollouts import walk
from hgm.numerics.seeds import derive_seed

_VAL, _TEST = 1, 2
"""Purposes of seeds."""


class OnPolicy(Streamed):
    """Rounds of the base task: every environment goes on for ``T`` steps with the newest policy.

    A step of Lightning is given a whole round, as ``num_epochs`` passes in another order each,
    ``[E, M, B]``: an update for each of the ``E M`` batches. Transitions have TorchRL's keys
    ``observation``, ``action``, ``next``, and whatever the module's ``complete`` makes of a round
    ``[K, T]``, which has the policy's ``action_log_prob``, too. Episodes go on over the ends of
    rounds. Validation and test are those of :class:`hgm.datamodules.Replay`.

    The LightningModule has an ``actor``, a ``policy`` and a function ``complete``: see
    :class:`hgm.datamodules.learner.Learner`.

    Args:
        family: Where task and environments come from.
        num_frames: Transitions in all, the last round rounded up.
        num_envs: Environments ``K`` of every process.
        num_steps: Steps ``T`` of every environment in a round.
        num_epochs: Passes ``E`` through a round.
        num_minibatches: Batches ``M`` of a pass, which divide ``K T``.
        num_eval_episodes: Episodes of a validation, and of a test.
        test_task: Which of the test tasks is the base task, counted from 0; None: a training task.
        num_test_tasks: How many test tasks there are; as many as in the meta-test.
        seed: Seed of tasks, environments, exploration and batches.

    Raises:
        TypeError: If ``family`` is not a TaskFamily.
        ValueError: If an argument is out of range, or batches would not be equally large.
    """

    def __init__(
        self,
        family: TaskFamily,
        num_frames: int = 1_000_000,
        num_envs: int = 128,
        num_steps: int = 32,
        num_epochs: int = 6,
        num_minibatches: int = 8,
        num_eval_episodes: int = 100,
        test_task: int | None = None,
        num_test_tasks: int = 20,
        seed: int = 0,
    ) -> None:
        super().__init__(family, seed)
        if test_task is not None:
            check_int("num_test_tasks", num_test_tasks, 1, 100_000)
            check_int("test_task", test_task, 0, num_test_tasks - 1)
            self.tasks = family.test_tasks(num_test_tasks, self.seed)[test_task:]
        self.tasks = self.tasks[:1]
        self._num_envs = check_int("num_envs", num_envs, 1, MAX_ROUND)
        self._num_steps = check_int("num_steps", num_steps, 1, MAX_ROUND)
        self.frames_per_round = self._num_envs * self._num_steps
        check_entries("`num_envs` * `num_steps`", self.frames_per_round, MAX_BUFFER)
        check_int("num_frames", num_frames, 1, MAX_FRAMES)
        self.num_rounds = math.ceil(num_frames / self.frames_per_round)
        self._shape = (
            check_int("num_epochs", num_epochs, 1, 100_000),
            check_int("num_minibatches", num_minibatches, 1, self.frames_per_round),
        )
        if self.frames_per_round % num_minibatches:
            raise ValueError(
                f"Expected `num_minibatches` to divide `num_envs` * `num_steps`, "
                f"{self.frames_per_round}, got {num_minibatches!r}."
            )
        self.updates_per_round = self.updates_per_step = math.prod(self._shape)
        episodes = check_int("num_eval_episodes", num_eval_episodes, 1, 1_000_000)
        self._val, self._test = (
            Episodes(family, self.tasks, episodes, derive_seed(self.seed, purpose))
            for purpose in (_VAL, _TEST)
        )
        self.sizes = self._measured("on_policy")

    def val_dataloader(self) -> Batches:
        """One batch ``[E]``: see :meth:`hgm.datamodules.episodes.Episodes.score`."""
        return Batches(1, lambda: self._score(self._val))

    def test_dataloader(self) -> Batches:
        """Like :meth:`val_dataloader`, with other starts and noise."""
        return Batches(1, lambda: self._score(self._test))

    def _source(self, device: torch.device) -> Source:
        module = learner_of(self, "policy", "complete")
        env = self.family.make_env(self.tasks, self._num_envs, self.seed, device)
        return _Round(env, module.policy, module.complete, self._num_steps, self._shape)

    def _score(self, episodes: Episodes) -> Iterator[TensorDictBase]:
        yield episodes.score(learner_of(self, "actor").actor, self.device)


class _Round(Source):
    """Source of one round; between rounds only running episodes are kept.

    Args:
        env: Environment of batch size ``(1, K)``.
        policy: Writes ``action`` and ``action_log_prob``.
        complete: Makes of a round ``[K, T]`` what is learned from.
        num_steps: Steps ``T`` of a round.
        shape: Passes, and batches of a pass.
    """

    def __init__(
        self,
        env: EnvBase,
        policy: TensorDictModuleBase,
        complete: Callable[[TensorDictBase], TensorDictBase],
        num_steps: int,
        shape: tuple[int, int],
    ) -> None:
        self._env, self._policy, self._complete = env, policy, complete
        self._num_steps, self._shape = num_steps, shape
        self._current: TensorDictBase | None = None
        self._batch: TensorDictBase | None = None

    @torch.no_grad()
    def collect(self, number: int, seed: int) -> None:
        self._env.set_seed(seed)
        steps: list[TensorDictBase] = []
        chosen: list[Tensor] = []

        def act(current: TensorDictBase) -> Tensor:
            with set_exploration_type(ExplorationType.RANDOM):
                found = self._policy(current.select("observation"))
            chosen.append(found["action_log_prob"])
            return found["action"]

        keys = ("observation", "action", ("next", "observation"), ("next", "reward"))
        flags = (("next", "done"), ("next", "terminated"))
        for moved, current in walk(self._env, act, self._num_steps, self._current):
            steps.append(moved.select(*keys, *flags).set("action_log_prob", chosen[-1])[0])
            self._current = current
        self._batch = self._complete(TensorDict.maybe_dense_stack(steps, 1)).flatten()

    def draw(self, generator: torch.Generator) -> Sequence[TensorDictBase]:
        assert self._batch is not None
        num, (epochs, batches) = len(self._batch), self._shape
        device = generator.device
        orders = [torch.randperm(num, generator=generator, device=device) for _ in range(epochs)]
        return [self._batch[torch.stack(orders).view(epochs, batches, -1)]]

    def state_dict(self) -> dict[str, Any]:
        current = {} if self._current is None else self._current.flatten_keys(".").clone().to_dict()
        return {"current": current, "env": dict(self._env.state_dict())}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._env.load_state_dict(state["env"])
        if state["current"]:
            current = TensorDict(state["current"], self._env.batch_size, self._env.device)
            self._current = current.unflatten_keys(".")

    def close(self) -> None:
        self._env.close(raise_if_closed=False)
