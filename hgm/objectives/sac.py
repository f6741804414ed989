"""Soft actor-critic."""

from __future__ import annotations

import math

import torch
from tensordict import TensorDictBase
from torch import Tensor, nn

from hgm.checks import check_real
from hgm.objectives.base import ActorCritic, Objective, critic_loss, inputs_of
from hgm.policies.feedforward import Actor


class SAC(Objective):
    r"""Soft actor-critic (Haarnoja et al., arXiv 1812.05905) with a learned temperature.

    With actions :math:`a` of the policy in s and :math:`a'` in s', and target critics
    :math:`\bar Q`, the losses of critics, actor and temperature are

    .. math::
        \sum_k (Q_k(s, a_t) - r - \gamma (\min_k \bar Q_k(s', a') - \alpha \log \pi(a'|s')))^2,
        \quad \alpha \log \pi(a|s) - \min_k Q_k(s, a),
        \quad -\log \alpha\, (\log \pi(a|s) + \bar H).

    The target entropy :math:`\bar H` is given per action dimension and in units of half the action
    range, in which uniform actions have log 2. The usual default, :math:`-m` in the units of the
    action, asks for nearly uniform actions where the range is narrow.

    These are the numbers of TorchRL's ``SACLoss`` in less than half its time, most of which it
    spends outside of tensor operations where networks are small.

    Args:
        gamma: Discount, in [0, 1).
        target_rate: Rate at which targets follow the critics, in (0, 1].
        actor_lr: Adam's learning rate of the actor, at the start.
        critic_lr: Adam's learning rate of the critics, at the start.
        alpha_lr: Adam's learning rate of the log temperature, at the start.
        alpha: Temperature at the start.
        entropy: Target entropy, see above.

    Raises:
        ValueError: If a value is out of range.
    """

    def __init__(
        self,
        gamma: float = 0.98,
        target_rate: float = 0.01,
        actor_lr: float = 3e-3,
        critic_lr: float = 3e-3,
        alpha_lr: float = 3e-3,
        alpha: float = 0.1,
        entropy: float = -1.0,
    ) -> None:
        super().__init__(gamma, target_rate, actor_lr, critic_lr)
        self.alpha_lr = check_real("alpha_lr", alpha_lr, 0.0, strict=True)
        self.alpha = check_real("alpha", alpha, 0.0, strict=True)
        self.entropy = check_real("entropy", entropy)

    def scalars(self) -> dict[str, nn.Parameter]:
        """The log temperature."""
        return {"log_alpha": nn.Parameter(torch.tensor(math.log(self.alpha)))}

    def rates(self, networks: ActorCritic) -> dict[nn.Parameter, float]:
        """Those of every objective, and the temperature's."""
        return super().rates(networks) | {networks.scalars["log_alpha"]: self.alpha_lr}

    def forward(self, networks: ActorCritic, batch: TensorDictBase) -> dict[str, Tensor]:
        """The three losses, the temperature, and the policy's mean entropy and value."""
        actor, after = networks.actor, inputs_of(networks, batch["next"])
        log_alpha = networks.scalars["log_alpha"]
        alpha = log_alpha.detach().exp()
        with torch.no_grad():
            action, log_prob = actor.dist(*after).rsample_and_log_prob()
            value = networks.targets(action, *after).amin(0) - alpha * log_prob
        inputs = [entry.detach() for entry in inputs_of(networks, batch)]
        action, log_prob = actor.dist(*inputs).rsample_and_log_prob()
        qvalue = networks.critics(action, *inputs, frozen=True).amin(0).mean()
        log_prob = log_prob.mean()
        entropy = -log_prob.detach()
        return {
            "loss_critic": critic_loss(networks, batch, self.gamma, value),
            "loss_actor": alpha * log_prob - qvalue,
            "loss_alpha": log_alpha * (entropy - self._target(actor)),
            "alpha": alpha,
            "entropy": entropy,
            "qvalue": qvalue.detach(),
        }

    def _target(self, actor: Actor) -> Tensor:
        """Target entropy in the units of the actions."""
        return actor.log_volume + actor.dim_action * (self.entropy - math.log(2))
