"""Bandits: arms whose rewards have means that one does not know."""

from __future__ import annotations

import torch
from tensordict.nn import TensorDictModule, TensorDictModuleBase
from torch import Tensor

from hgm.checks import check_choice, check_int
from hgm.envs.base import MAX_DIM
from hgm.envs.discrete import DiscreteFamily


class Bandit(DiscreteFamily):
    r"""``K`` arms, one pulled at a time, for ``max_steps`` pulls.

    * ``kind="bernoulli"``: the reward is 1 with probability :math:`\mu_a`, else 0, means uniform
      in [0, 1].
    * ``kind="gaussian"``: the reward is :math:`\mu_a + \xi`, means and :math:`\xi` standard normal.

    The observation is a constant 1. All arms' rewards of a step are made of the same uniform
    number, so that copies with the same noise differ by what they pull alone.

    Args:
        num_train_tasks: Number of training tasks, 2 or more.
        num_arms: Number ``K`` of arms.
        kind: ``"bernoulli"`` or ``"gaussian"``.
        max_steps: Pulls of an episode.
        shuffle: See :class:`~hgm.envs.discrete.DiscreteFamily`.
        num_distractors: Likewise.

    Raises:
        ValueError: If an argument is out of range.
    """

    num_observations, num_states = 1, 1
    num_step_noise = 1

    def __init__(
        self,
        num_train_tasks: int = 64,
        num_arms: int = 2,
        kind: str = "bernoulli",
        max_steps: int = 100,
        shuffle: bool = False,
        num_distractors: int = 0,
    ) -> None:
        super().__init__(num_train_tasks, max_steps, shuffle, num_distractors)
        self.num_arms = self.num_actions = check_int("num_arms", num_arms, 2, MAX_DIM)
        self.num_parameters = self.num_arms
        self.kind = check_choice("kind", kind, ["bernoulli", "gaussian"])

    def _sample(self, num: int, generator: torch.Generator) -> Tensor:
        make = torch.rand if self.kind == "bernoulli" else torch.randn
        return make(num, self.num_arms, generator=generator)

    def _start(self, noise: Tensor, tasks: Tensor) -> Tensor:
        return torch.ones_like(tasks[..., :1]).expand(*noise.shape[:-1], 1)

    def _step(
        self, state: Tensor, action: Tensor, noise: Tensor, tasks: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        mean = tasks.expand(*action.shape, -1).gather(-1, action[..., None]).squeeze(-1)
        uniform = noise[..., 0]
        if self.kind == "bernoulli":
            reward = (uniform < mean).to(mean)
        else:
            reward = mean + torch.special.ndtri(uniform.clamp(1e-7, 1 - 1e-7))
        return state, reward, torch.zeros_like(reward, dtype=torch.bool)

    def _observe(self, state: Tensor, tasks: Tensor) -> Tensor:
        return state

    def means(self, tasks: Tensor) -> Tensor:
        """Expected rewards of the actions of tasks ``(..., k)``, in the tasks' order."""
        every = torch.arange(self.num_arms).expand(*tasks.shape[:-1], -1).to(tasks.device)
        order = self.carried_out(every, tasks[..., None, :])
        return tasks.gather(-1, order)

    def optimal_policy(self, tasks: Tensor) -> TensorDictModuleBase:
        """The arm of largest mean, always."""
        best = torch.nn.functional.one_hot(self.means(tasks).argmax(-1), self.num_arms)

        def act(observation: Tensor, task: Tensor) -> Tensor:
            return best.to(observation)[task.squeeze(-1)]

        return TensorDictModule(act, in_keys=["observation", "task"], out_keys=["action"])
