"""Task families without a hereditary group: the negative controls."""

from __future__ import annotations

import math

import torch
from tensordict.nn import TensorDictModule, TensorDictModuleBase
from torch import Tensor
from torchrl.envs import EnvBase

from hgm.checks import check_choice, check_int, check_real
from hgm.envs.base import MAX_STEPS, MAX_TASKS, TaskFamily
from hgm.envs.point import BOUNDS, PointEnv, bound_disc


def _triangle(x: Tensor, y: Tensor) -> Tensor:
    angles = [2 * math.pi * k / 3 for k in range(3)]
    return -torch.stack([math.cos(a) * x + math.sin(a) * y for a in angles]).amax(0)


def _bumps(x: Tensor, y: Tensor) -> Tensor:
    first = torch.exp(-4 * ((x - 0.6) ** 2 + y**2))
    return first + 0.6 * torch.exp(-4 * ((x + 0.6) ** 2 + y**2))


SHAPES = {
    "bowl": (lambda x, y: -torch.hypot(x, y), (0.0, 0.0)),
    "ridge": (lambda x, y: -y.abs(), (0.0, 0.0)),
    "bumps": (_bumps, (0.6, 0.0)),
    "ring": (lambda x, y: -(torch.hypot(x, y) - 0.6).abs(), (0.6, 0.0)),
    "saddle": (lambda x, y: torch.tanh(x**2 - y**2), (1.5, 0.0)),
    "triangle": (_triangle, (0.0, 0.0)),
    "eggbox": (lambda x, y: torch.cos(3 * x) + torch.cos(3 * y), (0.0, 0.0)),
    "banana": (lambda x, y: -(y - 1.5 * x**2).abs() - 0.2 * x.abs(), (0.0, 0.0)),
}
"""Rewards in local coordinates x, y, and a point where each is largest (saddle: nearly)."""


class Scattered(TaskFamily):
    r"""Point mass in the plane whose tasks share dynamics and nothing else.

    * ``kind="shapes"``: a bowl, a ridge, two bumps, a ring, a saddle, a triangle, an egg box, a
      banana, each moved and turned at random. Their level sets differ in form, so that no linear
      map carries one reward into another. Up to eight tasks all differ; then shapes repeat.
    * ``kind="quadrics"``: :math:`-(p - z_i)^T M_i (p - z_i)` with unrelated positive definite
      :math:`M_i` (condition numbers spread over 1 to 5) and centres. Any *two* are related by a
      linear map, the tasks as a whole by no group of dimension below N - 1: the harder control.

    Episodes never terminate. The last two columns of a row of tasks are a point of large reward.

    Args:
        num_train_tasks: Number of training tasks, 2 or more.
        kind: ``"shapes"`` or ``"quadrics"``.
        radius: Centres lie at 0.5 to 1.5 times this distance from the origin.
        noise: Standard deviation of start and dynamics.
        reward_noise: Standard deviation of the reward noise.
        action_bound: ``"disc"`` or ``"box"``.
        max_action: Largest step.
        max_steps: Truncation.

    Raises:
        ValueError: If an argument is out of range, naming it, its value and what would be right.
    """

    def __init__(
        self,
        num_train_tasks: int = 4,
        kind: str = "shapes",
        radius: float = 1.0,
        noise: float = 0.05,
        reward_noise: float = 0.0,
        action_bound: str = "disc",
        max_action: float = 0.1,
        max_steps: int = 100,
    ) -> None:
        self.num_train_tasks = check_int("num_train_tasks", num_train_tasks, 2, MAX_TASKS)
        self.kind = check_choice("kind", kind, ["shapes", "quadrics"])
        self.radius = check_real("radius", radius, 0.0, strict=True)
        self.noise = check_real("noise", noise, 0.0)
        self.reward_noise = check_real("reward_noise", reward_noise, 0.0)
        self.action_bound = check_choice("action_bound", action_bound, list(BOUNDS))
        self.max_action = check_real("max_action", max_action, 0.0, strict=True)
        self.max_steps = check_int("max_steps", max_steps, 1, MAX_STEPS)

    @property
    def dim_state(self) -> int:
        """State dimension, 2."""
        return 2

    @property
    def dim_action(self) -> int:
        """Action dimension, 2."""
        return 2

    def sample_tasks(self, num: int, generator: torch.Generator) -> Tensor:
        """Rows of centre (2), angle, shape or condition number, scale, best point (2)."""
        random = torch.rand(num, 4, generator=generator)
        centre = self.radius * (0.5 + random[:, :1]) * _unit(2 * math.pi * random[:, 1])
        angle = 2 * math.pi * random[:, 2]
        order = torch.randperm(max(num, len(SHAPES)), generator=generator)
        if self.kind == "shapes":
            form = order[: len(SHAPES)].argsort()[torch.arange(num) % len(SHAPES)]
            best = torch.tensor([best for _, best in SHAPES.values()])[form]
            best = centre + _turn(best, angle)
            scale = torch.ones(num)
        else:
            # One condition number from each of num equal strata of 1 to 5, on a log scale.
            form = 5 ** ((order[order < num] + random[:, 3]) / num)
            scale = 4 ** (torch.rand(num, generator=generator) - 0.5)
            best = centre
        return torch.cat((centre, torch.stack((angle, form, scale), -1), best), -1)

    def reward(self, state: Tensor, tasks: Tensor) -> Tensor:
        """Noise-free reward of next states ``(..., 2)`` under tasks ``(..., 7)``."""
        angle, form, scale = tasks[..., 2:5].unbind(-1)
        x, y = _turn(state - tasks[..., :2], -angle).unbind(-1)
        if self.kind == "quadrics":
            return -scale * (x**2 + form * y**2)
        every = torch.stack([shape(x, y) for shape, _ in SHAPES.values()], -1)
        index = form.long().expand(every.shape[:-1])
        return every.gather(-1, index[..., None]).squeeze(-1)

    def make_env(
        self,
        tasks: Tensor,
        num_copies: int,
        seed: int,
        device: torch.device | str | None = None,
    ) -> EnvBase:
        """A :class:`PointEnv` of batch size ``(N, num_copies)``."""
        return PointEnv(
            tasks,
            num_copies,
            dim_state=2,
            reward=self.reward,
            bound=BOUNDS[self.action_bound],
            max_action=self.max_action,
            noise=self.noise,
            reward_noise=self.reward_noise,
            max_steps=self.max_steps,
            seed=seed,
            device=device,
        )

    def goals(self, tasks: Tensor) -> Tensor:
        """Points of large reward of tasks ``(..., 7)``, shape ``(..., 2)``."""
        return tasks[..., -2:]

    def goal_policy(self, tasks: Tensor) -> TensorDictModuleBase:
        """Straight to the point of large reward."""

        def act(observation: Tensor, task: Tensor) -> Tensor:
            best = self.goals(tasks).to(observation)[task.squeeze(-1)]
            return bound_disc(best - observation, self.max_action)

        return TensorDictModule(act, in_keys=["observation", "task"], out_keys=["action"])


def _unit(angle: Tensor) -> Tensor:
    return torch.stack((angle.cos(), angle.sin()), -1)


def _turn(vectors: Tensor, angle: Tensor) -> Tensor:
    """Rotate plane vectors ``(..., 2)`` by angles ``(...)``."""
    x, y = vectors.unbind(-1)
    cosine, sine = angle.cos(), angle.sin()
    return torch.stack((cosine * x - sine * y, sine * x + cosine * y), -1)
