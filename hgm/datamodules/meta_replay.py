"""Trials of an agent in training, and batches of what many learners saw, replayed at random."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor
from torchrl.envs.utils import ExplorationType, set_exploration_type

from hgm.agents.base import Agent
from hgm.checks import check_entries, check_int
from hgm.datamodules.base import KEYS
from hgm.datamodules.learner import learner_of
from hgm.datamodules.memory import Memory
from hgm.datamodules.rounds import Source
from hgm.datamodules.streamed import MAX_BUFFER, MAX_FRAMES, MAX_ROUND, NUM_ENVS, Streamed
from hgm.envs.base import MAX_STEPS, TaskFamily
from hgm.envs.rollouts import walk


class MetaReplay(Streamed):
    """Rounds of trials in all training tasks, and batches of learners for meta-training.

    A round is one trial in each of 64 environments: the LightningModule's ``agent`` meets every
    environment as an unknown task, explores for ``explore_length`` transitions as it would in a new
    task, then acts for ``act_length`` transitions by what it found out: with sampled actions, as
    TorchRL's exploration type asks for.

    A round draws ``updates_per_round`` batches, of which it yields up to ``K`` at once, ``[K, L]``.
    A batch holds learners ``[L]``: a task each, ``task (L, 1)``, with ``transitions [L, B]`` of any
    trial of the task, and ``context [L, 2, E]``, the explorations of two of its latest trials, of
    which the first transitions count, a random number of them: their ``weight (L, 2, E)`` is 1,
    that of the others 0.

    Args:
        family: Where tasks and environments come from.
        num_frames: Transitions collected in all, the last round rounded up.
        explore_length: Transitions ``E`` that a trial explores.
        act_length: Transitions of a trial afterwards.
        shortest_context: The least number of transitions that count.
        updates_per_round: Batches that a round draws.
        updates_per_step: Batches ``K`` that a step of Lightning is given, see
            :class:`hgm.datamodules.Replay`.
        num_learners: Learners ``L`` in a batch.
        batch_size: Transitions ``B`` of a learner.
        random_rounds: Rounds at the start whose actions are uniform.
        buffer_size: Transitions that are kept.
        context_size: Explorations that are kept.
        seed: Seed of tasks, environments, exploration and replay.

    Raises:
        TypeError: If ``family`` is not a TaskFamily.
        ValueError: If an argument is out of range.
    """

    def __init__(
        self,
        family: TaskFamily,
        num_frames: int = 262_144,
        explore_length: int = 25,
        act_length: int = 39,
        shortest_context: int = 5,
        updates_per_round: int = 256,
        updates_per_step: int = 8,
        num_learners: int = 16,
        batch_size: int = 32,
        random_rounds: int = 2,
        buffer_size: int = 262_144,
        context_size: int = 1024,
        seed: int = 0,
    ) -> None:
        super().__init__(family, seed)
        self.explore_length = check_int("explore_length", explore_length, 1, MAX_STEPS)
        self.act_length = check_int("act_length", act_length, 0, MAX_STEPS)
        self.shortest_context = check_int(
            "shortest_context", shortest_context, 1, self.explore_length
        )
        self.num_copies = max(1, NUM_ENVS // len(self.tasks))
        trials = len(self.tasks) * self.num_copies
        self.frames_per_round = trials * (self.explore_length + self.act_length)
        check_int("num_frames", num_frames, 1, MAX_FRAMES)
        self.num_rounds = math.ceil(num_frames / self.frames_per_round)
        self.updates_per_round = check_int("updates_per_round", updates_per_round, 1, MAX_ROUND)
        self.updates_per_step = check_int("updates_per_step", updates_per_step, 1, MAX_ROUND)
        self.num_learners = check_int("num_learners", num_learners, 1, MAX_ROUND)
        self.batch_size = check_int("batch_size", batch_size, 1, MAX_ROUND)
        num = self.updates_per_round * self.num_learners * self.batch_size
        check_entries("`updates_per_round` * `num_learners` * `batch_size`", num, MAX_BUFFER)
        self.random_rounds = check_int("random_rounds", random_rounds, 0, MAX_FRAMES)
        check_int("buffer_size", buffer_size, self.frames_per_round, MAX_BUFFER)
        check_int("context_size", context_size, trials, MAX_BUFFER)
        num = max(context_size, self.updates_per_round * self.num_learners) * explore_length
        check_entries("explorations, of a round or kept, * `explore_length`", num, MAX_BUFFER)
        self.buffer_size = min(buffer_size, self.num_frames)
        self.context_size = context_size
        self.sizes = self._measured("meta_replay")

    def _source(self, device: torch.device) -> Source:
        return _Replayed(self, learner_of(self, "agent").agent, device)


class _Replayed(Source):
    """Trials of an agent, and what is kept of them, both interleaved: task i at i, N + i, ..."""

    def __init__(self, data: MetaReplay, agent: Agent, device: torch.device) -> None:
        self._data, self._agent = data, agent
        self._env = data.family.make_env(data.tasks, data.num_copies, data.seed, device)
        space = self._env.action_spec.space
        self._low, self._high = space.low.flatten(0, 1), space.high.flatten(0, 1)
        self._transitions, self._explorations = (
            Memory(size - size % len(data.tasks), device)
            for size in (data.buffer_size, data.context_size)
        )

    @torch.no_grad()
    def collect(self, number: int, seed: int) -> None:
        data, random = self._data, number < self._data.random_rounds
        self._env.set_seed(seed)
        self._generator = torch.Generator(self._low.device).manual_seed(seed)
        self._agent.begin(len(self._low))
        if self._agent.oracle:
            self._agent.reveal(data.tasks.repeat_interleave(data.num_copies, 0))
        with set_exploration_type(ExplorationType.RANDOM):
            explored = self._run(data.explore_length, learn=True, random=random)
            acted = self._run(data.act_length, learn=False, random=random)
        steps = TensorDict.stack((*explored, *acted), -1)
        self._transitions.extend(steps.permute(1, 2, 0).reshape(-1))
        contexts = TensorDict.stack(explored, -1).transpose(0, 1).flatten(0, 1)
        self._explorations.extend(contexts.auto_batch_size_(1))

    def draw(self, generator: torch.Generator) -> Sequence[TensorDictBase]:
        data = self._data
        shape = (data.updates_per_round, data.num_learners)

        def integers(high: int, *more: int) -> Tensor:
            size = (*shape, *more)
            return torch.randint(high, size, generator=generator, device=generator.device)

        # Shares of the tasks as equal as can be: contrasts need learners of different tasks.
        num_tasks = len(data.tasks)
        most = -(-data.num_learners // num_tasks) * num_tasks
        luck = torch.rand(shape[0], most, generator=generator, device=generator.device)
        task = (luck.argsort(-1) % num_tasks)[:, : data.num_learners, None]
        picked = {}
        for name, memory, more in (
            ("transitions", self._transitions, (data.batch_size,)),
            ("context", self._explorations, (2,)),
        ):
            rows = integers(len(memory) // num_tasks, *more)
            found = memory[(rows * num_tasks + task).flatten()]
            picked[name] = found.reshape(*shape, *more)
        least = data.shortest_context
        length = least + integers(data.explore_length + 1 - least, 2, 1)
        order = torch.arange(data.explore_length, device=generator.device)
        context = picked["context"].auto_batch_size_(4)
        context["weight"] = (order < length).float()
        batches = TensorDict({"task": task, **picked}, shape)
        return batches.split(data.updates_per_step)

    def state_dict(self) -> dict[str, Any]:
        return {
            "transitions": self._transitions.state_dict(),
            "explorations": self._explorations.state_dict(),
            "env": dict(self._env.state_dict()),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._transitions.load_state_dict(state["transitions"])
        self._explorations.load_state_dict(state["explorations"])
        self._env.load_state_dict(state["env"])

    def close(self) -> None:
        self._env.close(raise_if_closed=False)

    def _run(self, num_steps: int, learn: bool, random: bool) -> list[TensorDictBase]:
        """Transitions ``[N, K]`` of every step, from fresh episodes on."""
        self._agent.started(torch.ones_like(self._low[:, 0], dtype=torch.bool))
        steps = []
        for moved, _ in walk(self._env, partial(self._act, learn, random), num_steps):
            steps.append(moved.select(*KEYS))
            if learn:
                seen = (moved["observation"], moved["action"], moved["next", "reward"][..., 0])
                self._agent.observe(
                    *(part.flatten(0, 1) for part in (*seen, moved["next", "observation"]))
                )
            self._agent.started(moved["next", "done"].flatten())
        return steps

    def _act(self, learn: bool, random: bool, current: TensorDictBase) -> Tensor:
        state = current["observation"].flatten(0, 1)
        if random:
            action = self._low + (self._high - self._low) * torch.rand_like(self._low)
        elif learn:
            action = self._agent.explore(state, self._low, self._high, self._generator)
        else:
            action = self._agent.act(state).clamp(self._low, self._high)
        return action.unflatten(0, self._env.batch_size)
