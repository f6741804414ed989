"""Deep deterministic policy gradients."""

from __future__ import annotations

import torch
from tensordict import TensorDictBase
from torch import Tensor

from hgm.objectives.base import ActorCritic, critic_loss, inputs_of
from hgm.objectives.td3 import TD3


class DDPG(TD3):
    r"""Deep deterministic policy gradients (Lillicrap et al., arXiv 1509.02971): TD3 of one critic.

    The critic's loss is :math:`(Q_1(s, a_t) - r - \gamma \bar Q_1(s', \mu(s')))^2`, without noise
    on the target's action. The second critic learns the same, from another start, and counts for
    nothing. Exploration and the rest are :class:`TD3`'s.
    """

    def __init__(
        self,
        gamma: float = 0.98,
        target_rate: float = 0.01,
        actor_lr: float = 3e-3,
        critic_lr: float = 3e-3,
        spread: float = 0.5,
    ) -> None:
        super().__init__(gamma, target_rate, actor_lr, critic_lr, spread, target_noise=0.0)

    def critic(self, networks: ActorCritic, batch: TensorDictBase) -> Tensor:
        """The critics' loss."""
        after = inputs_of(networks, batch["next"])
        with torch.no_grad():
            action = networks.actor.dist(*after).deterministic_sample
            value = networks.targets(action, *after)[0]
        return critic_loss(networks, batch, self.gamma, value)
