"""A learner that learns in its memory, as an agent."""

from __future__ import annotations

import torch
from torch import Tensor

from hgm.agents.base import Agent
from hgm.policies.in_context import InContextLearner, Memory


class InContextAgent(Agent):
    """Lives one life in every task it meets: its memory goes on through all episodes.

    It acts by the largest score, in exploration as well, for which it was trained. The memory goes
    on in :meth:`observe`, by what is told there, and never in :meth:`act`.

    Args:
        learner: The learning algorithm.
        theta: Its parameters, ``(D,)``.
        dim_state: Number ``n`` of observations.
        dim_action: Number ``m`` of actions.
        seed: Seed of memories at birth.
    """

    def __init__(
        self,
        learner: InContextLearner,
        theta: Tensor,
        dim_state: int,
        dim_action: int,
        seed: int = 0,
    ) -> None:
        self.learner, self.theta = learner, theta.detach().cpu()[None]
        self._sizes, self._seed = (dim_state, dim_action), seed

    def begin(self, num_tasks: int) -> None:
        """Memories are those of birth, the same whenever this many tasks are met."""
        generator = torch.Generator().manual_seed(self._seed)
        blank = self.learner.blank(num_tasks, *self._sizes, generator)
        self._weights = self.learner.weights(self.theta)
        self._memory: Memory = [leaf.to(self.theta) for leaf in blank]
        self._action = self.theta.new_zeros(1, self._sizes[1], num_tasks)
        self._reward = self.theta.new_zeros(1, num_tasks)
        self._start = self.theta.new_ones(1, num_tasks)

    def started(self, where: Tensor) -> None:
        """Tells so at the next step there; memories stay."""
        self._start = torch.where(where.cpu(), 1.0, self._start)

    def observe(
        self, state: Tensor, action: Tensor, reward: Tensor, next_observation: Tensor
    ) -> None:
        """Memories go on by one step, except in tasks without a transition."""
        own = [part.to(self.theta) for part in (state, action, reward)]
        there = ~own[2].isnan()
        _, memory = self._run(own[0].mT[None])
        pairs = zip(memory, self._memory, strict=True)
        self._memory = [torch.where(there, new, old) for new, old in pairs]
        index = torch.arange(self._sizes[1])[:, None]
        done = (index == own[1].argmax(-1)).to(self.theta)[None]
        self._action = torch.where(there, done, self._action)
        self._reward = torch.where(there, own[2].nan_to_num(), self._reward)
        self._start = torch.where(there, 0.0, self._start)

    def act(self, state: Tensor) -> Tensor:
        """One-hot actions of largest score."""
        agent = self._repeated(state.shape[1:-1].numel())
        scores, _ = agent._run(state.to(self.theta).flatten(0, -2).mT[None])
        chosen = scores[0].argmax(0).view(state.shape[:-1])
        return torch.nn.functional.one_hot(chosen, self._sizes[1]).to(state)

    def explore(
        self, state: Tensor, low: Tensor, high: Tensor, generator: torch.Generator
    ) -> Tensor:
        """The same as :meth:`act`."""
        return self.act(state)

    def fork(self, copies: int) -> InContextAgent:
        """Learns on in every copy for itself."""
        return self._repeated(copies)

    def _repeated(self, copies: int) -> InContextAgent:
        if copies == 1:
            return self
        agent = InContextAgent(self.learner, self.theta[0], *self._sizes, self._seed)
        agent._weights = self._weights
        agent._memory = [leaf.repeat_interleave(copies, -1) for leaf in self._memory]
        for name in ("_action", "_reward", "_start"):
            setattr(agent, name, getattr(self, name).repeat_interleave(copies, -1))
        return agent

    @torch.no_grad()
    def _run(self, observation: Tensor) -> tuple[Tensor, Memory]:
        told = (observation, self._action, self._reward, self._start)
        return self.learner.step(self._weights, self._memory, *told)
