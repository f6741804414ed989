"""What a policy is trained on: TorchRL losses with their targets and learning rates."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import torch
from tensordict.nn import TensorDictModule
from torch import Tensor
from torchrl.modules import ProbabilisticActor
from torchrl.objectives import LossModule, SoftUpdate, ValueEstimators

from hgm.checks import check_real


class Targets(SoftUpdate):
    """TorchRL's moving average, in one call for all tensors.

    Args:
        loss: A TorchRL loss module, on its device; its targets stay as they are.
        rate: How far a step moves the targets towards the networks, in (0, 1].
    """

    def __init__(self, loss: LossModule, rate: float) -> None:
        # TorchRL's updater starts by setting targets to networks, which would undo a checkpoint.
        state = {key: value.clone() for key, value in loss.state_dict().items()}
        super().__init__(loss, tau=rate)
        loss.load_state_dict(state)
        live, self._rate = loss.state_dict(), rate
        sources = {f"target_{key}": value for key, value in live.items()}
        self._moved = [live[key] for key in live if key in sources]
        self._followed = [sources[key] for key in live if key in sources]

    def step(self) -> None:
        """Moves all targets."""
        torch._foreach_lerp_(self._moved, self._followed, self._rate)


@dataclass(frozen=True)
class Objective(ABC):
    """An off-policy objective of one actor and two critics. A subclass writes :meth:`_loss`.

    Attributes:
        gamma: Discount, in [0, 1).
        target_rate: Rate at which targets follow the networks, in (0, 1].
        actor_lr: Adam's learning rate of the actor, at the start.
        critic_lr: Adam's learning rate of the critics, at the start.

    Raises:
        ValueError: If a value is out of range.
    """

    gamma: float = 0.98
    target_rate: float = 0.01
    actor_lr: float = 3e-3
    critic_lr: float = 3e-3

    def __post_init__(self) -> None:
        if check_real("gamma", self.gamma, 0.0) >= 1:
            raise ValueError(f"Expected `gamma` to be in [0, 1), got {self.gamma!r}.")
        if check_real("target_rate", self.target_rate, 0.0, strict=True) > 1:
            raise ValueError(f"Expected `target_rate` to be in (0, 1], got {self.target_rate!r}.")
        for name in ("actor_lr", "critic_lr"):
            check_real(name, getattr(self, name), 0.0, strict=True)

    @property
    def actor_spread(self) -> float | None:
        """Fixed standard deviation of the actor before squashing; None where it is learned."""
        return None

    @final
    def build(self, actor: ProbabilisticActor, critic: TensorDictModule, box: Tensor) -> LossModule:
        """The TorchRL loss. It takes over the actor's parameters, and copies the critic twice.

        Args:
            actor: From ``observation`` to ``action``.
            critic: From ``observation`` and ``action`` to ``state_action_value``.
            box: Least and largest actions, ``(2, m)``.
        """
        loss = self._loss(actor, critic, box)
        loss.make_value_estimator(ValueEstimators.TD0, gamma=self.gamma)
        return loss

    @final
    def targets(self, loss: LossModule) -> Targets:
        """What moves the targets; call it once the loss is on its device."""
        return Targets(loss, self.target_rate)

    def groups(self, loss: LossModule) -> list[dict[str, Any]]:
        """Parameter groups for one optimiser: the losses have disjoint gradients."""
        actor, critic = loss.actor_network_params, loss.qvalue_network_params
        return [
            {"params": list(actor.parameters()), "lr": self.actor_lr},
            {"params": list(critic.parameters()), "lr": self.critic_lr},
        ]

    def qvalue(self, entries: Mapping[str, Tensor]) -> Tensor:
        """Mean value of the actor's own actions, from the entries of the loss."""
        return -entries["loss_actor"]

    @abstractmethod
    def _loss(self, actor: ProbabilisticActor, critic: TensorDictModule, box: Tensor) -> LossModule:
        """Hook of :meth:`build`: the loss without its value estimator."""
