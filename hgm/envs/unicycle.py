"""A unicycle that rides to a hidden goal on a circle."""

from __future__ import annotations

import torch
from torch import Tensor
from torchrl.envs import EnvBase

from hgm.checks import check_int, check_real
from hgm.envs.angles import AngleFamily, turning, unit
from hgm.envs.base import MAX_STEPS, MAX_TASKS
from hgm.envs.batched import BatchedEnv
from hgm.envs.navigation import GOAL_TOLERANCE


class Unicycle(AngleFamily):
    r"""States (x, y, cos, sin) of position and heading, actions are speed and turn rate.

    .. math::
        p' = p + d\, a_1 h, \quad h' = R(e\, a_2 + \sigma \xi)\, h, \quad
        r_i = -|p' - \rho\, u(\theta_i)|,

    with :math:`u(\theta) = (\cos \theta, \sin \theta)` and actions clipped to [-1, 1]. The group
    turns position and heading, and leaves actions alone: :math:`W_A = 0`. Episodes start at normal
    positions with uniform headings and terminate 0.1 sqrt 2 from the goal.

    Args:
        num_train_tasks: Number of training tasks, 2 or more.
        radius: Distance :math:`\rho` of the goals from the origin, above the goal tolerance.
        max_step: Largest step ``d``.
        max_turn: Largest turn ``e`` of a step, in radians.
        start: Standard deviation of first positions.
        noise: Standard deviation :math:`\sigma` of the headings' noise, in radians.
        reward_noise: Standard deviation of the reward noise.
        max_steps: Truncation.

    Raises:
        ValueError: If an argument is out of range, naming it, its value and what would be right.
    """

    def __init__(
        self,
        num_train_tasks: int = 4,
        radius: float = 1.0,
        max_step: float = 0.15,
        max_turn: float = 0.5,
        start: float = 0.5,
        noise: float = 0.02,
        reward_noise: float = 0.0,
        max_steps: int = 60,
    ) -> None:
        self.num_train_tasks = check_int("num_train_tasks", num_train_tasks, 2, MAX_TASKS)
        self.radius = check_real("radius", radius, GOAL_TOLERANCE, strict=True)
        self.max_step = check_real("max_step", max_step, 0.0, strict=True)
        self.max_turn = check_real("max_turn", max_turn, 0.0, strict=True)
        self.start = check_real("start", start, 0.0)
        self.noise = check_real("noise", noise, 0.0)
        self.reward_noise = check_real("reward_noise", reward_noise, 0.0)
        self.max_steps = check_int("max_steps", max_steps, 1, MAX_STEPS)

    @property
    def dim_state(self) -> int:
        """Position, and cosine and sine of the heading."""
        return 4

    @property
    def dim_action(self) -> int:
        """Speed and turn rate."""
        return 2

    @property
    def generators(self) -> Tensor:
        """Position and heading turn."""
        return turning(4, 0, 2)[None]

    @property
    def action_generators(self) -> Tensor:
        """Speeds and turn rates are the same in all directions."""
        return torch.zeros(1, 2, 2, dtype=torch.float64)

    def goals(self, tasks: Tensor) -> Tensor:
        """The goal, looking outwards, ``(..., 4)``."""
        heading = unit(tasks[..., 0])
        return torch.cat((self.radius * heading, heading), -1)

    def distance(self, state: Tensor, tasks: Tensor) -> Tensor:
        """Distance of positions to the goals of tasks."""
        return (state - self.goals(tasks))[..., :2].norm(dim=-1)

    def reward(self, state: Tensor, action: Tensor, following: Tensor, tasks: Tensor) -> Tensor:
        """Minus the distance."""
        return -self.distance(following, tasks)

    def motion(self, state: Tensor, action: Tensor, turned: Tensor | float = 0.0) -> Tensor:
        """Next states; ``turned`` radians are added to the turn."""
        (position, heading), action = state.chunk(2, -1), action.clamp(-1.0, 1.0)
        angle = self.max_turn * action[..., 1] + turned
        cosine, sine = angle.cos()[..., None], angle.sin()[..., None]
        side = torch.stack((-heading[..., 1], heading[..., 0]), -1)
        position = position + self.max_step * action[..., :1] * heading
        return torch.cat((position, cosine * heading + sine * side), -1)

    def make_env(
        self,
        tasks: Tensor,
        num_copies: int,
        seed: int,
        device: torch.device | str | None = None,
    ) -> EnvBase:
        """A :class:`BatchedEnv` of batch size ``(N, num_copies)``."""

        def start(random: Tensor, rows: Tensor) -> Tensor:
            heading = torch.nn.functional.normalize(random[..., 2:], dim=-1)  # uniform
            return torch.cat((self.start * random[..., :2], heading), -1)

        return BatchedEnv(
            tasks,
            num_copies,
            dim_state=4,
            high=torch.ones(2),
            start=start,
            step=lambda s, a, random, rows: self.motion(s, a, self.noise * random[..., 0]),
            reward=self.reward,
            done=lambda state, rows: self.distance(state, rows) <= GOAL_TOLERANCE,
            reward_noise=self.reward_noise,
            max_steps=self.max_steps,
            seed=seed,
            device=device,
        )
