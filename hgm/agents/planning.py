"""Regresses a task's reward, and plans with dynamics that all tasks share."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from hgm.agents.base import Agent
from hgm.checks import check_entries
from hgm.dynamics import DynamicsModel
from hgm.numerics.cross_entropy import maximise
from hgm.numerics.pooled import LinearPrior, PooledPosterior

LARGEST = 2**30
"""Most entries of what is known, or planned, in all tasks at once: 8 GiB each."""


class PlanningAgent(Agent):
    r"""Plans the next ``H`` actions in every step, by what it knows of dynamics and rewards.

    .. math:: \max_{a_0 \dots a_{H - 1}} \sum_t \hat r(s_{t + 1}),
        \quad s_{t + 1} = s_t + \hat f(s_t, a_t),

    and takes the first of them. The dynamics are known from training tasks. The reward, a function
    of the transition, is the posterior mean of a regression on the transitions of the task alone,
    whose prior comes from training tasks; or a sample of the posterior, drawn when an episode
    starts. It goes on learning within the episodes that are scored.

    Args:
        dynamics: Fitted to transitions of training tasks.
        prior: Of rewards.
        low: Least actions, ``(m,)``.
        high: Largest actions, ``(m,)``.
        horizon: Number ``H`` of actions that are planned.
        num_candidates: Candidates of the planner in a round.
        num_rounds: Rounds of the planner.
        learns_on: Whether it learns within the episodes that are scored after exploration.
        seed: Seed of the planner's draws, the same whenever new tasks are met.
        samples: Whether it plans on samples of the posterior, and not on its mean. Within an
            episode the sample is :math:`m + V^{1/2} \xi` with the same :math:`\xi`: it follows what
            is learned, and stays one of the posterior.
    """

    _over: Tensor
    _xi: Tensor

    def __init__(
        self,
        dynamics: DynamicsModel,
        prior: LinearPrior,
        low: Tensor,
        high: Tensor,
        horizon: int,
        num_candidates: int,
        num_rounds: int,
        learns_on: bool = True,
        seed: int = 0,
        samples: bool = False,
    ) -> None:
        self.dynamics, self.prior, self.samples = dynamics, prior, samples
        self.low, self.high = low.double(), high.double()
        self.horizon, self.learns_on, self.seed = horizon, learns_on, seed
        self.num_candidates, self.num_rounds = num_candidates, num_rounds

    def begin(self, num_tasks: int) -> None:
        """Knows the prior alone."""
        self._check(num_tasks)
        self._meet(PooledPosterior(self.prior, num_tasks))

    def started(self, where: Tensor) -> None:
        """Nothing that was over is over any more; samples are drawn anew."""
        self._over = self._over & ~where
        if self.samples:
            drawn = torch.randn(self._xi.shape, generator=self._generator, dtype=torch.float64)
            self._xi = torch.where(where[:, None], drawn, self._xi)

    def observe(
        self, state: Tensor, action: Tensor, reward: Tensor, next_observation: Tensor
    ) -> None:
        """Updates the posterior of the reward in every task."""
        given = ~reward.isnan()
        self._rewards.observe(self.prior.inputs(state, action, next_observation), reward, given)
        self._over = ~given

    @torch.no_grad()
    def act(self, state: Tensor) -> Tensor:
        """First actions of the best plans; zeros where the episode is over."""
        num, copies = len(state), state.shape[1:-1].numel()
        action = torch.zeros(num, copies, len(self.low), dtype=torch.float64)
        going = (~self._over).nonzero()[:, 0]
        if len(going):
            start = state.reshape(num, copies, -1)[going].flatten(0, 1).double()
            plan = self._plan(start, going.repeat_interleave(copies))
            action[going] = plan.unflatten(0, (len(going), copies))
        return action.view(*state.shape[:-1], -1).to(state)

    def fork(self, copies: int) -> PlanningAgent | None:
        """Learns on in every copy for itself."""
        if not self.learns_on:
            return None
        self._check(len(self._rewards.mean) * copies)
        other = copy.copy(self)
        other._meet(self._rewards.repeat(copies))
        return other

    def _check(self, num: int) -> None:
        size = len(self.prior.mean)
        check_entries(f"{num} tasks * (waves of the reward)^2", num * size**2, LARGEST)
        plans = num * self.num_candidates * max(size, self.horizon * len(self.low))
        check_entries(f"{num} tasks * `num_candidates` * (waves or actions)", plans, LARGEST)

    def _meet(self, rewards: PooledPosterior) -> None:
        self._rewards = rewards
        self._over = torch.zeros(len(rewards.mean), dtype=torch.bool)
        self._xi = torch.zeros_like(rewards.mean)
        self._generator = torch.Generator().manual_seed(self.seed)

    def _plan(self, start: Tensor, tasks: Tensor) -> Tensor:
        weights = self._rewards.sample(self._xi) if self.samples else None

        def score(actions: Tensor) -> Tensor:
            here = start[:, None].expand(-1, actions.shape[1], -1)
            total = torch.zeros(actions.shape[:2]).double()
            for action in actions.unbind(2):
                inputs, before = torch.cat((here, action), -1), here
                here = here + self.dynamics.values(inputs.flatten(0, 1)).mean(0).view_as(here)
                moved = self.prior.inputs(before, action, here)
                total = total + self._rewards.values(moved, tasks, weights)
            return total

        plan = maximise(
            score,
            self.low.expand(self.horizon, -1),
            self.high.expand(self.horizon, -1),
            len(start),
            self.num_candidates,
            self.num_rounds,
            self._generator,
        )
        return plan[:, 0]
