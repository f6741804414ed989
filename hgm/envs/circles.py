"""A point that walks to a hidden goal on one of several circles: several orbits of one group."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from hgm.checks import check_real
from hgm.envs.base import Truth
from hgm.envs.navigation import GOAL_TOLERANCE, Navigation


class Circles(Navigation):
    r"""Goals at several distances from the origin, and rewards that pin the scale.

    As :class:`Navigation` in the plane, with rewards :math:`e^{-|s' - z|^2 / 2 w^2} - 1` of a width
    `w` that all tasks share: rotations carry a task into those of its own circle, and no element of
    any linear group that the dynamics have carries it into one of another circle.

    A row of tasks is one of Navigation.

    Args:
        num_train_tasks: Number of training tasks, which take turns on the circles.
        radii: Radii of the circles, above the goal tolerance 0.1 sqrt 2, one or more.
        test_radii: Those of the test tasks; None: the same. Others are on orbits never seen.
        width: Width `w` of the rewards.
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
        num_train_tasks: int = 8,
        radii: Sequence[float] = (1.0, 2.0),
        test_radii: Sequence[float] | None = None,
        width: float = 1.0,
        noise: float = 0.05,
        reward_noise: float = 0.0,
        action_bound: str = "disc",
        max_action: float = 0.1,
        max_steps: int = 100,
    ) -> None:
        super().__init__(
            num_train_tasks=num_train_tasks,
            noise=noise,
            reward_noise=reward_noise,
            action_bound=action_bound,
            max_action=max_action,
            max_steps=max_steps,
        )
        self.radii = _check_radii("radii", radii)
        test_radii = self.radii if test_radii is None else test_radii
        self.test_radii = _check_radii("test_radii", test_radii)
        self.width = check_real("width", width, 0.0, strict=True)

    def sample_tasks(self, num: int, generator: torch.Generator) -> Tensor:
        """Goals at random angles, which take turns on the circles, ``(num, 5)``."""
        return self._taking_turns(super().sample_tasks(num, generator), self.radii)

    def reward(self, state: Tensor, tasks: Tensor) -> Tensor:
        """Noise-free reward of next states ``(..., 2)`` under tasks ``(..., 5)``."""
        far = self.distance(state, tasks)
        return torch.exp(-far.square() / (2 * self.width**2)) - 1

    def separation(self, tasks: Tensor, others: Tensor) -> Tensor:
        """Angles between goals of one circle, ``(T, N)``, in radians; pi between two circles."""
        angle = super().separation(tasks, others)
        first, second = (self.goals(rows).double().norm(dim=-1) for rows in (tasks, others))
        same = (first[:, None] - second).abs() < 1e-3
        return torch.where(same, angle, math.pi)

    def truth(self, tasks: Tensor) -> Truth:
        """The rotations, with those that turn the first task's goal to every task's direction.

        Relative to the base of its own orbit, a task's element is that of the one undone by that of
        the other.
        """
        return replace(super().truth(tasks), reward=None)

    def _test_tasks(self, num: int, generator: torch.Generator) -> Tensor:
        return self._taking_turns(super()._test_tasks(num, generator), self.test_radii)

    def _taking_turns(self, tasks: Tensor, radii: tuple[float, ...]) -> Tensor:
        turns = torch.tensor(radii)[torch.arange(len(tasks)) % len(radii), None]
        goals = torch.nn.functional.normalize(self.goals(tasks), dim=-1)
        return torch.cat((turns.to(tasks) * goals, tasks[:, 2:]), -1)


def _check_radii(name: str, radii: Sequence[float]) -> tuple[float, ...]:
    listed = [radii] if isinstance(radii, int | float) else list(radii)
    if not listed:
        raise ValueError(f"Expected `{name}` to list 1 radius or more, got none.")
    return tuple(check_real(name, value, GOAL_TOLERANCE, strict=True) for value in listed)
