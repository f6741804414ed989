"""Two links that hang, with a motor between them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hgm.checks import check_real
from hgm.envs.discrete import DiscreteFamily

_SECONDS, _GRAVITY = 0.2, 9.8
_FASTEST = (4 * math.pi, 9 * math.pi)


class Acrobot(DiscreteFamily):
    r"""Swing the tip above the bar by torques of -1, 0 or 1: Gymnasium's Acrobot-v1.

    Source: R. S. Sutton and A. G. Barto, *Reinforcement Learning*, 1998, whose equations Gymnasium
    has (``book_or_nips="book"``), one step of Runge-Kutta of fourth order in 0.2 s; a reward of -1
    a step, 0 for the last. Observations: cosine and sine of both angles, and their velocities.

    A task has one factor of the second link's mass (1 kg), log-uniform in :math:`[1/(1+q), 1+q]`
    with `spread` ``q``; with 0 all tasks are Gymnasium's.

    Args:
        num_train_tasks: Number of training tasks, 2 or more.
        spread: How much tasks differ.
        max_steps: Truncation.
        shuffle: See :class:`~hgm.envs.discrete.DiscreteFamily`.
        num_distractors: Likewise.

    Raises:
        ValueError: If an argument is out of range.
    """

    num_observations, num_states, num_actions = 6, 4, 3
    num_parameters, num_start_noise = 1, 4

    def __init__(
        self,
        num_train_tasks: int = 16,
        spread: float = 0.2,
        max_steps: int = 500,
        shuffle: bool = False,
        num_distractors: int = 0,
    ) -> None:
        super().__init__(num_train_tasks, max_steps, shuffle, num_distractors)
        self.spread = check_real("spread", spread, 0.0)

    def _sample(self, num: int, generator: torch.Generator) -> Tensor:
        return (1 + self.spread) ** (2 * torch.rand(num, 1, generator=generator) - 1)

    def _start(self, noise: Tensor, tasks: Tensor) -> Tensor:
        return 0.2 * noise - 0.1

    def _step(
        self, state: Tensor, action: Tensor, noise: Tensor, tasks: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        torque, mass = (action - 1).to(state), tasks[..., 0]
        first = _moves(state, torque, mass)
        second = _moves(state + _SECONDS / 2 * first, torque, mass)
        third = _moves(state + _SECONDS / 2 * second, torque, mass)
        fourth = _moves(state + _SECONDS * third, torque, mass)
        state = state + _SECONDS / 6 * (first + 2 * second + 2 * third + fourth)
        angles = torch.remainder(state[..., :2] + math.pi, 2 * math.pi) - math.pi
        fastest = state.new_tensor(_FASTEST)
        speeds = torch.minimum(torch.maximum(state[..., 2:], -fastest), fastest)
        upper, lower = angles.unbind(-1)
        above = -upper.cos() - (upper + lower).cos() > 1.0
        return torch.cat((angles, speeds), -1), above.to(state) - 1, above

    def _observe(self, state: Tensor, tasks: Tensor) -> Tensor:
        upper, lower, *speeds = state.unbind(-1)
        return torch.stack((upper.cos(), upper.sin(), lower.cos(), lower.sin(), *speeds), -1)


def _moves(state: Tensor, torque: Tensor, mass: Tensor) -> Tensor:
    """Time derivatives of angles and their velocities; lengths, first mass and inertias are 1."""
    upper, lower, upper_speed, lower_speed = state.unbind(-1)
    half = 0.5  # where the centres of mass are
    cosine, sine = lower.cos(), lower.sin()
    inertia = half**2 + mass * (1 + half**2 + 2 * half * cosine) + 2
    coupling = mass * (half**2 + half * cosine) + 1
    own = mass * half**2 + 1
    weight = mass * half * _GRAVITY * (upper + lower - math.pi / 2).cos()
    swing = mass * half * sine
    load = (
        -swing * (lower_speed.square() + 2 * lower_speed * upper_speed)
        + (half + mass) * _GRAVITY * (upper - math.pi / 2).cos()
        + weight
    )
    lower_turn = (torque + coupling / inertia * load - swing * upper_speed.square() - weight) / (
        own - coupling.square() / inertia
    )
    upper_turn = -(coupling * lower_turn + load) / inertia
    return torch.stack((upper_speed, lower_speed, upper_turn, lower_turn), -1)
