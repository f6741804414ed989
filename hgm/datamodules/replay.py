"""Transitions that a policy in training gathers, replayed at random."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from tensordict import TensorDictBase

from hgm.checks import check_entries, check_int
from hgm.datamodules.base import Batches
from hgm.datamodules.collection import Collection
from hgm.datamodules.episodes import Episodes
from hgm.datamodules.learner import learner_of
from hgm.datamodules.memory import Memory
from hgm.datamodules.rounds import Source
from hgm.datamodules.streamed import MAX_BUFFER, MAX_FRAMES, MAX_ROUND, NUM_ENVS, Streamed
from hgm.datamodules.trails import Trails
from hgm.envs.base import TaskFamily
from hgm.geometry import Geometry, load_geometry
from hgm.numerics.seeds import derive_seed

_VAL, _TEST = 1, 2
"""Purposes of seeds."""


class Replay(Streamed):
    """Rounds of collecting with the policy in training, and of replaying what was collected.

    A round runs 64 environments for as many steps as ``frames_per_batch`` asks for, and draws
    ``updates_per_batch`` batches ``[B]`` from the buffer, of which it yields up to ``K`` at once,
    ``[K, B]``. Without a geometry the base task runs alone. With one, all training tasks run, and
    count as the base task: see :class:`hgm.datamodules.collection.Collection`. With ``test_task``,
    that one runs alone, and is the base task: what comes out is a reference for meta-tests.
    Validation and test run episodes of the base task, with the policy and with the optimum from the
    same starts under the same noise.

    The LightningModule has an attribute ``actor``, see :class:`hgm.datamodules.learner.Learner`.
    Where its ``num_steps`` is ``T`` above 1 it learns from pieces of trajectories: batches are then
    ``[K, B / T, T]``, the same number of transitions.

    Args:
        family: Where tasks and environments come from.
        num_frames: Transitions collected in all, the last round rounded up.
        frames_per_batch: Transitions collected in a round, rounded to steps of all environments.
        updates_per_batch: Batches that a round draws.
        updates_per_step: Batches ``K`` that a step of Lightning is given, an update each: its own
            work, a tenth or more of an update's, is then done once for all. ``global_step`` and
            ``max_steps`` count updates; callbacks, checkpoints and the end that ``max_steps`` sets
            come after whole steps.
        batch_size: Transitions in a batch.
        random_frames: Transitions at the start, in whole rounds, whose actions are uniform.
        buffer_size: Transitions that are kept.
        num_eval_episodes: Episodes of a validation, and of a test.
        geometry: What a discovery found on the training tasks of the same family and seed, or its
            run folder; None, or one whose verdict is neither found nor approximate, trains on the
            base task alone.
        orbit: Where the geometry has several orbits: whose base task the policy is for, counted
            from 0. The tasks of this orbit run.
        test_task: Which of the test tasks is the base task, counted from 0; None: a training task.
        num_test_tasks: How many test tasks there are; as many as in the meta-test.
        seed: Seed of tasks, environments, exploration and replay.
        allow: Packages besides hgm whose charts the geometry's file may name.

    Attributes:
        tasks: Hidden parameters of the tasks that run, ``(N, k)``.

    Raises:
        TypeError: If ``family`` is not a TaskFamily.
        ValueError: If an argument is out of range, the geometry is not one of this family, or there
            are both a geometry and a test task.
    """

    def __init__(
        self,
        family: TaskFamily,
        num_frames: int = 65_536,
        frames_per_batch: int = 1024,
        updates_per_batch: int = 32,
        updates_per_step: int = 8,
        batch_size: int = 256,
        random_frames: int = 2048,
        buffer_size: int = 100_000,
        num_eval_episodes: int = 100,
        geometry: str | Path | Geometry | None = None,
        orbit: int = 0,
        test_task: int | None = None,
        num_test_tasks: int = 20,
        seed: int = 0,
        allow: Sequence[str] = (),
    ) -> None:
        super().__init__(family, seed)
        whole = _check_geometry(geometry, family, allow)
        check_int("orbit", orbit, 0, 0 if whole is None else whole.num_orbits - 1)
        self.geometry = None if whole is None else whole.orbit(orbit)
        if whole is not None and whole.orbits:
            self.tasks = self.tasks[list(whole.orbits[orbit].tasks)]
        if test_task is not None:
            check_int("num_test_tasks", num_test_tasks, 1, 100_000)
            check_int("test_task", test_task, 0, num_test_tasks - 1)
            if geometry is not None:
                raise ValueError(
                    f"Expected `geometry` or `test_task`, got both ({test_task!r}): a reference is "
                    "trained on its test task alone."
                )
            self.tasks = family.test_tasks(num_test_tasks, self.seed)[test_task:]
        base = self.tasks[:1]
        self.tasks = base if self.geometry is None else self.tasks
        self._num_copies = max(1, NUM_ENVS // len(self.tasks))
        envs = len(self.tasks) * self._num_copies
        check_int("frames_per_batch", frames_per_batch, 1, MAX_ROUND)
        self._num_steps = max(1, round(frames_per_batch / envs))
        self.frames_per_round = envs * self._num_steps
        check_int("num_frames", num_frames, 1, MAX_FRAMES)
        self.num_rounds = math.ceil(num_frames / self.frames_per_round)
        self.updates_per_round = check_int("updates_per_batch", updates_per_batch, 1, MAX_ROUND)
        self.updates_per_step = check_int("updates_per_step", updates_per_step, 1, MAX_ROUND)
        self.batch_size = check_int("batch_size", batch_size, 1, MAX_ROUND)
        num = self.updates_per_round * self.batch_size
        check_entries("`updates_per_batch` * `batch_size`", num, MAX_BUFFER)
        self._random_frames = check_int("random_frames", random_frames, 0, MAX_FRAMES)
        check_int("buffer_size", buffer_size, self.frames_per_round, MAX_BUFFER)
        self._buffer_size = min(buffer_size, self.num_frames)
        episodes = check_int("num_eval_episodes", num_eval_episodes, 1, 1_000_000)
        self._val, self._test = (
            Episodes(family, base, episodes, derive_seed(self.seed, purpose))
            for purpose in (_VAL, _TEST)
        )
        self.sizes = self._measured("replay")

    def val_dataloader(self) -> Batches:
        """One batch ``[E]``: see :meth:`hgm.datamodules.episodes.Episodes.score`."""
        return Batches(1, lambda: self._score(self._val))

    def test_dataloader(self) -> Batches:
        """Like :meth:`val_dataloader`, with other starts and noise."""
        return Batches(1, lambda: self._score(self._test))

    def _source(self, device: torch.device) -> Source:
        actor = learner_of(self, "actor").actor
        env = self.family.make_env(self.tasks, self._num_copies, self.seed, device)
        collection = Collection(env, actor, self._num_steps, self.geometry)
        num_random = math.ceil(self._random_frames / self.frames_per_round)
        shape = (self.updates_per_round, self.batch_size)
        together, length = self.updates_per_step, getattr(learner_of(self), "num_steps", 1)
        if length > 1:
            envs = len(self.tasks) * self._num_copies
            trails = Trails(self._buffer_size // envs, device)
            return _Pieces(collection, trails, shape, together, num_random, envs, length)
        memory = Memory(self._buffer_size, device)
        return _Replayed(collection, memory, shape, together, num_random)

    def _score(self, episodes: Episodes) -> Iterator[TensorDictBase]:
        yield episodes.score(learner_of(self, "actor").actor, self.device)


class _Replayed(Source):
    """Transitions of a collection, of which every round replays so many batches, some together."""

    def __init__(
        self,
        collection: Collection,
        memory: Memory | Trails,
        shape: tuple[int, int],
        num_together: int,
        num_random: int,
    ) -> None:
        self._collection, self._memory = collection, memory
        self._shape, self._num_together, self._num_random = shape, num_together, num_random

    def collect(self, number: int, seed: int) -> None:
        new = self._collection.collect(seed, number < self._num_random)
        self._keep(new.exclude("task"))

    def draw(self, generator: torch.Generator) -> Sequence[TensorDictBase]:
        # All batches of a round at once: ten times as fast as one by one.
        return self._draw(generator).split(self._num_together)

    def _keep(self, new: TensorDictBase) -> None:
        self._memory.extend(new)

    def _draw(self, generator: torch.Generator) -> TensorDictBase:
        assert isinstance(self._memory, Memory)
        return self._memory.sample(math.prod(self._shape), generator).reshape(self._shape)

    def state_dict(self) -> dict[str, Any]:
        return {"memory": self._memory.state_dict(), "collection": self._collection.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._memory.load_state_dict(state["memory"])
        self._collection.load_state_dict(state["collection"])

    def close(self) -> None:
        self._collection.close()


class _Pieces(_Replayed):
    """The same of pieces of trajectories, of so many steps each."""

    def __init__(
        self,
        collection: Collection,
        memory: Trails,
        shape: tuple[int, int],
        num_together: int,
        num_random: int,
        num_envs: int,
        length: int,
    ) -> None:
        super().__init__(collection, memory, shape, num_together, num_random)
        self._num_envs, self._length = num_envs, length

    def _keep(self, new: TensorDictBase) -> None:
        self._memory.extend(new.reshape(1, self._num_envs, -1))

    def _draw(self, generator: torch.Generator) -> TensorDictBase:
        assert isinstance(self._memory, Trails)
        updates, size = self._shape
        num = max(1, size // self._length)
        rows = self._memory.sample(updates * num, self._length, generator)[0]
        return rows.unflatten(0, (updates, num))


def _check_geometry(value: Any, family: TaskFamily, allow: Sequence[str]) -> Geometry | None:
    """A geometry that may be used, of the family's training tasks; None otherwise."""
    if value is None:
        return None
    geometry = value if isinstance(value, Geometry) else load_geometry(value, allow)
    found = (len(geometry.coords), geometry.dim_state, geometry.dim_action)
    expected = (family.num_train_tasks, family.dim_state, family.dim_action)
    if found != expected:
        raise ValueError(
            f"Expected `geometry` of {expected[0]} training tasks with state dimension "
            f"{expected[1]} and action dimension {expected[2]}, got {found}: it must come from "
            "the same family."
        )
    return geometry if geometry.usable else None
