"""A mass in the plane that forces drive to a hidden goal on a circle."""

from __future__ import annotations

import torch
from torch import Tensor
from torchrl.envs import EnvBase

from hgm.checks import check_int, check_real
from hgm.envs.angles import AngleFamily, turning, unit
from hgm.envs.base import MAX_STEPS, MAX_TASKS
from hgm.envs.batched import BatchedEnv
from hgm.envs.navigation import GOAL_TOLERANCE
from hgm.envs.point import bound_disc

PACE = 0.1
"""Seconds of a step."""


class DoubleIntegrator(AngleFamily):
    r"""States (x, v) of position and velocity in the plane, actions are forces on a unit mass.

    .. math::
        v' = v + 0.1\, \mathrm{disc}(a) + \sigma \xi, \quad x' = x + 0.1\, v', \quad
        r_i = -|x' - \rho\, u(\theta_i)| - c\, |a|^2,

    with :math:`u(\theta) = (\cos \theta, \sin \theta)` and forces of a disc, whatever more is
    commanded. Rewards see the position only; the group turns positions, velocities and forces
    alike. Episodes start at normal positions and velocities and terminate 0.1 sqrt 2 from the goal.

    Args:
        num_train_tasks: Number of training tasks, 2 or more.
        radius: Distance :math:`\rho` of the goals from the origin, above the goal tolerance.
        control_cost: Weight `c` of the squared force in the rewards.
        max_force: Largest force that is carried out.
        start: Standard deviation of first positions and velocities.
        noise: Standard deviation :math:`\sigma` of the velocities' noise.
        reward_noise: Standard deviation of the reward noise.
        max_steps: Truncation.

    Raises:
        ValueError: If an argument is out of range, naming it, its value and what would be right.
    """

    def __init__(
        self,
        num_train_tasks: int = 4,
        radius: float = 1.0,
        control_cost: float = 0.0,
        max_force: float = 2.0,
        start: float = 0.4,
        noise: float = 0.02,
        reward_noise: float = 0.0,
        max_steps: int = 60,
    ) -> None:
        self.num_train_tasks = check_int("num_train_tasks", num_train_tasks, 2, MAX_TASKS)
        self.radius = check_real("radius", radius, GOAL_TOLERANCE, strict=True)
        self.control_cost = check_real("control_cost", control_cost, 0.0)
        self.max_force = check_real("max_force", max_force, 0.0, strict=True)
        self.start = check_real("start", start, 0.0)
        self.noise = check_real("noise", noise, 0.0)
        self.reward_noise = check_real("reward_noise", reward_noise, 0.0)
        self.max_steps = check_int("max_steps", max_steps, 1, MAX_STEPS)

    @property
    def dim_state(self) -> int:
        """Position and velocity."""
        return 4

    @property
    def dim_action(self) -> int:
        """A force."""
        return 2

    @property
    def generators(self) -> Tensor:
        """Positions and velocities turn."""
        return turning(4, 0, 2)[None]

    @property
    def action_generators(self) -> Tensor:
        """So do forces."""
        return turning(2, 0)[None]

    def goals(self, tasks: Tensor) -> Tensor:
        """Resting at the goal, ``(..., 4)``."""
        return self.radius * torch.nn.functional.pad(unit(tasks[..., 0]), (0, 2))

    def distance(self, state: Tensor, tasks: Tensor) -> Tensor:
        """Distance of positions to the goals of tasks."""
        return (state - self.goals(tasks))[..., :2].norm(dim=-1)

    def reward(self, state: Tensor, action: Tensor, following: Tensor, tasks: Tensor) -> Tensor:
        """Minus the distance, and minus the cost of the force that is commanded."""
        return -self.distance(following, tasks) - self.control_cost * action.square().sum(-1)

    def motion(self, state: Tensor, action: Tensor, push: Tensor | float = 0.0) -> Tensor:
        """Next states; ``push`` is added to the velocities."""
        x, v = state.chunk(2, -1)
        v = v + PACE * bound_disc(action, self.max_force) + push
        return torch.cat((x + PACE * v, v), -1)

    def make_env(
        self,
        tasks: Tensor,
        num_copies: int,
        seed: int,
        device: torch.device | str | None = None,
    ) -> EnvBase:
        """A :class:`BatchedEnv`; agents may command twice the largest force in a component."""
        return BatchedEnv(
            tasks,
            num_copies,
            dim_state=4,
            high=torch.full((2,), 2 * self.max_force),
            start=lambda random, rows: self.start * random,
            step=lambda s, a, random, rows: self.motion(s, a, self.noise * random[..., :2]),
            reward=self.reward,
            done=lambda state, rows: self.distance(state, rows) <= GOAL_TOLERANCE,
            reward_noise=self.reward_noise,
            max_steps=self.max_steps,
            seed=seed,
            device=device,
        )
