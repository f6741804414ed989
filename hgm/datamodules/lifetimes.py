"""Whole lives of the members of a generation, and how they fared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor

from hgm.checks import check_entries, check_int
from hgm.datamodules.learner import learner_of
from hgm.datamodules.rounds import Source
from hgm.datamodules.streamed import MAX_BUFFER, MAX_ROUND, Streamed
from hgm.envs.base import TaskFamily
from hgm.envs.discrete import DiscreteFamily
from hgm.envs.lifetimes import live
from hgm.numerics.seeds import derive_seed

_PURPOSE = 3


class Lifetimes(Streamed):
    r"""One batch a generation: the lives of all its members, every one in the same new tasks.

    Generation ``g`` lives in the family ``g`` modulo their number, in ``num_lives`` tasks drawn
    anew. Members of a generation, on whatever process, meet the same tasks, the same memories at
    birth and the same random numbers: their fitness differs by what they do. Processes share the
    members out, so that the batches of all of them together are those of a single one; frames are
    counted over all of them.

    Batches ``[P, L]`` have the keys ``reward (2,)``: mean rewards per step of the first and of the
    second half of a life. The LightningModule makes the members, see
    :class:`hgm.datamodules.learner.Learner`.

    Args:
        family: Where the meta-test takes place, and the training if there are no ``envs``.
        envs: Families of the training, of whatever sizes; none: ``family``.
        num_generations: Generations in all.
        num_members: Members of a generation on all processes together; every process has an even
            number.
        num_lives: Lives of every member in a generation.
        num_steps: Steps of a life, through the ends of its episodes.
        seed: Seed of tasks, lives and memories at birth.

    Attributes:
        envs: See above.
        num_members: See above.

    Raises:
        TypeError: If a family is none.
        ValueError: If an argument is out of range, or a family's actions are not discrete.
    """

    def __init__(
        self,
        family: TaskFamily,
        envs: Sequence[TaskFamily] | None = None,
        num_generations: int = 3000,
        num_members: int = 256,
        num_lives: int = 16,
        num_steps: int = 100,
        seed: int = 0,
    ) -> None:
        super().__init__(family, seed)
        self.envs = [_checked(env) for env in (envs or [family])]
        self.num_rounds = check_int("num_generations", num_generations, 1, MAX_ROUND)
        self.updates_per_round = 1
        self.num_members = check_int("num_members", num_members, 2, MAX_ROUND)
        if self.num_members % 2:
            raise ValueError(f"Expected `num_members` to be even, got {num_members}.")
        self._num_lives = check_int("num_lives", num_lives, 1, MAX_ROUND)
        self._num_steps = check_int("num_steps", num_steps, 2, MAX_ROUND)
        self.frames_per_round = self.num_members * self._num_lives * self._num_steps
        what = "`num_members` * `num_lives` * `num_steps`"
        check_entries(what, self.frames_per_round, MAX_BUFFER)
        self.sizes = self._measured("lifetimes")

    def _source(self, device: torch.device) -> Source:
        learner_of(self, "members")
        if self.num_members % self._world_size:
            raise ValueError(
                f"Expected `num_members` to be a multiple of {self._world_size}, the number of "
                f"processes, got {self.num_members}."
            )
        return _Generation(self, device)

    def run(self, generation: int, device: torch.device) -> Tensor:
        """Mean rewards of both halves of all lives of this process's members, ``(P, L, 2)``."""
        family = self.envs[generation % len(self.envs)]
        world = (self._rank, self._world_size)
        population = learner_of(self).members(generation, self.num_members, *world)
        generator = torch.Generator()
        generator.manual_seed(derive_seed(self.seed, _PURPOSE, generation))
        tasks = family.sample_tasks(self._num_lives, generator).to(device)
        population.begin(self._num_lives, family.dim_state, family.dim_action, generator)
        there = torch.Generator(device).manual_seed(derive_seed(self.seed, _PURPOSE, generation, 1))
        num_own = self.num_members // self._world_size
        rewards = live(family, tasks, population, num_own, self._num_steps, there)
        halves = rewards.tensor_split(2, -1)
        return torch.stack([half.mean(-1) for half in halves], -1)


class _Generation(Source):
    """Source of one batch; between generations nothing is kept."""

    def __init__(self, data: Lifetimes, device: torch.device) -> None:
        self._data, self._device = data, device

    def collect(self, number: int, seed: int) -> None:
        # Not by the seed, which differs from process to process.
        self._reward = self._data.run(number, self._device)

    def draw(self, generator: torch.Generator) -> Sequence[TensorDictBase]:
        return [TensorDict(reward=self._reward, batch_size=self._reward.shape[:2])]

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass

    def close(self) -> None:
        pass


def _checked(env: object) -> DiscreteFamily:
    if not isinstance(env, TaskFamily):
        raise TypeError(f"Expected `envs` to be a list of hgm.envs.TaskFamily, got {env!r}.")
    if not isinstance(env, DiscreteFamily):
        raise ValueError(
            f"Expected a family with a few actions to choose from for a life, got "
            f"{type(env).__name__}: choose env=bandit, grid_world, cartpole, acrobot or "
            "mountain_car."
        )
    return env
