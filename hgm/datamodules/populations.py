"""What a population of agents goes through, each in an environment of its own."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor

from hgm.checks import check_entries, check_int
from hgm.datamodules.base import Batches
from hgm.datamodules.collection import Collection
from hgm.datamodules.learner import learner_of
from hgm.datamodules.rounds import Source
from hgm.datamodules.streamed import MAX_BUFFER, MAX_FRAMES, MAX_ROUND, Streamed
from hgm.datamodules.trails import Trails
from hgm.envs.base import TaskFamily
from hgm.envs.rollouts import returns
from hgm.numerics.seeds import derive_seed
from hgm.sizes import Sizes

_TASKS, _VAL, _TEST = 4, 5, 6
"""Purposes of seeds."""


class Populations(Streamed):
    """Agents in groups, one a family: every agent has a task, copies of it, and a memory.

    A round runs all copies of all agents for the same number of steps, and draws so many batches.
    A batch has one entry a family, ``"0"``, ``"1"`` and so on, ``[A, 2 B, T]``: pieces of ``T``
    consecutive steps, of which one half is for a step of the policies, and the other says what the
    step was worth. The LightningModule says how they act (``actors``, one a family) and how long
    pieces are (``num_steps``), see :class:`hgm.datamodules.learner.Learner`.

    Validation and test run episodes of all agents, with deterministic policies.

    Args:
        family: The family of the training if there are no ``envs``.
        envs: Families of the training, of whatever sizes; none: ``family``.
        num_agents: Agents ``A`` of every family in every process, each with a task of its own.
        num_copies: Copies of its task that an agent runs side by side.
        num_frames: Transitions that an agent collects in all, the last round rounded up.
        frames_per_batch: Transitions that an agent collects in a round, in steps of all copies.
        updates_per_batch: Batches that a round draws.
        num_pieces: Pieces ``B`` of each half of an agent's batch.
        random_frames: Transitions of an agent at the start, in whole rounds, whose actions are
            uniform.
        buffer_size: Transitions that are kept of an agent.
        num_eval_episodes: Episodes of every agent in a validation, and in a test.
        seed: Seed of tasks, environments, exploration and replay.

    Attributes:
        envs: See above.

    Raises:
        TypeError: If a family is none.
        ValueError: If an argument is out of range, or a family's actions are discrete.
    """

    def __init__(
        self,
        family: TaskFamily,
        envs: Sequence[TaskFamily] | None = None,
        num_agents: int = 4,
        num_copies: int = 4,
        num_frames: int = 10_000,
        frames_per_batch: int = 32,
        updates_per_batch: int = 16,
        num_pieces: int = 16,
        random_frames: int = 1000,
        buffer_size: int = 40_000,
        num_eval_episodes: int = 10,
        seed: int = 0,
    ) -> None:
        super().__init__(family, seed)
        self.envs = [_checked(env) for env in (envs or [family])]
        self.num_agents = check_int("num_agents", num_agents, 1, MAX_ROUND)
        self.num_copies = check_int("num_copies", num_copies, 1, MAX_ROUND)
        check_int("frames_per_batch", frames_per_batch, 1, MAX_ROUND)
        self._num_steps = max(1, round(frames_per_batch / self.num_copies))
        own = self._num_steps * self.num_copies
        self.frames_per_round = own * self.num_agents * len(self.envs)
        self.num_rounds = math.ceil(check_int("num_frames", num_frames, 1, MAX_FRAMES) / own)
        self.updates_per_round = check_int("updates_per_batch", updates_per_batch, 1, MAX_ROUND)
        self._num_pieces = check_int("num_pieces", num_pieces, 1, MAX_ROUND)
        self._num_random = math.ceil(check_int("random_frames", random_frames, 0, MAX_FRAMES) / own)
        size = min(check_int("buffer_size", buffer_size, own, MAX_BUFFER), self.num_rounds * own)
        self._buffer_steps = size // self.num_copies
        what = "`num_agents` * `buffer_size` of all families"
        check_entries(what, size * self.num_agents * len(self.envs), MAX_BUFFER)
        self._num_episodes = check_int("num_eval_episodes", num_eval_episodes, 1, 100_000)
        self.sizes = replace(self._measured("populations"), members=self._members())

    def _members(self) -> tuple[Sizes, ...]:
        return tuple(
            Sizes(
                self.num_agents,
                env.dim_state,
                env.dim_action,
                kind="populations",
                action_box=env.action_box(),
            )
            for env in self.envs
        )

    def own_tasks(self, index: int) -> Tensor:
        """Hidden parameters of the tasks of a family's agents, ``(A, k)``."""
        generator = torch.Generator().manual_seed(self._own(_TASKS, index))
        return self.envs[index].sample_tasks(self.num_agents, generator)

    def _own(self, *purpose: int) -> int:
        """A seed of this process."""
        seed = derive_seed(self.seed, *purpose)
        return derive_seed(seed, self._rank) if self._rank else seed

    def val_dataloader(self) -> Batches:
        """One batch: entries as in training, returns ``[A, E]``."""
        return Batches(1, lambda: self._score(_VAL))

    def test_dataloader(self) -> Batches:
        """Like :meth:`val_dataloader`, with other starts and noise."""
        return Batches(1, lambda: self._score(_TEST))

    def _score(self, purpose: int) -> Iterator[TensorDictBase]:
        actors, found = learner_of(self, "actors").actors, {}
        for index, env in enumerate(self.envs):
            seed = self._own(purpose, index)
            tasks = self.own_tasks(index)
            with closing(env.make_env(tasks, self._num_episodes, seed, self.device)) as own:
                found[str(index)] = returns(own, actors[index], env.max_steps).returns
        yield TensorDict(found)

    def _source(self, device: torch.device) -> Source:
        learner: Any = learner_of(self, "actors", "num_steps")
        parts = []
        for index, family in enumerate(self.envs):
            seed = self._own(_TASKS, index, 1)
            env = family.make_env(self.own_tasks(index), self.num_copies, seed, device)
            collection = Collection(env, learner.actors[index], self._num_steps)
            parts.append((collection, Trails(self._buffer_steps, device)))
        shape = (self.num_agents, self.num_copies, 2 * self._num_pieces, learner.num_steps)
        return _Lives(parts, self._num_random, self.updates_per_round, shape)


class _Lives(Source):
    """Collections and memories, one of each a family.

    Its shape: agents, copies, pieces of a batch, and the steps of a piece.
    """

    def __init__(
        self,
        parts: Sequence[tuple[Collection, Trails]],
        num_random: int,
        num_batches: int,
        shape: tuple[int, int, int, int],
    ) -> None:
        self._parts, self._num_random = parts, num_random
        self._num_batches, self._shape = num_batches, shape

    def collect(self, number: int, seed: int) -> None:
        agents, copies, _, _ = self._shape
        for index, (collection, trails) in enumerate(self._parts):
            new = collection.collect(derive_seed(seed, index), number < self._num_random)
            trails.extend(new.exclude("task").reshape(agents, copies, -1))

    def draw(self, generator: torch.Generator) -> Sequence[TensorDictBase]:
        agents, _, pieces, length = self._shape
        num = self._num_batches * pieces
        drawn = [trails.sample(num, length, generator) for _, trails in self._parts]
        split = [part.split(pieces, 1) for part in drawn]
        return [
            TensorDict({str(index): part[number] for index, part in enumerate(split)})
            for number in range(self._num_batches)
        ]

    def state_dict(self) -> dict[str, Any]:
        return {
            str(index): {"collection": collection.state_dict(), "trails": trails.state_dict()}
            for index, (collection, trails) in enumerate(self._parts)
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for index, (collection, trails) in enumerate(self._parts):
            collection.load_state_dict(state[str(index)]["collection"])
            trails.load_state_dict(state[str(index)]["trails"])

    def close(self) -> None:
        for collection, _ in self._parts:
            collection.close()


def _checked(env: object) -> TaskFamily:
    if not isinstance(env, TaskFamily):
        raise TypeError(f"Expected `envs` to be a list of hgm.envs.TaskFamily, got {env!r}.")
    if env.discrete:
        raise ValueError(
            f"Expected families with a box of actions for a population, got {type(env).__name__}, "
            "whose actions are a few to choose from."
        )
    env.check_env()
    return env
