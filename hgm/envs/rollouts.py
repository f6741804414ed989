"""Whole episodes of a policy in a batched environment, with their returns."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from tensordict import TensorDict, TensorDictBase
from tensordict.nn import TensorDictModuleBase
from torch import Tensor
from torchrl.envs import EnvBase
from torchrl.envs.utils import ExplorationType, set_exploration_type, step_mdp

from hgm.checks import check_int


class Rollouts(NamedTuple):
    """One episode of every copy of every task.

    Attributes:
        returns: Undiscounted sums of rewards, ``(N, K)``.
        success: Whether the episode terminated, which here means at the goal, ``(N, K)``.
        trajectories: Transitions ``[N, K, T]`` with TorchRL's keys, and ``mask``, which is False
            after an episode's end; ``T`` is the length of the longest.
    """

    returns: Tensor
    success: Tensor
    trajectories: TensorDictBase


@torch.no_grad()
def returns(
    env: EnvBase,
    policy: TensorDictModuleBase,
    max_steps: int,
    observe: Callable[[Tensor, Tensor, Tensor, Tensor], None] | None = None,
) -> Rollouts:
    """Runs the deterministic policy for one episode in every copy, from a fresh reset.

    Copies that are done keep on moving, unheard, and nothing is reset on the way. So two policies
    in environments of the same seed meet the same starts and the same noise.

    Args:
        env: Environment of batch size ``(N, K)``.
        policy: A module that writes ``action``.
        max_steps: Length at which episodes are cut off.
        observe: Told of every step: state, action, reward and next state, ``(N, K, ...)``; the
            reward is NaN where the episode was over.

    Raises:
        ValueError: If `max_steps` is not an int of at least 1.

    Example:
        >>> from hgm.envs import Navigation
        >>> family = Navigation(noise=0.0)
        >>> tasks = family.train_tasks(seed=0)
        >>> env = family.make_env(tasks, num_copies=3, seed=0)
        >>> returns(env, family.goal_policy(tasks), max_steps=100).returns.shape
        torch.Size([4, 3])
    """
    check_int("max_steps", max_steps, 1)
    current = env.reset()
    alive = torch.ones(env.batch_size, dtype=torch.bool, device=current.device)
    success = torch.zeros_like(alive)
    steps = []
    with set_exploration_type(ExplorationType.DETERMINISTIC):
        for _ in range(max_steps):
            moved = env.step(policy(current))
            steps.append(moved.select("observation", "action", "next").set("mask", alive))
            if observe is not None:
                reward = moved["next", "reward"].squeeze(-1).where(alive, torch.nan)
                following = moved["next", "observation"]
                observe(moved["observation"], moved["action"], reward, following)
            success = success | (alive & moved["next", "terminated"].squeeze(-1))
            alive = alive & ~moved["next", "done"].squeeze(-1)
            if not alive.any():
                break
            current = step_mdp(moved)
    trajectories = TensorDict.maybe_dense_stack(steps, env.batch_dims)
    rewards = trajectories["next", "reward"].squeeze(-1)
    return Rollouts((rewards * trajectories["mask"]).sum(-1), success, trajectories)
