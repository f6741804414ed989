"""A car in a valley, too weak for the hill."""

from __future__ import annotations

import torch
from torch import Tensor

from hgm.checks import check_real
from hgm.envs.discrete import DiscreteFamily

_FORCE, _GRAVITY, _FASTEST = 0.001, 0.0025, 0.07
_LEFT, _RIGHT, _GOAL = -1.2, 0.6, 0.5


class MountainCar(DiscreteFamily):
    r"""Drive left, coast or drive right, up to the flag: Gymnasium's MountainCar-v0.

    Source: A. Moore, 1990; Gymnasium's equations, a reward of -1 a step until the flag at 0.5 is
    passed. Observations: position and velocity per step.

    A task has one factor of the force (0.001), log-uniform in :math:`[1/(1+q), 1+q]` with `spread`
    ``q``; with 0 all tasks are Gymnasium's.

    Args:
        num_train_tasks: Number of training tasks, 2 or more.
        spread: How much tasks differ.
        max_steps: Truncation.
        shuffle: See :class:`~hgm.envs.discrete.DiscreteFamily`.
        num_distractors: Likewise.

    Raises:
        ValueError: If an argument is out of range.
    """

    num_observations, num_states, num_actions = 2, 2, 3
    num_parameters, num_start_noise = 1, 1

    def __init__(
        self,
        num_train_tasks: int = 16,
        spread: float = 0.2,
        max_steps: int = 200,
        shuffle: bool = False,
        num_distractors: int = 0,
    ) -> None:
        super().__init__(num_train_tasks, max_steps, shuffle, num_distractors)
        self.spread = check_real("spread", spread, 0.0)

    def _sample(self, num: int, generator: torch.Generator) -> Tensor:
        return (1 + self.spread) ** (2 * torch.rand(num, 1, generator=generator) - 1)

    def _start(self, noise: Tensor, tasks: Tensor) -> Tensor:
        return torch.cat((0.2 * noise - 0.6, torch.zeros_like(noise)), -1)

    def _step(
        self, state: Tensor, action: Tensor, noise: Tensor, tasks: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        position, speed = state.unbind(-1)
        speed = (
            speed
            + (action - 1).to(state) * _FORCE * tasks[..., 0]
            - (3 * position).cos() * _GRAVITY
        )
        speed = speed.clamp(-_FASTEST, _FASTEST)
        position = (position + speed).clamp(_LEFT, _RIGHT)
        speed = torch.where((position <= _LEFT) & (speed < 0), 0.0, speed)
        there = (position >= _GOAL) & (speed >= 0)
        return torch.stack((position, speed), -1), -torch.ones_like(position), there

    def _observe(self, state: Tensor, tasks: Tensor) -> Tensor:
        return state
