"""What a policy is trained on, off-policy: losses of an actor and of two critics."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

import torch
from tensordict import TensorDictBase
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from hgm.checks import check_real
from hgm.policies.feedforward import Actor, Critics


class ActorCritic(nn.Module):
    """All that is learned of one policy.

    Args:
        objective: What it is trained on.
        dim_state: State dimension ``n``.
        dim_action: Action dimension ``m``.
        box: Least and largest actions, ``(2, m)``.
        width: Width of the hidden layers of actor and critics.
        depth: Number of hidden layers.
        dim_latent: Dimension of a ``latent`` that tells the task; 0: there is none.

    Attributes:
        actor: From ``observation``, and ``latent`` if any, to ``action``.
        critics: Two values of state and action.
        targets: Critics that follow :attr:`critics` slowly.
        scalars: What the objective learns for every policy: SAC's temperature.

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(
        self,
        objective: Objective,
        dim_state: int,
        dim_action: int,
        box: Tensor,
        width: int = 64,
        depth: int = 2,
        dim_latent: int = 0,
    ) -> None:
        super().__init__()
        sizes: dict[str, Any] = {"dim_state": dim_state, "dim_action": dim_action}
        sizes |= {"low": box[0], "high": box[1], "width": width, "depth": depth}
        sizes["dim_latent"] = dim_latent
        self.actor = Actor(**sizes, spread=objective.actor_spread)
        self.critics = Critics(**sizes)
        self.targets = copy.deepcopy(self.critics).requires_grad_(False)
        self.scalars = nn.ParameterDict(objective.scalars())

    def follow(self, rate: float) -> None:
        """Moves the targets by a share of the way towards the critics."""
        follow(self.targets.parameters(), self.critics.parameters(), rate)


class Objective(nn.Module, ABC):
    """Maps a policy's networks and a batch of transitions to losses with disjoint gradients.

    It may have parameters of its own, and is registered with the module that trains by it; what it
    learns for every policy is in :attr:`ActorCritic.scalars`. A subclass writes :meth:`forward`.

    Args:
        gamma: Discount, in [0, 1).
        target_rate: Rate at which targets follow the critics, in (0, 1].
        actor_lr: Adam's learning rate of the actor, at the start.
        critic_lr: Adam's learning rate of the critics, at the start.

    Attributes:
        num_steps: Steps ``T`` of the pieces of trajectories ``[B, T]`` that it learns from; 1: it
            learns from transitions ``[B]``.

    Raises:
        ValueError: If a value is out of range.
    """

    num_steps: int = 1

    def __init__(
        self,
        gamma: float = 0.98,
        target_rate: float = 0.01,
        actor_lr: float = 3e-3,
        critic_lr: float = 3e-3,
    ) -> None:
        super().__init__()
        self.gamma = check_real("gamma", gamma, 0.0)
        if self.gamma >= 1:
            raise ValueError(f"Expected `gamma` to be in [0, 1), got {gamma!r}.")
        self.target_rate = check_real("target_rate", target_rate, 0.0, strict=True)
        if self.target_rate > 1:
            raise ValueError(f"Expected `target_rate` to be in (0, 1], got {target_rate!r}.")
        self.actor_lr = check_real("actor_lr", actor_lr, 0.0, strict=True)
        self.critic_lr = check_real("critic_lr", critic_lr, 0.0, strict=True)

    @property
    def actor_spread(self) -> float | None:
        """Fixed standard deviation of the actor before squashing; None where it is learned."""
        return None

    def scalars(self) -> dict[str, nn.Parameter]:
        """What is learned for every policy besides its networks, at the start."""
        return {}

    def rates(self, networks: ActorCritic) -> dict[nn.Parameter, float]:
        """Learning rates at the start, of all that is learned of a policy."""
        actor = dict.fromkeys(networks.actor.parameters(), self.actor_lr)
        return actor | dict.fromkeys(networks.critics.parameters(), self.critic_lr)

    @abstractmethod
    def forward(self, networks: ActorCritic, batch: TensorDictBase) -> dict[str, Tensor]:
        """Scalars of transitions ``[B]``: ``loss_*`` is to be minimised, ``qvalue`` is logged.

        The critics' loss also has its gradient in ``latent``, where there is one, no other loss
        has.

        Args:
            networks: The policy's.
            batch: Has ``observation``, ``action``, ``latent`` if the networks read one, and under
                ``next``: ``observation``, ``reward``, ``terminated``, and ``latent``.
        """


@torch.no_grad()
def follow(targets: Iterable[Tensor], critics: Iterable[Tensor], rate: float) -> None:
    """Moves targets by a share of the way to the critics, in place: t + rate (c - t)."""
    for target, value in zip(targets, critics, strict=True):
        target.lerp_(value, rate)


def inputs_of(networks: ActorCritic, batch: TensorDictBase) -> list[Tensor]:
    """What the networks read of a batch besides the action: states, and latents if any."""
    return [batch[key] for key in networks.actor.in_keys]


def critic_loss(
    networks: ActorCritic, batch: TensorDictBase, gamma: float, value: Tensor
) -> Tensor:
    r"""Temporal differences, :math:`\sum_{k=1,2} \mathrm{mean}\,(Q_k(s, a) - r - \gamma V(s'))^2`.

    Args:
        networks: The critics'.
        batch: Transitions ``[B]``, see :meth:`Objective.forward`.
        gamma: Discount.
        value: Values ``V (B,)`` of the next states; nothing counts after a terminal one.
    """
    after = batch["next"]
    goes_on = gamma * ~after["terminated"].squeeze(-1)
    target = torch.addcmul(after["reward"].squeeze(-1), goes_on, value)
    found = networks.critics(batch["action"], *inputs_of(networks, batch))
    return 2 * mse_loss(found, target.expand_as(found))
