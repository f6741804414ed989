"""An arm of two links that reaches for a hidden goal on a circle."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hgm.checks import check_real
from hgm.envs.angles import AngleFamily, turning, unit
from hgm.envs.mujoco import MujocoFamily

LINKS = (0.1, 0.11)
"""Lengths of the links, in m."""


class Reacher(MujocoFamily, AngleFamily):
    r"""Gymnasium's Reacher-v5 with goals :math:`z_i = \rho\, u(\theta_i)` that nobody sees.

    States are (cos q, sin q, q', fingertip) of the joints' angles q, in R^8; actions are torques in
    [-1, 1]^2; rewards are :math:`-|f - z_i| - c |a|^2` of the next state's fingertip f. The group
    turns the first joint: (cos q_1, sin q_1) and the fingertip, and no action. Episodes do not
    terminate.

    Two differences: Gymnasium shows and rewards the fingertip of MuJoCo's last intermediate stage
    of integration, here it is that of the state; and episodes start with the first joint anywhere,
    not within 0.1 of zero, so that starts are an orbit of the group.

    Args:
        num_train_tasks: Number of training tasks, 2 or more.
        radius: Distance :math:`\rho` of the goals from the base, at most 0.21 to be in reach.
        start_angle: The first joint starts uniformly in this distance from zero, in radians;
            Gymnasium's is 0.1.
        control_cost: Factor ``c`` of the control cost; 1 is what Gymnasium runs with, though its
            page says 0.1.
        max_steps: Truncation.
        num_threads: Threads that simulate; None: one for every core that the process may use.

    Raises:
        ModuleNotFoundError: If MuJoCo is not installed.
        ValueError: If an argument is out of range, naming it, its value and what would be right.
    """

    def __init__(
        self,
        num_train_tasks: int = 4,
        radius: float = 0.15,
        start_angle: float = math.pi,
        control_cost: float = 1.0,
        max_steps: int = 50,
        num_threads: int | None = None,
    ) -> None:
        super().__init__(
            "reacher.xml", 2, num_train_tasks, max_steps, num_threads, remove=["target"]
        )
        self.radius = check_real("radius", radius, 0.0, strict=True)
        if self.radius > sum(LINKS):
            raise ValueError(f"Expected `radius` to be in reach, at most 0.21, got {radius!r}.")
        self.start_angle = check_real("start_angle", start_angle, 0.0)
        self.control_cost = check_real("control_cost", control_cost, 0.0)

    @property
    def dim_state(self) -> int:
        """Cosines and sines of the angles, their velocities, and the fingertip."""
        return 8

    @property
    def generators(self) -> Tensor:
        """The first joint's cosine and sine turn, and the fingertip."""
        return turning(8, (0, 2), 6)[None]

    @property
    def action_generators(self) -> Tensor:
        """Torques are the same in all directions."""
        return torch.zeros(1, 2, 2, dtype=torch.float64)

    def observation(self, qpos: Tensor, qvel: Tensor) -> Tensor:
        """Joints and fingertip."""
        tip = LINKS[0] * unit(qpos[..., 0]) + LINKS[1] * unit(qpos.sum(-1))
        return torch.cat((qpos.cos(), qpos.sin(), qvel, tip), -1)

    def goals(self, tasks: Tensor) -> Tensor:
        """The stretched arm's direction, at rest, with the fingertip at the goal, ``(..., 8)``."""
        direction, zero = unit(tasks[..., 0]), torch.zeros_like(tasks[..., 0])
        parts = (direction[..., 0], zero + 1, direction[..., 1], zero, zero, zero)
        return torch.cat((torch.stack(parts, -1), self.radius * direction), -1)

    def reward(self, state: Tensor, action: Tensor, following: Tensor, tasks: Tensor) -> Tensor:
        """Minus the fingertip's distance to the goal, in m, and minus the control cost."""
        way = following[..., 6:] - self.radius * unit(tasks[..., 0])
        return -way.norm(dim=-1) - self.control_cost * action.square().sum(-1)

    def start(self, num: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """First joint within ``start_angle``, second within 0.1, velocities within 0.005."""
        random = 2 * torch.rand(num, 4, generator=generator, dtype=torch.float64) - 1
        qpos, qvel = random.split(2, -1)
        return qpos * torch.tensor([self.start_angle, 0.1]), 0.005 * qvel

    def motion(self, state: Tensor, action: Tensor) -> Tensor:
        """The simulation's next states, of states that an arm can have."""
        angles = torch.atan2(state[..., 2:4], state[..., :2])
        return self.observation(*self.simulate(angles, state[..., 4:6], action)).to(state)
