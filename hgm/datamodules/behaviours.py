"""Behaviour policies that gather transitions, each with a private generator."""

from __future__ import annotations

import torch
from tensordict.nn import TensorDictModule, TensorDictModuleBase, TensorDictSequential
from torch import Tensor
from torchrl.envs import EnvBase

from hgm.checks import check_choice
from hgm.envs.base import TaskFamily

BEHAVIOURS = ("random", "goal")
EXPLORATION = 0.25
"""Standard deviation of a goal behaviour's exploration, in half widths of the action range."""


def make_behaviour(
    name: str, family: TaskFamily, tasks: Tensor, env: EnvBase, seed: int
) -> TensorDictModuleBase:
    """Build the behaviour policy ``name`` for an environment that runs ``tasks``.

    * ``"random"``: uniform in the environment's action spec.
    * ``"goal"``: the family's goal policy plus Gaussian exploration, clipped to the spec. It
      imitates the replay of trained agents, and like it covers only a sector of the space.

    Args:
        name: One of the above.
        family: The family that owns the goal policy.
        tasks: Task parameters, ``(N, k)``.
        env: Environment whose action spec and device count.
        seed: Seed of the private generator.

    Returns:
        A module that writes ``action``.

    Raises:
        ValueError: If the name is unknown, or the family has no goal policy.
    """
    check_choice("behaviour", name, BEHAVIOURS)
    space = env.action_spec.space
    low, high = space.low, space.high
    generator = torch.Generator(low.device).manual_seed(seed)

    def uniform(observation: Tensor) -> Tensor:
        return low + (high - low) * torch.empty_like(low).uniform_(generator=generator)

    def explore(action: Tensor) -> Tensor:
        noise = torch.empty_like(low).normal_(generator=generator)
        return (action + EXPLORATION * (high - low) / 2 * noise).clamp(low, high)

    if name == "random":
        return TensorDictModule(uniform, in_keys=["observation"], out_keys=["action"])
    noisy = TensorDictModule(explore, in_keys=["action"], out_keys=["action"])
    return TensorDictSequential(family.goal_policy(tasks), noisy)
