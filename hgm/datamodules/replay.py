"""Transitions that a policy in training gathers, replayed at random."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from lightning import LightningDataModule
from tensordict import TensorDictBase
from torch import Tensor
from torchrl.data import Bounded

from hgm.checks import check_int
from hgm.datamodules.base import Batches
from hgm.datamodules.collection import Collection
from hgm.datamodules.episodes import Episodes
from hgm.datamodules.rounds import Rounds, derive_seed
from hgm.envs.base import TaskFamily
from hgm.geometry import Geometry, load_geometry

NUM_ENVS = 64
"""Environments that run side by side in every process, shared out among the tasks."""

_VAL, _TEST = 1, 2
"""Purposes of seeds."""


class Replay(LightningDataModule):
    """Rounds of collecting with the policy in training, and of replaying what was collected.

    A round runs :data:`NUM_ENVS` environments for as many steps as ``frames_per_batch`` asks for,
    and yields ``updates_per_batch`` batches ``[B]`` drawn from the buffer. Without a geometry the
    base task runs alone. With one, all training tasks run, and count as the base task: see
    :class:`hgm.datamodules.collection.Collection`. Validation and test run episodes of the base
    task, with the policy and with the optimum from the same starts under the same noise.

    The LightningModule has an attribute ``actor``, from ``observation`` to ``action``. Frames and
    batches are counted per process; every process has its own environments and buffer. Training
    seeds torch's global generator when it starts, from which exploration and losses draw. A resumed
    run goes on exactly where its checkpoint was written.

    Args:
        family: Where tasks and environments come from.
        num_frames: Transitions collected in all, the last round rounded up.
        frames_per_batch: Transitions collected in a round, rounded to steps of all environments.
        updates_per_batch: Batches that a round yields.
        batch_size: Transitions in a batch.
        random_frames: Transitions at the start, in whole rounds, whose actions are uniform.
        buffer_size: Transitions that are kept.
        num_eval_episodes: Episodes of a validation, and of a test.
        geometry: What a discovery found on the training tasks of the same family and seed, or its
            run folder; None, like a trivial group, trains on the base task alone.
        seed: Seed of tasks, environments, exploration and replay.

    Attributes:
        tasks: Hidden parameters of the tasks that run, ``(N, k)``.
        dim_state: State dimension ``n``.
        dim_action: Action dimension ``m``.
        box: Least and largest actions, ``(2, m)``.
        num_frames: Transitions in all, in whole rounds.
        num_updates: Batches in all.

    Raises:
        TypeError: If ``family`` is not a TaskFamily.
        ValueError: If an argument is out of range, or the geometry is not one of this family.
    """

    def __init__(
        self,
        family: TaskFamily,
        num_frames: int = 65_536,
        frames_per_batch: int = 1024,
        updates_per_batch: int = 32,
        batch_size: int = 256,
        random_frames: int = 2048,
        buffer_size: int = 100_000,
        num_eval_episodes: int = 100,
        geometry: str | Path | Geometry | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if not isinstance(family, TaskFamily):
            raise TypeError(f"Expected `family` to be a hgm.envs.TaskFamily, got {family!r}.")
        self.family = family
        self.updates_per_batch = check_int("updates_per_batch", updates_per_batch, 1)
        self.batch_size = check_int("batch_size", batch_size, 1)
        self.seed = check_int("seed", seed, 0)
        self.geometry = _check_geometry(geometry, family)
        tasks = family.train_tasks(self.seed)
        self.tasks = tasks[:1] if self.geometry is None else tasks
        self.num_tasks = len(self.tasks)
        self.dim_state, self.dim_action = family.dim_state, family.dim_action
        self.box = _action_box(family, tasks[:1])
        self._num_copies = max(1, NUM_ENVS // self.num_tasks)
        envs = self.num_tasks * self._num_copies
        self._num_steps = max(1, round(check_int("frames_per_batch", frames_per_batch, 1) / envs))
        frames = envs * self._num_steps
        self._num_rounds = math.ceil(check_int("num_frames", num_frames, 1) / frames)
        self._num_random_rounds = math.ceil(check_int("random_frames", random_frames, 0) / frames)
        self.num_frames = self._num_rounds * frames
        self.num_updates = self._num_rounds * self.updates_per_batch
        self._buffer_size = min(check_int("buffer_size", buffer_size, frames), self.num_frames)
        self._rounds: Rounds | None = None
        self._restored: dict[str, Any] | None = None
        episodes = check_int("num_eval_episodes", num_eval_episodes, 1)
        self._val, self._test = (
            Episodes(family, tasks[:1], episodes, derive_seed(self.seed, purpose))
            for purpose in (_VAL, _TEST)
        )

    def train_dataloader(self) -> Batches:
        """Batches ``[B]`` of transitions of the base task, as many as :attr:`num_updates`."""
        return _Resumable(self.num_updates, self._train)

    def val_dataloader(self) -> Batches:
        """One batch ``[E]``: see :meth:`hgm.datamodules.episodes.Episodes.score`."""
        return Batches(1, lambda: self._score(self._val))

    def test_dataloader(self) -> Batches:
        """Like :meth:`val_dataloader`, with other starts and noise."""
        return Batches(1, lambda: self._score(self._test))

    def teardown(self, stage: str | None = None) -> None:
        """Closes the environments; the state stays."""
        if self._rounds is not None:
            self._rounds.close()

    def state_dict(self) -> dict[str, Any]:
        """What every process needs to go on exactly; empty before training."""
        if self._rounds is None:
            return {}
        own = self._rounds.state_dict()
        ranks = [own] * self._world_size
        if self._world_size > 1:  # Lightning writes what the first process returns, and no other
            dist.all_gather_object(ranks, own)
        return {"ranks": ranks}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keeps the state until training starts.

        Raises:
            ValueError: If another number of processes wrote it.
        """
        ranks = state_dict["ranks"]
        if len(ranks) != self._world_size:
            raise ValueError(
                f"Expected a checkpoint of {self._world_size} processes, but {len(ranks)} wrote it."
            )
        self._restored = ranks[self._rank]

    def _train(self) -> Iterator[TensorDictBase]:
        """Starts anew or as restored, when the first batch is asked for: Lightning iterates twice.

        Raises:
            ValueError: If training is resumed without the state of this DataModule.
        """
        trainer = self.trainer
        assert trainer is not None
        if self._restored is None and trainer.global_step > 0:
            raise ValueError(
                f"Expected a checkpoint with the state of {type(self).__name__}, but it has none: "
                "what was collected before is lost, so that training cannot go on exactly."
            )
        device = trainer.strategy.root_device
        env = self.family.make_env(self.tasks, self._num_copies, self.seed, device)
        actor = trainer.lightning_module.actor
        self._rounds = Rounds(
            Collection(env, actor, self._num_steps, self.geometry),
            self._num_rounds,
            self._num_random_rounds,
            (self.updates_per_batch, self.batch_size),
            self._buffer_size,
            (self.seed, self._rank),
            device,
        )
        if self._restored is not None:
            self._rounds.load_state_dict(self._restored)
            self._restored = None
        yield from self._rounds

    def _score(self, episodes: Episodes) -> Iterator[TensorDictBase]:
        assert self.trainer is not None
        yield episodes.score(self.trainer.lightning_module.actor, self.trainer.strategy.root_device)

    @property
    def _rank(self) -> int:
        return 0 if self.trainer is None else self.trainer.global_rank

    @property
    def _world_size(self) -> int:
        return 1 if self.trainer is None else self.trainer.world_size


class _Resumable(Batches):
    """Tells Lightning that iteration goes on where it was: the DataModule keeps the state."""

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        pass


def _check_geometry(value: Any, family: TaskFamily) -> Geometry | None:
    """A geometry with a group, for the family's training tasks; None if the group is trivial."""
    if value is None:
        return None
    geometry = value if isinstance(value, Geometry) else load_geometry(value)
    found = (len(geometry.coords), geometry.dim_state, geometry.dim_action)
    expected = (family.num_train_tasks, family.dim_state, family.dim_action)
    if found != expected:
        raise ValueError(
            f"Expected `geometry` of {expected[0]} training tasks with state dimension "
            f"{expected[1]} and action dimension {expected[2]}, got {found}: it must come from "
            "the same family."
        )
    return geometry if geometry.dim_algebra > 0 else None


def _action_box(family: TaskFamily, task: Tensor) -> Tensor:
    """Least and largest actions ``(2, m)`` of a family."""
    env = family.make_env(task, 1, 0)
    spec = env.action_spec
    env.close()
    if not isinstance(spec, Bounded):
        raise ValueError(f"Expected `family` with bounded actions, got the spec {spec}.")
    return torch.stack((spec.space.low, spec.space.high))[:, 0, 0].cpu()
