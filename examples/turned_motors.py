"""Tasks that inherit dynamics of their own: where the goal is turned, the motors are, too.

One policy still serves all tasks, if actions are turned by what discovery finds out about motors:

    hgm model=discovery env=custom env._target_=examples.turned_motors.TurnedMotors
    hgm experiment=navigation env=custom env._target_=examples.turned_motors.TurnedMotors

Check it: python examples/turned_motors.py
"""

import math

import torch
from tensordict.nn import TensorDictModule
from torch import Tensor

from hgm import lie
from hgm.envs import PointEnv, TaskFamily, Truth
from hgm.envs.point import bound_disc
from hgm.testing import check_family

RADIUS, MAX_ACTION = 0.2, 0.1  # of the goal, within which an episode ends; of a step


def turn(vectors: Tensor, angle: Tensor) -> Tensor:
    """Plane vectors ``(..., 2)`` turned by angles ``(...)``."""
    x, y, cos, sin = *vectors.unbind(-1), angle.cos(), angle.sin()
    return torch.stack((x * cos - y * sin, x * sin + y * cos), -1)


class TurnedMotors(TaskFamily):
    r"""Navigation to a goal at an angle, by motors that are turned `rate` times as far.

    :math:`s' = s + R(\rho \theta_i)\, a` and :math:`r = -|s' - z(\theta_i)|`, so that
    :math:`K_g = R((1 - \rho)\, \theta_g)` where :math:`L_g = R(\theta_g)`.

    Args:
        rate: The whole number :math:`\rho`; 0 for motors as usual.
        num_train_tasks: Number of training tasks.
    """

    max_steps = 50

    def __init__(self, rate: int = 2, num_train_tasks: int = 4) -> None:
        self.rate, self.num_train_tasks = rate, num_train_tasks

    @property
    def dim_state(self) -> int:
        """The plane."""
        return 2

    @property
    def dim_action(self) -> int:
        """One motor per coordinate."""
        return 2

    def sample_tasks(self, num: int, generator: torch.Generator) -> Tensor:
        """Uniform angles, ``(num, 1)``."""
        return 2 * math.pi * torch.rand(num, 1, generator=generator) - math.pi

    def goals(self, tasks: Tensor) -> Tensor:
        """Points of the unit circle."""
        return torch.cat((tasks.cos(), tasks.sin()), -1)

    def reward(self, state: Tensor, tasks: Tensor) -> Tensor:
        """Minus the distance to the goal."""
        return -(state - self.goals(tasks)).norm(dim=-1)

    def make_env(
        self,
        tasks: Tensor,
        num_copies: int,
        seed: int,
        device: torch.device | str | None = None,
    ) -> PointEnv:
        """The point mass of hgm, with motors that are a task's own."""
        return PointEnv(
            tasks,
            num_copies,
            dim_state=2,
            reward=self.reward,
            done=lambda state, rows: -self.reward(state, rows) < RADIUS,
            motors=lambda action, rows: turn(action, self.rate * rows[..., 0]),
            max_action=MAX_ACTION,
            max_steps=self.max_steps,
            seed=seed,
            device=device,
        )

    def goal_policy(self, tasks: Tensor) -> TensorDictModule:
        """Straight to the goal at full speed, by the motors that there are: optimal."""

        def act(observation: Tensor, task: Tensor) -> Tensor:
            own = tasks.to(observation)[task.squeeze(-1)]
            way = bound_disc(self.goals(own) - observation, MAX_ACTION)
            return turn(way, -self.rate * own[..., 0])

        return TensorDictModule(act, in_keys=["observation", "task"], out_keys=["action"])

    def optimal_policy(self, tasks: Tensor) -> TensorDictModule:
        """The same."""
        return self.goal_policy(tasks)

    def truth(self, tasks: Tensor) -> Truth:
        """Rotations; dynamics are left out, as they are a task's own."""
        generator = turn(torch.eye(2).to(tasks), torch.tensor(math.pi / 2).to(tasks)).T[None]
        elements = lie.exp((tasks - tasks[0])[..., None] * generator)

        def error(found: Tensor) -> Tensor:
            logs = lie.log(found.to(elements) @ elements.mT).norm(dim=(1, 2)) / math.sqrt(2)
            return torch.rad2deg(logs).nan_to_num(nan=180.0)

        return Truth(
            generators=generator,
            elements=elements,
            action_generators=(1 - self.rate) * generator,
            element_error_deg=error,
            reward=lambda state: self.reward(state, tasks[:, None]),
        )

    def separation(self, tasks: Tensor, others: Tensor) -> Tensor:
        """Angles between goals, in radians."""
        apart = (tasks.double() - others.double().mT).remainder(2 * math.pi)
        return torch.minimum(apart, 2 * math.pi - apart)


def main() -> None:
    """Check the family as its author would in a test."""
    check_family(TurnedMotors())
    print("TurnedMotors keeps the contract of a task family.")


if __name__ == "__main__":
    main()
