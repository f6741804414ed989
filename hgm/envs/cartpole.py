"""A pole on a cart."""

from __future__ import annotations

import torch
from torch import Tensor

from hgm.checks import check_choice, check_real
from hgm.envs.discrete import DiscreteFamily

_GRAVITY, _CART, _POLE, _FORCE, _SECONDS = 9.8, 1.0, 0.1, 10.0, 0.02
_FARTHEST, _STEEPEST = 2.4, 0.20943951023931953
"""Metres from the centre, and radians (12 degrees) from upright, beyond which episodes end."""


class CartPole(DiscreteFamily):
    r"""Push a cart left or right so that its pole stays up: Gymnasium's CartPole-v1.

    Source: A. G. Barto, R. S. Sutton, C. W. Anderson, 1983; Gymnasium's equations, Euler steps of
    20 ms. Observations: position, velocity, angle, angular velocity, in metres, radians and
    seconds. Rewards are -1 where the pole falls or the cart leaves, else 0 (Gymnasium's
    ``sutton_barto_reward``), or 1 a step with ``reward="alive"``: that is Gymnasium's default, but
    says nothing in lives of so many steps, whose episodes start anew.

    A task has two factors, of the pole's half length (0.5 m) and of the force (10 N), each
    log-uniform in :math:`[1/(1+q), 1+q]` with `spread` ``q``; with 0 all tasks are Gymnasium's.

    Args:
        num_train_tasks: Number of training tasks, 2 or more.
        spread: How much tasks differ.
        reward: ``"failure"`` or ``"alive"``.
        max_steps: Truncation.
        shuffle: See :class:`~hgm.envs.discrete.DiscreteFamily`.
        num_distractors: Likewise.

    Raises:
        ValueError: If an argument is out of range.
    """

    num_observations, num_states, num_actions = 4, 4, 2
    num_parameters, num_start_noise = 2, 4
    fails = True

    def __init__(
        self,
        num_train_tasks: int = 16,
        spread: float = 0.2,
        reward: str = "failure",
        max_steps: int = 500,
        shuffle: bool = False,
        num_distractors: int = 0,
    ) -> None:
        super().__init__(num_train_tasks, max_steps, shuffle, num_distractors)
        self.spread = check_real("spread", spread, 0.0)
        self.reward = check_choice("reward", reward, ["failure", "alive"])

    def _sample(self, num: int, generator: torch.Generator) -> Tensor:
        return (1 + self.spread) ** (2 * torch.rand(num, 2, generator=generator) - 1)

    def _start(self, noise: Tensor, tasks: Tensor) -> Tensor:
        return 0.1 * noise - 0.05

    def _step(
        self, state: Tensor, action: Tensor, noise: Tensor, tasks: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        x, speed, angle, spin = state.unbind(-1)
        length, force = 0.5 * tasks[..., 0], _FORCE * tasks[..., 1]
        force = force * (2 * action - 1)
        cosine, sine, total = angle.cos(), angle.sin(), _CART + _POLE
        push = (force + _POLE * length * spin.square() * sine) / total
        turn = (_GRAVITY * sine - cosine * push) / (
            length * (4.0 / 3.0 - _POLE * cosine.square() / total)
        )
        pull = push - _POLE * length * turn * cosine / total
        state = state + _SECONDS * torch.stack((speed, pull, spin, turn), -1)
        far, steep = state[..., 0].abs() > _FARTHEST, state[..., 2].abs() > _STEEPEST
        fallen = far | steep
        reward = torch.ones_like(x) if self.reward == "alive" else -fallen.to(x)
        return state, reward, fallen

    def _observe(self, state: Tensor, tasks: Tensor) -> Tensor:
        return state
