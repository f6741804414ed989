"""Stepping of batched environments: the one loop, and whole episodes with their returns."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from tensordict import TensorDict, TensorDictBase
from tensordict.nn import TensorDictModuleBase
from torch import Tensor
from torchrl.envs import EnvBase
from torchrl.envs.utils import ExplorationType, set_exploration_type, step_mdp

from hgm.checks import Diverged, check_int

_LARGEST = sys.maxsize


class Rollouts(NamedTuple):
    """One episode of every copy of every task.

    Attributes:
        returns: Undiscounted sums of rewards, ``(N, K)``.
        terminated: Whether the episode terminated: at the goal, unless its family
            :attr:`~hgm.envs.TaskFamily.fails`, ``(N, K)``.
        trajectories: Transitions ``[N, K, T]`` with TorchRL's keys, and ``mask``, which is False
            after an episode's end; ``T`` is the length of the longest.
    """

    returns: Tensor
    terminated: Tensor
    trajectories: TensorDictBase


def walk(
    env: EnvBase,
    act: Callable[[TensorDictBase], Tensor],
    num_steps: int = _LARGEST,
    start: TensorDictBase | None = None,
    reset: bool = True,
) -> Iterator[tuple[TensorDictBase, TensorDictBase]]:
    """Steps an environment, step by step as it is iterated.

    Args:
        env: Environment of batch size ``(N, K)``.
        act: Where the copies are, to actions ``(N, K, m)``.
        num_steps: Number of steps.
        start: Where to go on from; None: from a reset.
        reset: Whether copies that are done start anew; otherwise they keep on moving.

    Yields:
        The transitions ``[N, K]`` of a step, with TorchRL's keys, and where the copies are then.

    Raises:
        ValueError: If the environment raises, or what it returns is not finite.
        Diverged: If actions are not finite.

    Example:
        >>> from hgm.envs import Navigation
        >>> family = Navigation(noise=0.0)
        >>> env = family.make_env(family.train_tasks(seed=0), num_copies=3, seed=0)
        >>> still = lambda current: torch.zeros_like(current["observation"])
        >>> [now["step_count"].max().item() for _, now in walk(env, still, num_steps=3)]
        [1, 2, 3]
    """
    current = _guarded(env, env.reset) if start is None else start
    for _ in range(num_steps):
        action = act(current)
        if not action.sum().isfinite():
            raise Diverged(
                "Expected finite actions, got NaN or infinite ones: the policy has diverged. Lower "
                "its learning rates."
            )
        current["action"] = action
        if reset:
            moved, current = _guarded(env, env.step_and_maybe_reset, current)
        else:
            moved = _guarded(env, env.step, current)
            current = step_mdp(moved)
        _check(moved)
        yield moved, current


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
        observe: Hears of every step: state, action, reward and next state, ``(N, K, ...)``; the
            reward is NaN where the episode was over.

    Raises:
        ValueError: If `max_steps` is not an int of at least 1, or as :func:`walk`.
        Diverged: As :func:`walk`.

    Example:
        >>> from hgm.envs import Navigation
        >>> family = Navigation(noise=0.0)
        >>> tasks = family.train_tasks(seed=0)
        >>> env = family.make_env(tasks, num_copies=3, seed=0)
        >>> returns(env, family.goal_policy(tasks), max_steps=100).returns.shape
        torch.Size([4, 3])
    """
    check_int("max_steps", max_steps, 1)
    alive = torch.ones(env.batch_size, dtype=torch.bool, device=env.device)
    terminated = torch.zeros_like(alive)
    steps = []
    with set_exploration_type(ExplorationType.DETERMINISTIC):
        for moved, _ in walk(env, lambda now: policy(now)["action"], max_steps, reset=False):
            steps.append(moved.select("observation", "action", "next").set("mask", alive))
            after = moved["next"]
            if observe is not None:
                reward = after["reward"].squeeze(-1).where(alive, torch.nan)
                observe(moved["observation"], moved["action"], reward, after["observation"])
            terminated = terminated | (alive & after["terminated"].squeeze(-1))
            alive = alive & ~after["done"].squeeze(-1)
            if not alive.any():
                break
    trajectories = TensorDict.maybe_dense_stack(steps, env.batch_dims)
    rewards = trajectories["next", "reward"].squeeze(-1)
    return Rollouts((rewards * trajectories["mask"]).sum(-1), terminated, trajectories)


def _guarded(env: EnvBase, move: Callable, *args: TensorDictBase) -> Any:
    try:
        return move(*args)
    except Exception as error:
        raise ValueError(
            f"Expected the environment {type(env).__name__} to run, but its `{move.__name__}` "
            f"raised {type(error).__name__}: {error}"
        ) from error


def _check(moved: TensorDictBase) -> None:
    after = moved["next"]
    if (after["reward"].sum() + after["observation"].sum()).isfinite():
        return
    for key in ("observation", "reward"):
        bad = (~after[key].isfinite()).flatten(1).any(1)
        if bad.any():
            raise ValueError(
                f"Expected finite transitions, but `{('next', key)}` of task "
                f"{int(bad.nonzero()[0])} has NaN or infinite values. Check the environment."
            )
