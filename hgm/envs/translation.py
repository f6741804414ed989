"""A point that walks to a hidden goal anywhere in the plane: a group of translations."""

from __future__ import annotations

import math

import torch
from tensordict.nn import TensorDictModule, TensorDictModuleBase
from torch import Tensor
from torchrl.envs import EnvBase

from hgm import lie
from hgm.checks import check_int, check_real
from hgm.envs.angles import lattice
from hgm.envs.base import MAX_STEPS, MAX_TASKS, TaskFamily, Truth
from hgm.envs.batched import BatchedEnv
from hgm.envs.navigation import GOAL_TOLERANCE
from hgm.envs.point import bound_disc, step


class Translation(TaskFamily):
    r"""Steps :math:`s' = s + \mathrm{disc}(a) + \sigma \xi`, rewards :math:`r_i = -|s' - z_i|`.

    Goals are uniform in a square about the origin. Translations carry them into each other: affine
    maps, for ``group=affine``, with :math:`K_g = 1`. Turns about a goal change neither its task nor
    the dynamics. Episodes start at normal points, which are not the same seen from different goals,
    and terminate 0.1 sqrt 2 from the goal.

    A row of tasks holds the goal, ``(2,)``.

    Args:
        num_train_tasks: Number of training tasks, 2 or more; 4 or more tell two dimensions.
        extent: Half the side of the square of goals.
        max_action: Largest step.
        start: Standard deviation of first states.
        noise: Standard deviation :math:`\sigma` of the dynamics.
        reward_noise: Standard deviation of the reward noise.
        max_steps: Truncation.

    Raises:
        ValueError: If an argument is out of range, naming it, its value and what would be right.
    """

    def __init__(
        self,
        num_train_tasks: int = 6,
        extent: float = 1.0,
        max_action: float = 0.1,
        start: float = 0.7,
        noise: float = 0.05,
        reward_noise: float = 0.0,
        max_steps: int = 60,
    ) -> None:
        self.num_train_tasks = check_int("num_train_tasks", num_train_tasks, 2, MAX_TASKS)
        self.extent = check_real("extent", extent, 0.0, strict=True)
        self.max_action = check_real("max_action", max_action, 0.0, strict=True)
        self.start = check_real("start", start, 0.0)
        self.noise = check_real("noise", noise, 0.0)
        self.reward_noise = check_real("reward_noise", reward_noise, 0.0)
        self.max_steps = check_int("max_steps", max_steps, 1, MAX_STEPS)

    @property
    def dim_state(self) -> int:
        """The plane."""
        return 2

    @property
    def dim_action(self) -> int:
        """A step."""
        return 2

    def sample_tasks(self, num: int, generator: torch.Generator) -> Tensor:
        """Goals uniform in the square, ``(num, 2)``."""
        return self.extent * (2 * torch.rand(num, 2, generator=generator) - 1)

    def goals(self, tasks: Tensor) -> Tensor:
        """Goals of tasks ``(..., 2)``."""
        return tasks

    def reward(self, state: Tensor, tasks: Tensor) -> Tensor:
        """Noise-free reward of next states ``(..., 2)`` under tasks ``(..., 2)``."""
        return -(state - tasks).norm(dim=-1)

    def make_env(
        self,
        tasks: Tensor,
        num_copies: int,
        seed: int,
        device: torch.device | str | None = None,
    ) -> EnvBase:
        """A :class:`BatchedEnv`; agents may command twice the largest step in a component."""
        return BatchedEnv(
            tasks,
            num_copies,
            dim_state=2,
            high=torch.full((2,), 2 * self.max_action),
            start=lambda random, rows: self.start * random,
            step=lambda state, action, random, rows: step(
                state, action, self.noise * random, max_action=self.max_action
            ),
            reward=lambda state, action, following, rows: self.reward(following, rows),
            done=lambda state, rows: -self.reward(state, rows) <= GOAL_TOLERANCE,
            reward_noise=self.reward_noise,
            max_steps=self.max_steps,
            seed=seed,
            device=device,
        )

    def goal_policy(self, tasks: Tensor) -> TensorDictModuleBase:
        """Straight to the goal, at full speed."""

        def act(observation: Tensor, task: Tensor) -> Tensor:
            way = tasks.to(observation)[task.squeeze(-1)] - observation
            return bound_disc(way, self.max_action)

        return TensorDictModule(act, in_keys=["observation", "task"], out_keys=["action"])

    def optimal_policy(self, tasks: Tensor) -> TensorDictModuleBase:
        """The same: no policy is nearer to the goal at any time."""
        return self.goal_policy(tasks)

    def truth(self, tasks: Tensor) -> Truth:
        r"""The translations, in homogeneous coordinates, in the dtype of ``tasks``.

        Elements are defined up to turns about the base task's goal, so their error is that of what
        they do, :math:`|L z_0 - z_i|` over half the side of the square, in units of 57.3%.
        """
        generators = torch.zeros(2, 3, 3).to(tasks)
        generators[0, 0, 2] = generators[1, 1, 2] = math.sqrt(2)
        elements = lie.exp(lie.hat((tasks - tasks[:1]) / math.sqrt(2), generators))

        def error(found: Tensor) -> Tensor:
            miss = lie.act(found.to(tasks), tasks[:1])[:, 0] - tasks
            return torch.rad2deg(miss.norm(dim=-1) / self.extent)

        return Truth(
            generators=generators,
            elements=elements,
            action_generators=torch.zeros(2, 2, 2).to(tasks),
            element_error_deg=error,
            reward=lambda state: self.reward(state, tasks[:, None]),
            dynamics=lambda state, action: step(state, action, max_action=self.max_action),
        )

    def _test_tasks(self, num: int, generator: torch.Generator) -> Tensor:
        """A lattice all over the square, from a random first goal on."""
        first = torch.rand(2, generator=generator)
        return self.extent * (2 * lattice(num, first) - 1)
