"""A four-legged ant that runs along a hidden heading."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from hgm.checks import check_real
from hgm.envs.angles import AngleFamily, turning, unit
from hgm.envs.base import Truth
from hgm.envs.mujoco import MujocoFamily

HEALTHY = (0.2, 1.0)
"""Heights of the torso, in m, outside of which an episode terminates."""


class Ant(MujocoFamily, AngleFamily):
    r"""Gymnasium's Ant-v5 with a hidden heading :math:`u(\theta_i)` in place of its x axis.

    States are qpos and qvel, in R^29: position of the torso (3), its quaternion (w, x, y, z),
    angles of the joints (8), its velocity (3), its angular velocity in its own frame (3), and the
    joints' (8). Contact forces are left out. Actions are torques in [-1, 1]^8; rewards are
    :math:`v \cdot u + h - c |a|^2` of the next state's velocity v. Episodes terminate where the
    torso is not within 0.2 and 1 m above the ground. The group is yaw: it turns position and
    velocity by an angle, (w, z) and (x, y) of the quaternion by half of it, and no action.

    Differences: Gymnasium's v is the mean over the step, here it is that at its end, so that
    rewards are functions of next states; the step that ends an episode has the bonus h, too, as in
    Ant-v4, so that rewards do not jump with the height; there is no cost of contact forces; and
    episodes start with any yaw, not near zero, so that starts are an orbit of the group.

    Args:
        num_train_tasks: Number of training tasks, 2 or more.
        start_yaw: Episodes start with yaws uniformly in this distance from zero, in radians;
            Gymnasium's is 0. A quaternion turns half as fast: two turns are its orbit.
        healthy_reward: The bonus ``h``.
        control_cost: Factor ``c`` of the control cost.
        max_steps: Truncation.
        num_threads: Threads that simulate; None: one for every core that the process may use.

    Raises:
        ModuleNotFoundError: If MuJoCo is not installed.
        ValueError: If an argument is out of range, naming it, its value and what would be right.
    """

    fails = True

    def __init__(
        self,
        num_train_tasks: int = 4,
        start_yaw: float = 2 * math.pi,
        healthy_reward: float = 1.0,
        control_cost: float = 0.5,
        max_steps: int = 1000,
        num_threads: int | None = None,
    ) -> None:
        super().__init__("ant.xml", 5, num_train_tasks, max_steps, num_threads)
        self.start_yaw = check_real("start_yaw", start_yaw, 0.0)
        self.healthy_reward = check_real("healthy_reward", healthy_reward)
        self.control_cost = check_real("control_cost", control_cost, 0.0)

    @property
    def dim_state(self) -> int:
        """Sizes of qpos and qvel, 15 and 14."""
        return 29

    @property
    def generators(self) -> Tensor:
        """Yaw: a quaternion turns half as fast."""
        return (turning(29, 0, 15) + turning(29, (3, 6), (4, 5)) / 2)[None]

    @property
    def action_generators(self) -> Tensor:
        """Torques are the same in all directions."""
        return torch.zeros(1, 8, 8, dtype=torch.float64)

    def observation(self, qpos: Tensor, qvel: Tensor) -> Tensor:
        """All of them."""
        return torch.cat((qpos, qvel), -1)

    def reward(self, state: Tensor, action: Tensor, following: Tensor, tasks: Tensor) -> Tensor:
        """Speed along the heading, in m/s, with the bonus, minus the control cost."""
        speed = (following[..., 15:17] * unit(tasks[..., 0])).sum(-1)
        return speed + self.healthy_reward - self.control_cost * action.square().sum(-1)

    def done(self, following: Tensor, tasks: Tensor) -> Tensor:
        """Where the torso is too low or too high."""
        height = following[..., 2]
        return (height < HEALTHY[0]) | (height > HEALTHY[1])

    def start(self, num: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """The model's pose with Gymnasium's noise, uniform to 0.1 and normal of 0.1, then turned.

        The quaternion is normalised, as MuJoCo does in the first step.
        """
        pose = torch.from_numpy(self.model.qpos0)
        random = torch.rand(num, 16, generator=generator, dtype=torch.float64)
        qpos = pose + 0.2 * random[:, 1:] - 0.1
        qvel = 0.1 * torch.randn(num, 14, generator=generator, dtype=torch.float64)
        qpos[:, 3:7] = torch.nn.functional.normalize(qpos[:, 3:7], dim=-1)
        yaw = self.start_yaw * (2 * random[:, 0] - 1)
        turn_planes(qpos, yaw, (0, 1))
        turn_planes(qpos, yaw / 2, (3, 6), (4, 5))
        turn_planes(qvel, yaw, (0, 1))
        return qpos, qvel

    def truth(self, tasks: Tensor) -> Truth:
        """Yaw; a quaternion and its negative are one attitude, so either is right."""
        truth = super().truth(tasks)
        sign = torch.ones(self.dim_state).to(tasks).index_fill(0, torch.arange(3, 7), -1.0)

        def error(found: Tensor) -> Tensor:
            errors = (truth.element_error_deg(one) for one in (found, found * sign.to(found)))
            return torch.minimum(*errors)

        return replace(truth, element_error_deg=error)

    def motion(self, state: Tensor, action: Tensor) -> Tensor:
        """The simulation's next states."""
        qpos, qvel = state.split((15, 14), -1)
        return self.observation(*self.simulate(qpos, qvel, action)).to(state)


def turn_planes(vectors: Tensor, angle: Tensor, *planes: tuple[int, int]) -> None:
    """Turns planes of vectors ``(B, n)`` by angles ``(B,)``, in place."""
    cosine, sine = angle.cos(), angle.sin()
    for first, second in planes:
        x, y = vectors[:, first].clone(), vectors[:, second].clone()
        vectors[:, first], vectors[:, second] = cosine * x - sine * y, sine * x + cosine * y
