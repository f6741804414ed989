"""A swimmer of three links that swims along a hidden heading."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hgm.checks import check_real
from hgm.envs.angles import AngleFamily, turning, unit
from hgm.envs.mujoco import MujocoFamily


class Swimmer(MujocoFamily, AngleFamily):
    r"""Gymnasium's Swimmer-v5 with a hidden heading :math:`u(\theta_i)` in place of its x axis.

    States are (cos, sin) of the first link's angle, the angles of the two joints, and the
    velocities of the first link (x, y, angle) and of the joints, in R^9; positions are left out, as
    in Gymnasium. Actions are torques in [-1, 1]^2; rewards are :math:`v \cdot u - c |a|^2` of the
    next state's velocity v. The group turns the angle and the velocity, and no action.

    Two differences: Gymnasium's v is the mean over the step, here it is that at its end, so that
    rewards are functions of next states; and episodes start in any direction, not within 0.1 of
    zero, so that starts are an orbit of the group.

    Args:
        num_train_tasks: Number of training tasks, 2 or more.
        start_angle: The first link starts uniformly in this distance from zero, in radians;
            Gymnasium's is 0.1.
        control_cost: Factor ``c`` of the control cost.
        max_steps: Truncation.
        num_threads: Threads that simulate; None: one for every core that the process may use.

    Raises:
        ModuleNotFoundError: If MuJoCo is not installed.
        ValueError: If an argument is out of range, naming it, its value and what would be right.
    """

    def __init__(
        self,
        num_train_tasks: int = 4,
        start_angle: float = math.pi,
        control_cost: float = 1e-4,
        max_steps: int = 1000,
        num_threads: int | None = None,
    ) -> None:
        super().__init__("swimmer.xml", 4, num_train_tasks, max_steps, num_threads)
        self.start_angle = check_real("start_angle", start_angle, 0.0)
        self.control_cost = check_real("control_cost", control_cost, 0.0)

    @property
    def dim_state(self) -> int:
        """Direction, two angles, five velocities."""
        return 9

    @property
    def generators(self) -> Tensor:
        """Direction and velocity turn."""
        return turning(9, 0, 4)[None]

    @property
    def action_generators(self) -> Tensor:
        """Torques are the same in all directions."""
        return torch.zeros(1, 2, 2, dtype=torch.float64)

    def observation(self, qpos: Tensor, qvel: Tensor) -> Tensor:
        """All but the position."""
        return torch.cat((unit(qpos[..., 2]), qpos[..., 3:], qvel), -1)

    def reward(self, state: Tensor, action: Tensor, following: Tensor, tasks: Tensor) -> Tensor:
        """Speed along the heading, in m/s, minus the control cost."""
        speed = (following[..., 4:6] * unit(tasks[..., 0])).sum(-1)
        return speed - self.control_cost * action.square().sum(-1)

    def start(self, num: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Angle within ``start_angle``, all else within 0.1, as Gymnasium's."""
        random = 2 * torch.rand(num, 10, generator=generator, dtype=torch.float64) - 1
        qpos, qvel = (0.1 * random).split(5, -1)
        qpos[:, 2] = self.start_angle * random[:, 2]
        return qpos, qvel

    def motion(self, state: Tensor, action: Tensor) -> Tensor:
        """The simulation's next states, of states that a swimmer can have."""
        angle = torch.atan2(state[..., 1:2], state[..., :1])
        qpos = torch.cat((torch.zeros_like(state[..., :2]), angle, state[..., 2:4]), -1)
        return self.observation(*self.simulate(qpos, state[..., 4:], action)).to(state)
