"""A task family of one's own: goals on a torus in R^4, carried into each other by U(1) x U(1).

Run it: python examples/custom_family.py
"""

import math

import torch
from tensordict.nn import TensorDictModule
from torch import Tensor

from hgm import lie
from hgm.envs import PointEnv, TaskFamily, Truth
from hgm.envs.point import bound_disc, step
from hgm.testing import check_family


def bound_planes(action: Tensor, bound: float) -> Tensor:
    """A disc of actions in each of the two planes, which both rotations leave alone."""
    return bound_disc(action.unflatten(-1, (2, 2)), bound).flatten(-2)


class Torus(TaskFamily):
    """Rewards ``-|p - z| - 2 |q - w|`` for states (p, q), hidden goals z and w on unit circles."""

    max_steps = 50

    def __init__(self, num_train_tasks: int = 6) -> None:
        self.num_train_tasks = num_train_tasks

    @property
    def dim_state(self) -> int:
        """Two planes."""
        return 4

    @property
    def dim_action(self) -> int:
        """One velocity per coordinate."""
        return 4

    def sample_tasks(self, num: int, generator: torch.Generator) -> Tensor:
        """Goals (z, w) at uniform angles, ``(num, 4)``."""
        angles = 2 * math.pi * torch.rand(num, 2, generator=generator)
        return torch.stack((angles.cos(), angles.sin()), -1).flatten(1)

    def reward(self, state: Tensor, tasks: Tensor) -> Tensor:
        """Weighted sum of the distances in the two planes."""
        distances = (state - tasks).unflatten(-1, (2, 2)).norm(dim=-1)
        return -distances[..., 0] - 2 * distances[..., 1]

    def make_env(
        self,
        tasks: Tensor,
        num_copies: int,
        seed: int,
        device: torch.device | str | None = None,
    ) -> PointEnv:
        """The point mass of hgm with this reward and these actions."""
        return PointEnv(
            tasks,
            num_copies,
            dim_state=4,
            reward=self.reward,
            bound=bound_planes,
            max_steps=self.max_steps,
            seed=seed,
            device=device,
        )

    def goal_policy(self, tasks: Tensor) -> TensorDictModule:
        """Optional: straight to the goals."""

        def act(observation: Tensor, task: Tensor) -> Tensor:
            return bound_planes(tasks.to(observation)[task.squeeze(-1)] - observation, 0.1)

        return TensorDictModule(act, in_keys=["observation", "task"], out_keys=["action"])

    def optimal_policy(self, tasks: Tensor) -> TensorDictModule:
        """Optional: regret is measured against it."""
        return self.goal_policy(tasks)

    def truth(self, tasks: Tensor) -> Truth:
        """Optional, for evaluation only: one rotation per plane."""
        generators = torch.zeros(2, 4, 4)
        generators[0, :2, :2] = generators[1, 2:, 2:] = lie.so_generators(2)[0]
        generators = generators.to(tasks)
        planes = tasks.unflatten(-1, (2, 2))
        angles = torch.atan2(planes[..., 1], planes[..., 0])
        elements = lie.exp(torch.einsum("nd,dij->nij", angles - angles[0], generators))

        def error(found: Tensor) -> Tensor:
            logs = lie.log(found.to(elements) @ elements.mT).norm(dim=(1, 2)) / math.sqrt(2)
            return torch.rad2deg(logs).nan_to_num(nan=180.0)

        return Truth(
            generators=generators,
            elements=elements,
            action_generators=generators,
            element_error_deg=error,
            reward=lambda state: self.reward(state, tasks[:, None]),
            dynamics=lambda state, action: step(state, action, bound=bound_planes),
        )


def main() -> None:
    """Check the family as its author would in a test."""
    check_family(Torus())
    print("Torus keeps the contract of a task family.")


if __name__ == "__main__":
    main()
