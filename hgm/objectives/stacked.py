"""Agents of equal sizes, stacked: a policy and two critics each, and what changes an objective."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from tensordict import TensorDictBase
from tensordict.nn import TensorDictModuleBase
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torchrl.envs.utils import ExplorationType, exploration_type

from hgm.checks import check_int
from hgm.objectives.base import ActorCritic, follow
from hgm.objectives.learned import LearnedObjective
from hgm.policies.feedforward import perceptron, twin_values

Weights = Sequence[Tensor]
RECENT = 0.01
"""Share of the present slope in the usual one."""


class ActorCritics(TensorDictModuleBase):
    r"""``A`` of :class:`hgm.objectives.ActorCritic` in one tensor per weight, as if one by one.

    As a TensorDict module it acts: from ``observation (A, K, n)`` to ``action (A, K, m)``, the
    median, unless TorchRL's exploration type is random: then a sample.

    Args:
        objective: Whose exploration and critics they have.
        num: Number ``A`` of agents.
        dim_state: State dimension ``n``.
        dim_action: Action dimension ``m``.
        box: Least and largest actions, ``(2, m)``.
        width: Width of the hidden layers of actors and critics.
        depth: Number of hidden layers.

    Attributes:
        actors: Weights of the policies, each ``(A, ...)``.
        critics: Weights of the critics, likewise.
        targets: Weights that follow those of the critics.
        square_slope: See :meth:`usual_slope`.

    Raises:
        ValueError: If an argument is out of range.
    """

    low: Tensor
    high: Tensor
    square_slope: Tensor

    def __init__(
        self,
        objective: LearnedObjective,
        num: int,
        dim_state: int,
        dim_action: int,
        box: Tensor,
        width: int = 64,
        depth: int = 2,
    ) -> None:
        super().__init__()
        self.in_keys, self.out_keys = ["observation"], ["action"]
        self.num, self.spread = check_int("num", num, 1), objective.actor_spread
        networks = [
            ActorCritic(objective, dim_state, dim_action, box, width, depth)
            for _ in range(self.num)
        ]
        # Hidden in a tuple: how it computes is used, its own weights are not.
        self._one = (networks[0].actor.net,)
        actors = stack_module_state([one.actor.net for one in networks])[0]
        critics = stack_module_state([one.critics for one in networks])[0]
        self._names = [*actors]
        self._sizes = (dim_state, dim_action, width, depth)
        self.actors = nn.ParameterList(value.detach() for value in actors.values())
        self.critics = nn.ParameterList(value.detach() for value in critics.values())
        self.targets = nn.ParameterList(value.detach().clone() for value in critics.values())
        self.targets.requires_grad_(False)
        self.register_buffer("low", box[0].clone())
        self.register_buffer("high", box[1].clone())
        self.register_buffer("square_slope", torch.zeros(self.num))

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Writes ``action``."""
        latent = self._latent([*self.actors], tensordict["observation"])
        if exploration_type() == ExplorationType.RANDOM:
            latent = latent + self.spread * torch.randn_like(latent)
        tensordict["action"] = self._squash(latent)
        return tensordict

    def act(self, actors: Weights, observation: Tensor) -> Tensor:
        """Medians ``(A, B, m)`` of policies with these weights, in states ``(A, B, n)``."""
        return self._squash(self._latent(actors, observation))

    def values(self, critics: Weights, action: Tensor, observation: Tensor) -> Tensor:
        """Both values ``(A, 2, B)`` by critics with these weights."""
        inputs = torch.cat((observation, self.halves(action)), -1)
        return vmap(twin_values)([*critics], inputs)

    def halves(self, action: Tensor) -> Tensor:
        """Actions ``(..., m)`` in half ranges from the middle of the box, in [-1, 1]."""
        return (2 * action - (self.high + self.low)) / (self.high - self.low)

    def judged(self, actors: Weights, observation: Tensor) -> Tensor:
        r"""What the critics, fixed, say of policies: means ``(A,)`` of :math:`Q_1(s, \mu(s))`."""
        critics = [value.detach() for value in self.critics]
        return self.values(critics, self.act(actors, observation), observation)[:, 0].mean(-1)

    def critics_loss(self, objective: LearnedObjective, batch: TensorDictBase) -> Tensor:
        """TD3's ``(A,)`` of transitions ``[A, B]``."""
        batch = objective.ended(batch)
        after, observation = batch["next"], batch["next", "observation"]
        with torch.no_grad():
            action = self.act([*self.actors], observation)
            action = objective.disturbed(action, self.low, self.high)
            value = self.values([*self.targets], action, observation).amin(1)
            goes_on = objective.gamma * ~after["terminated"].squeeze(-1)
            target = torch.addcmul(after["reward"].squeeze(-1), goes_on, value)
        found = self.values([*self.critics], batch["action"], batch["observation"])
        return (found - target[:, None]).square().mean(-1).sum(-1)

    def learned_loss(
        self, objective: LearnedObjective, actors: Weights, batch: TensorDictBase
    ) -> Tensor:
        """The learned objective's losses ``(A,)`` of pieces ``[A, B, T]``, for these policies."""
        shape, flat = batch.shape[1:], batch.reshape(self.num, -1)
        state, after = flat["observation"], flat["next", "observation"]
        policy = self.act(actors, state)
        with torch.no_grad():
            critics = [*self.critics]
            value = self.values(critics, policy, state)[:, 0]
            value_after = self.values(critics, self.act(actors, after), after)[:, 0]
            taken = self.values(critics, flat["action"], state)[:, 0]
        said = tuple(entry.unflatten(1, shape) for entry in (value, value_after, taken))
        box = (self.low, self.high)
        return objective.learned(batch, policy.unflatten(1, shape), said, box)

    def renew(self, index: int) -> None:
        """Gives one agent a policy that knows nothing; its critics stay."""
        fresh = perceptron(*self._sizes)
        with torch.no_grad():
            for value, new in zip(self.actors, fresh.state_dict().values(), strict=True):
                value[index] = new.to(value)

    def gain(self, gradients: Weights, observation: Tensor, rate: float) -> Tensor:
        r"""What an objective is worth, means ``(A,)`` of :math:`Q_1(s, \mu_{\phi'}(s))`, Q fixed.

        With :math:`\phi' = \phi - \eta \nabla_\phi L_\alpha(\phi)`. Its derivative in
        :math:`\alpha` is of second order: the gradients come with their graph.

        Args:
            gradients: :math:`\nabla_\phi L_\alpha`, of each of the policies' weights.
            observation: States ``(A, B, n)`` that the gradients are not from.
            rate: The step's size :math:`\eta`.
        """
        pairs = zip(self.actors, gradients, strict=True)
        moved = [weight.detach() - rate * gradient for weight, gradient in pairs]
        return self.judged(moved, observation)

    def usual_slope(self, slope: Tensor) -> Tensor:
        """Running root mean square ``(A,)`` of slopes, from the first on; a new one counts 1%.

        Args:
            slope: Length of the critics' gradient in a policy's weights at this update, ``(A,)``.
        """
        square = slope.detach().square()
        begun = self.square_slope > 0
        self.square_slope.copy_(torch.where(begun, self.square_slope, square))
        self.square_slope.lerp_(square, RECENT)
        return self.square_slope.sqrt().clamp_min(torch.finfo(slope.dtype).eps)

    def follow(self, rate: float) -> None:
        """Moves the targets by a share of the way towards the critics."""
        follow(self.targets, self.critics, rate)

    @staticmethod
    def unit(gradients: Weights) -> tuple[list[Tensor], Tensor]:
        """Gradients of length 1, agent by agent, and the lengths ``(A,)`` that they had."""
        square = torch.stack([part.flatten(1).square().sum(1) for part in gradients]).sum(0)
        norm = (square + torch.finfo(square.dtype).tiny).sqrt()
        return [part / norm.view(-1, *[1] * (part.ndim - 1)) for part in gradients], norm

    def _latent(self, actors: Weights, observation: Tensor) -> Tensor:
        weights = dict(zip(self._names, actors, strict=True))
        return vmap(lambda own, state: functional_call(self._one[0], own, (state,)))(
            weights, observation
        )

    def _squash(self, latent: Tensor) -> Tensor:
        return torch.lerp(self.low, self.high, torch.sigmoid(2 * latent))
