"""Two points, each with a hidden goal of its own on a circle: a group of two dimensions."""

from __future__ import annotations

import torch
from tensordict.nn import TensorDictModule, TensorDictModuleBase
from torch import Tensor
from torchrl.envs import EnvBase

from hgm.checks import check_int, check_real
from hgm.envs.angles import AngleFamily, turning, unit
from hgm.envs.base import MAX_STEPS, MAX_TASKS
from hgm.envs.batched import BatchedEnv
from hgm.envs.navigation import GOAL_TOLERANCE
from hgm.envs.point import bound_disc


class TwoGoals(AngleFamily):
    r"""States (p, q) of two points in the plane, actions are their steps.

    .. math::
        p' = p + \mathrm{disc}(a_p) + \sigma \xi, \quad q' = q + \mathrm{disc}(a_q) + \sigma \xi,
        \quad r_i = -|p' - \rho\, u(\theta_{i1})| - w\, |q' - \rho\, u(\theta_{i2})|,

    with :math:`u(\theta) = (\cos \theta, \sin \theta)`. Goals are on a torus, and the group
    :math:`U(1) \times U(1)` turns either plane for itself. Episodes terminate where both points
    are within 0.1 sqrt 2 of their goals.

    Args:
        num_train_tasks: Number of training tasks, 2 or more; 4 or more tell two dimensions.
        radius: Distance :math:`\rho` of the goals from the origins, above the goal tolerance.
        weight: Weight `w` of the second distance.
        max_action: Largest step of either point.
        noise: Standard deviation :math:`\sigma` of start and dynamics.
        reward_noise: Standard deviation of the reward noise.
        max_steps: Truncation.

    Raises:
        ValueError: If an argument is out of range, naming it, its value and what would be right.
    """

    def __init__(
        self,
        num_train_tasks: int = 6,
        radius: float = 1.0,
        weight: float = 2.0,
        max_action: float = 0.1,
        noise: float = 0.05,
        reward_noise: float = 0.0,
        max_steps: int = 60,
    ) -> None:
        self.num_train_tasks = check_int("num_train_tasks", num_train_tasks, 2, MAX_TASKS)
        self.radius = check_real("radius", radius, GOAL_TOLERANCE, strict=True)
        self.weight = check_real("weight", weight, 0.0, strict=True)
        self.max_action = check_real("max_action", max_action, 0.0, strict=True)
        self.noise = check_real("noise", noise, 0.0)
        self.reward_noise = check_real("reward_noise", reward_noise, 0.0)
        self.max_steps = check_int("max_steps", max_steps, 1, MAX_STEPS)

    @property
    def dim_state(self) -> int:
        """Two planes."""
        return 4

    @property
    def dim_action(self) -> int:
        """A step in either plane."""
        return 4

    @property
    def generators(self) -> Tensor:
        """Either plane turns for itself."""
        return torch.stack((turning(4, 0), turning(4, 2)))

    @property
    def action_generators(self) -> Tensor:
        """As states."""
        return self.generators

    def goals(self, tasks: Tensor) -> Tensor:
        """Both points at their goals, ``(..., 4)``."""
        return self.radius * unit(tasks).flatten(-2)

    def distances(self, state: Tensor, tasks: Tensor) -> Tensor:
        """Distances of both points to their goals, ``(..., 2)``."""
        return (state - self.goals(tasks)).unflatten(-1, (2, 2)).norm(dim=-1)

    def reward(self, state: Tensor, action: Tensor, following: Tensor, tasks: Tensor) -> Tensor:
        """Minus the weighted sum of the distances."""
        first, second = self.distances(following, tasks).unbind(-1)
        return -first - self.weight * second

    def motion(self, state: Tensor, action: Tensor) -> Tensor:
        """Next states; in each plane, actions are of a disc, which both turns leave alone."""
        return state + bound_disc(action.unflatten(-1, (2, 2)), self.max_action).flatten(-2)

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
            dim_state=4,
            high=torch.full((4,), 2 * self.max_action),
            start=lambda random, rows: self.noise * random,
            step=lambda s, a, random, rows: self.motion(s, a) + self.noise * random,
            reward=self.reward,
            done=lambda state, rows: self.distances(state, rows).amax(-1) <= GOAL_TOLERANCE,
            reward_noise=self.reward_noise,
            max_steps=self.max_steps,
            seed=seed,
            device=device,
        )

    def goal_policy(self, tasks: Tensor) -> TensorDictModuleBase:
        """Either point straight to its goal, at full speed."""

        def act(observation: Tensor, task: Tensor) -> Tensor:
            way = self.goals(tasks.to(observation))[task.squeeze(-1)] - observation
            return bound_disc(way.unflatten(-1, (2, 2)), self.max_action).flatten(-2)

        return TensorDictModule(act, in_keys=["observation", "task"], out_keys=["action"])

    def optimal_policy(self, tasks: Tensor) -> TensorDictModuleBase:
        """The same: no policy is nearer to either goal at any time."""
        return self.goal_policy(tasks)
