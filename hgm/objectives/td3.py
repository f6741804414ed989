"""Twin delayed DDPG."""

from __future__ import annotations

import torch
from tensordict import TensorDictBase
from torch import Tensor

from hgm.checks import check_real
from hgm.objectives.base import ActorCritic, Objective, critic_loss, inputs_of


class TD3(Objective):
    r"""Twin delayed DDPG (Fujimoto et al., arXiv 1802.09477), the actor updated at every step.

    With the policy's median :math:`\mu`, target critics :math:`\bar Q` and clipped Gaussian noise
    :math:`\epsilon`, the losses of critics and actor are

    .. math::
        \sum_k (Q_k(s, a_t) - r - \gamma \min_k \bar Q_k(s', \mu(s') + \epsilon))^2,
        \quad -Q_1(s, \mu(s)).

    There is no target actor, and exploration is Gaussian before the squashing, not after it as in
    the paper.

    Args:
        gamma: Discount, in [0, 1).
        target_rate: Rate at which targets follow the critics, in (0, 1].
        actor_lr: Adam's learning rate of the actor, at the start.
        critic_lr: Adam's learning rate of the critics, at the start.
        spread: Standard deviation of the exploration.
        target_noise: Standard deviation of the noise on target actions, in half action ranges.
        target_noise_clip: Largest such noise.

    Raises:
        ValueError: If a value is out of range.
    """

    def __init__(
        self,
        gamma: float = 0.98,
        target_rate: float = 0.01,
        actor_lr: float = 3e-3,
        critic_lr: float = 3e-3,
        spread: float = 0.5,
        target_noise: float = 0.2,
        target_noise_clip: float = 0.5,
    ) -> None:
        super().__init__(gamma, target_rate, actor_lr, critic_lr)
        self.spread = check_real("spread", spread, 0.0, strict=True)
        self.target_noise = check_real("target_noise", target_noise, 0.0)
        self.target_noise_clip = check_real("target_noise_clip", target_noise_clip, 0.0)

    @property
    def actor_spread(self) -> float:
        """The standard deviation of the exploration."""
        return self.spread

    def forward(self, networks: ActorCritic, batch: TensorDictBase) -> dict[str, Tensor]:
        """Both losses, and the policy's mean value."""
        loss_critic = self.critic(networks, batch)
        inputs = [entry.detach() for entry in inputs_of(networks, batch)]
        action = networks.actor.dist(*inputs).deterministic_sample
        qvalue = networks.critics(action, *inputs, frozen=True)[0].mean()
        return {"loss_critic": loss_critic, "loss_actor": -qvalue, "qvalue": qvalue.detach()}

    def critic(self, networks: ActorCritic, batch: TensorDictBase) -> Tensor:
        """The critics' loss."""
        actor, after = networks.actor, inputs_of(networks, batch["next"])
        with torch.no_grad():
            action = actor.dist(*after).deterministic_sample
            action = self.disturbed(action, actor.low, actor.high)
            value = networks.targets(action, *after).amin(0)
        return critic_loss(networks, batch, self.gamma, value)

    def disturbed(self, action: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """Target actions with clipped noise, in the box."""
        half, most = (high - low) / 2, self.target_noise_clip
        noise = (self.target_noise * torch.randn_like(action)).clamp(-most, most)
        return torch.clamp(action + half * noise, low, high)
