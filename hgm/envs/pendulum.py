"""A pendulum that is too heavy for its motor."""

from __future__ import annotations

import torch
from torch import Tensor
from torchrl.envs import EnvBase

from hgm.checks import check_int, check_real
from hgm.envs.base import MAX_STEPS, MAX_TASKS, TaskFamily
from hgm.envs.batched import BatchedEnv

_GRAVITY, _SECONDS, _FASTEST, _TORQUE = 10.0, 0.05, 8.0, 2.0


class Pendulum(TaskFamily):
    r"""Swing a rod up and keep it there: Gymnasium's Pendulum-v1, with rods of all kinds.

    .. math::
        \dot\theta' = \mathrm{clip}_8\Bigl(\dot\theta + 0.05 \bigl(\tfrac{3g}{2l} \sin\theta
        + \tfrac{3}{m l^2} \mathrm{clip}_2(a)\bigr)\Bigr), \quad \theta' = \theta + 0.05\,
        \dot\theta', \quad r = -\theta^2 - 0.1\, \dot\theta^2 - 0.001\, \mathrm{clip}_2(a)^2,

    with :math:`\theta` in :math:`[-\pi, \pi]` from upright and g = 10. States are
    :math:`(\cos\theta, \sin\theta, \dot\theta)`, actions are torques; episodes start at uniform
    angles and at speeds uniform in [-1, 1], and do not terminate.

    A task has two factors, of the mass m (1 kg) and of the length l (1 m), each log-uniform in
    :math:`[1/(1+q), 1+q]` with `spread` ``q``; with 0 all tasks are Gymnasium's.

    Args:
        num_train_tasks: Number of training tasks, 2 or more.
        spread: How much tasks differ.
        max_steps: Truncation.

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(self, num_train_tasks: int = 4, spread: float = 0.2, max_steps: int = 200) -> None:
        self.num_train_tasks = check_int("num_train_tasks", num_train_tasks, 2, MAX_TASKS)
        self.spread = check_real("spread", spread, 0.0)
        self.max_steps = check_int("max_steps", max_steps, 1, MAX_STEPS)

    @property
    def dim_state(self) -> int:
        """Cosine and sine of the angle, and its velocity."""
        return 3

    @property
    def dim_action(self) -> int:
        """A torque."""
        return 1

    def sample_tasks(self, num: int, generator: torch.Generator) -> Tensor:
        """Factors of mass and length, ``(num, 2)``."""
        return (1 + self.spread) ** (2 * torch.rand(num, 2, generator=generator) - 1)

    def reward(self, state: Tensor, action: Tensor, following: Tensor, tasks: Tensor) -> Tensor:
        """Minus squared angle, velocity and torque, of the state before."""
        angle, torque = torch.atan2(state[..., 1], state[..., 0]), _torque(action)
        return -(angle**2 + 0.1 * state[..., 2] ** 2 + 0.001 * torque**2)

    def motion(self, state: Tensor, action: Tensor, tasks: Tensor) -> Tensor:
        """Next states."""
        mass, length = tasks.unbind(-1)
        push = 3 * _GRAVITY / (2 * length) * state[..., 1]
        push = push + 3 / (mass * length**2) * _torque(action)
        speed = (state[..., 2] + _SECONDS * push).clamp(-_FASTEST, _FASTEST)
        angle = torch.atan2(state[..., 1], state[..., 0]) + _SECONDS * speed
        return torch.stack((angle.cos(), angle.sin(), speed), -1)

    def start(self, noise: Tensor) -> Tensor:
        """First states of normal numbers ``(..., 3)``."""
        angle = torch.nn.functional.normalize(noise[..., :2], dim=-1)  # uniform
        return torch.cat((angle, 2 * torch.special.ndtr(noise[..., 2:]) - 1), -1)

    def make_env(
        self,
        tasks: Tensor,
        num_copies: int,
        seed: int,
        device: torch.device | str | None = None,
    ) -> EnvBase:
        """A :class:`BatchedEnv` of batch size ``(N, num_copies)``."""
        return BatchedEnv(
            tasks,
            num_copies,
            dim_state=3,
            high=torch.full((1,), _TORQUE),
            start=lambda random, rows: self.start(random),
            step=lambda state, action, random, rows: self.motion(state, action, rows),
            reward=self.reward,
            max_steps=self.max_steps,
            seed=seed,
            device=device,
        )


def _torque(action: Tensor) -> Tensor:
    return action[..., 0].clamp(-_TORQUE, _TORQUE)
