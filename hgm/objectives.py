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
from torchrl.objectives import (
    LossModule,
    SACLoss,
    SoftUpdate,
    TD3Loss,
    ValueEstimators,
)

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


@dataclass(frozen=True)
class SAC(Objective):
    r"""Soft actor-critic (Haarnoja et al., arXiv 1812.05905) with a learned temperature.

    The target entropy is given per action dimension and in units of half the action range, in
    which uniform actions have log 2. TorchRL's own default, :math:`-m` in the units of the action,
    asks for nearly uniform actions where the range is narrow.

    Attributes:
        alpha_lr: Adam's learning rate of the log temperature, at the start.
        alpha: Temperature at the start.
        entropy: Target entropy, see above.
    """

    alpha_lr: float = 3e-3
    alpha: float = 0.1
    entropy: float = -1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("alpha_lr", "alpha"):
            check_real(name, getattr(self, name), 0.0, strict=True)
        check_real("entropy", self.entropy)

    def groups(self, loss: LossModule) -> list[dict[str, Any]]:
        """Those of every objective, and the temperature."""
        return [*super().groups(loss), {"params": [loss.log_alpha], "lr": self.alpha_lr}]

    def qvalue(self, entries: Mapping[str, Tensor]) -> Tensor:
        r"""From :math:`E[\alpha \log \pi - Q]`, the loss, and :math:`-E \log \pi`, the entropy."""
        return -(entries["loss_actor"] + entries["alpha"] * entries["entropy"])

    def _loss(self, actor: ProbabilisticActor, critic: TensorDictModule, box: Tensor) -> LossModule:
        half = (box[1] - box[0]) / 2
        loss = SACLoss(
            actor,
            critic,
            loss_function="l2",
            alpha_init=self.alpha,
            target_entropy=float((self.entropy + half.log()).sum()),
        )
        # A buffer that TorchRL makes when it is first read; strict loading needs it before.
        _ = loss.target_entropy
        return loss


@dataclass(frozen=True)
class TD3(Objective):
    """Twin delayed DDPG (Fujimoto et al., arXiv 1802.09477), the actor updated at every step.

    Exploration is Gaussian before the squashing, not after it as in the paper.

    Attributes:
        spread: Standard deviation of the exploration.
        target_noise: Standard deviation of the noise on target actions, in half action ranges.
        target_noise_clip: Largest such noise.
    """

    spread: float = 0.5
    target_noise: float = 0.2
    target_noise_clip: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_real("spread", self.spread, 0.0, strict=True)
        for name in ("target_noise", "target_noise_clip"):
            check_real(name, getattr(self, name), 0.0)

    @property
    def actor_spread(self) -> float:
        """The standard deviation of the exploration."""
        return self.spread

    def _loss(self, actor: ProbabilisticActor, critic: TensorDictModule, box: Tensor) -> LossModule:
        half = (box[1] - box[0]) / 2
        loss = TD3Loss(actor, critic, bounds=(box[0], box[1]), loss_function="l2", policy_noise=0.0)
        loss.policy_noise, loss.noise_clip = self.target_noise * half, self.target_noise_clip * half
        return loss
