"""A designed objective of trajectories: REINFORCE, off-policy, with generalised advantages."""

from __future__ import annotations

import torch
from tensordict import TensorDictBase
from torch import Tensor
from torchrl.objectives.value.functional import generalized_advantage_estimate

from hgm.checks import check_int, check_real
from hgm.objectives.base import ActorCritic
from hgm.objectives.td3 import TD3
from hgm.objectives.trajectory import counted


class Reinforce(TD3):
    r"""What MetaGenRL's objective is compared with: nobody corrects for who acted.

    The actor's loss of pieces of ``T`` steps, up to their first end of an episode, is

    .. math::
        -\Bigl\langle \frac{\hat A_t}{\sqrt{\langle \hat A^2 \rangle}}
        \log \pi(a_t \mid s_t) \Bigr\rangle, \qquad
        \hat A_t = \sum_{k \ge 0} (\gamma \lambda)^k \delta_{t + k}, \quad
        \delta_t = r_t + \gamma V(s_{t + 1}) - V(s_t),

    with :math:`V(s) = Q_1(s, \mu(s))` and no value after a terminal step (Schulman et al., arXiv
    1506.02438). The critics are :class:`TD3`'s. Steps are replayed, and count as if the policy had
    taken them.

    Args:
        gamma: Discount, in [0, 1).
        target_rate: Rate at which targets follow the critics, in (0, 1].
        actor_lr: Adam's learning rate of the actor, at the start.
        critic_lr: Adam's learning rate of the critics, at the start.
        spread: Standard deviation of the exploration, and of :math:`\pi` before it is squashed.
        num_steps: Steps ``T`` of a piece.
        trace: The weight :math:`\lambda` of later residuals, in [0, 1].

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
        num_steps: int = 20,
        trace: float = 0.95,
    ) -> None:
        super().__init__(gamma, target_rate, actor_lr, critic_lr, spread)
        self.num_steps = check_int("num_steps", num_steps, 2, 10_000)
        self.trace = check_real("trace", trace, 0.0)
        if self.trace > 1:
            raise ValueError(f"Expected `trace` to be in [0, 1], got {trace!r}.")

    def forward(self, networks: ActorCritic, batch: TensorDictBase) -> dict[str, Tensor]:
        """Both losses of pieces ``[B, T]``, and the policy's mean value.

        Raises:
            ValueError: If transitions come one by one.
        """
        if batch.ndim != 2:
            raise ValueError(
                "Expected pieces of trajectories [B, T] for REINFORCE, got a batch of shape "
                f"{tuple(batch.shape)}: it goes with model=policy data=replay."
            )
        flat = batch.reshape(-1)
        dist = networks.actor.dist(flat["observation"])
        with torch.no_grad():
            value = networks.critics(dist.deterministic_sample, flat["observation"])[0]
            following = networks.actor.dist(flat["next", "observation"]).deterministic_sample
            after = networks.critics(following, flat["next", "observation"])[0]
            advantage, mask = self.advantages(
                batch, value.reshape(batch.shape), after.reshape(batch.shape)
            )
            size = (advantage.square().sum() / mask.sum()).sqrt()
            share = advantage / size.clamp_min(torch.finfo(size.dtype).tiny)
        log_prob = dist.log_prob(flat["action"]).reshape(batch.shape)
        return {
            "loss_critic": self.critic(networks, flat),
            "loss_actor": -(share * log_prob).sum() / mask.sum(),
            "qvalue": value.mean(),
        }

    def advantages(
        self, batch: TensorDictBase, value: Tensor, after: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Advantages ``(B, T)`` of pieces, zero where a step does not count, and which do.

        Args:
            batch: Has ``reward``, ``done`` and ``terminated`` under ``next``.
            value: Values of the states, ``(B, T)``.
            after: Values of the next states, likewise.
        """
        reward, done, terminated = (
            batch["next", key].squeeze(-1) for key in ("reward", "done", "terminated")
        )
        mask = counted(done)
        found, _ = generalized_advantage_estimate(
            *(self.gamma, self.trace, value[..., None], after[..., None]),
            *(reward[..., None], done[..., None], terminated[..., None]),
        )
        return found.squeeze(-1) * mask, mask
