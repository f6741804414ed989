"""One policy for all tasks, told by a latent which task it is in."""

from __future__ import annotations

import torch
from tensordict import TensorDict
from tensordict.nn import TensorDictModuleBase
from torch import Tensor
from torchrl.envs.utils import ExplorationType, set_exploration_type

from hgm.agents.base import Agent
from hgm.inference.base import TaskInference


class ContextAgent(Agent):
    """Sums up what the transitions of a task tell, and hands the latent to a policy.

    It explores with a policy of its own for that; or as the policy would in a task that is drawn
    from the belief, anew for every episode (posterior sampling); or uniformly.

    Args:
        actor: From ``observation`` and ``latent`` to ``action``.
        inference: From transitions to latents.
        explorer: The same as the actor, for exploring, told what is known so far.
        posterior_sampling: Whether to explore by it if there is no explorer.
    """

    def __init__(
        self,
        actor: TensorDictModuleBase,
        inference: TaskInference,
        explorer: TensorDictModuleBase | None = None,
        posterior_sampling: bool = False,
    ) -> None:
        self.actor, self.inference, self.explorer = actor, inference, explorer
        self.posterior_sampling = posterior_sampling
        self.oracle = inference.oracle

    def begin(self, num_tasks: int) -> None:
        """Knows nothing: the belief is the prior."""
        self._total = torch.zeros(
            num_tasks, self.inference.dim_statistic, device=self.inference.device
        )
        self._latent = self._sample = self.inference.read(self._total)

    def reveal(self, tasks: Tensor) -> None:
        """Takes the parameters as latents."""
        self._latent = self._sample = tasks.to(self._total)

    @torch.no_grad()
    def started(self, where: Tensor) -> None:
        """Samples the belief anew."""
        if not self.oracle:
            sample = self.inference.read(self._total, sample=True)
            self._sample = torch.where(where[:, None].to(sample.device), sample, self._sample)

    @torch.no_grad()
    def observe(
        self, state: Tensor, action: Tensor, reward: Tensor, next_observation: Tensor
    ) -> None:
        """Adds the transition's statistic to what is known of its task."""
        if self.oracle:
            return
        after = {"observation": next_observation, "reward": reward.nan_to_num()[:, None]}
        seen = {"observation": state, "action": action, "next": after}
        statistic = self.inference.embed(TensorDict(seen, [len(state)]).to(self.inference.device))
        given = ~reward.isnan()[:, None].to(statistic.device)
        self._total = self._total + torch.where(given, statistic, 0.0)
        self._latent = self.inference.read(self._total)

    def act(self, state: Tensor) -> Tensor:
        """The policy's actions, told what is known of every task."""
        return self._acted(self.actor, self._latent, state)

    def explore(
        self, state: Tensor, low: Tensor, high: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Sampled actions of the explorer, or of the policy, told a sample, or uniform ones."""
        if self.explorer is None and not self.posterior_sampling:
            return super().explore(state, low, high, generator)
        alone = self.explorer is None
        actor, latent = (self.actor, self._sample) if alone else (self.explorer, self._latent)
        seed = int(torch.randint(2**62, (1,), generator=generator, device=generator.device))
        with torch.random.fork_rng(), set_exploration_type(ExplorationType.RANDOM):
            torch.manual_seed(seed)
            return self._acted(actor, latent, state).clamp(low, high)

    @torch.no_grad()
    def _acted(self, actor: TensorDictModuleBase, latent: Tensor, state: Tensor) -> Tensor:
        latent = latent.view(len(latent), *(1,) * (state.dim() - 2), -1)
        latent = latent.expand(*state.shape[:-1], -1)
        told = self.inference.tell(state.to(latent.device), latent)
        entries = TensorDict(observation=told[0], latent=told[1], batch_size=state.shape[:-1])
        return actor(entries)["action"].to(state.device)
