"""A recurrent policy as an agent: what it knows of a task is its memory."""

from __future__ import annotations

import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor
from torchrl.envs.utils import ExplorationType, set_exploration_type

from hgm.agents.base import Agent
from hgm.policies.recurrent import RecurrentActor


class RecurrentAgent(Agent):
    """Acts by a recurrent policy, whose memory goes on through all episodes of a task.

    Source: Y. Duan et al., *RL2: Fast Reinforcement Learning via Slow Reinforcement Learning*,
    arXiv 1611.02779. No weight changes at test time. Actions are the policy's medians, in
    exploration as well, for which it was trained. The memory goes on in :meth:`observe`, by what
    is told there, and never in :meth:`act`.

    Args:
        actor: A policy of :func:`hgm.policies.recurrent.make_recurrent`.
    """

    def __init__(self, actor: RecurrentActor) -> None:
        self.actor = actor

    def begin(self, num_tasks: int) -> None:
        """Memories are empty."""
        self._known = self.actor.blank(num_tasks)

    def started(self, where: Tensor) -> None:
        """Tells so at the next step there; memories stay."""
        start = self._known["start"]
        self._known["start"] = torch.where(where[:, None], torch.ones_like(start), start)

    def observe(
        self, state: Tensor, action: Tensor, reward: Tensor, next_observation: Tensor
    ) -> None:
        """Memories go on by one step, except in tasks without a transition."""
        old = self._known
        entries = {
            "previous_action": action,
            "previous_reward": reward.nan_to_num()[:, None],
            "start": torch.zeros_like(old["start"]),
            "is_init": torch.zeros_like(old["is_init"]),
            "memory": self._run(old, state)["next", "memory"],
        }
        new = TensorDict(entries, old.batch_size)
        self._known = torch.where(reward.isnan(), old, new)

    def act(self, state: Tensor) -> Tensor:
        """Medians of the policy in every task."""
        copies = state.shape[1:-1].numel()
        known = _repeat(self._known, copies)
        return self._run(known, state.flatten(0, -2))["action"].view(*state.shape[:-1], -1)

    def explore(
        self, state: Tensor, low: Tensor, high: Tensor, generator: torch.Generator
    ) -> Tensor:
        """The same as :meth:`act`."""
        return self.act(state)

    def fork(self, copies: int) -> RecurrentAgent:
        """Learns on in every copy for itself."""
        agent = RecurrentAgent(self.actor)
        agent._known = _repeat(self._known, copies)
        return agent

    @torch.no_grad()
    def _run(self, known: TensorDictBase, state: Tensor) -> TensorDictBase:
        device = next(self.actor.parameters()).device
        step = known.copy().set("observation", state).to(device)
        with set_exploration_type(ExplorationType.DETERMINISTIC):
            return self.actor(step).to(state.device)


def _repeat(known: TensorDictBase, copies: int) -> TensorDictBase:
    return known[:, None].expand(len(known), copies).reshape(-1)
