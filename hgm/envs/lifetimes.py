"""Whole lives of many members in a family of pure functions, without TorchRL on the way."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from hgm.envs.discrete import DiscreteFamily

Choose = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Observations ``(P, L, n)``, last rewards and flags of a start ``(P, L)`` to action indices."""


@torch.no_grad()
def live(
    family: DiscreteFamily,
    tasks: Tensor,
    choose: Choose,
    num_members: int,
    num_steps: int,
    generator: torch.Generator,
) -> Tensor:
    """Rewards of lives, episode after episode in the same task.

    All members meet the same tasks, and the same random numbers at the same step of a life, so
    that they differ by what they do.

    Args:
        family: The family.
        tasks: The task of every life, ``(L, k)``; its type and device are those of everything.
        choose: What all members do.
        num_members: Number ``P`` of members.
        num_steps: Steps ``T`` of a life.
        generator: The only source of randomness, on the tasks' device.

    Returns:
        Rewards, ``(P, L, T)``.
    """
    shape = (num_members, len(tasks))
    starts = family.num_start_noise + family.num_distractors
    steps = family.num_step_noise + family.num_distractors

    def uniform(num: int) -> Tensor:
        return tasks.new_empty(1, len(tasks), num).uniform_(generator=generator)

    state = family.start(uniform(starts), tasks).expand(*shape, -1)
    reward, start = tasks.new_zeros(shape), tasks.new_ones(shape)
    count = torch.zeros(shape, dtype=torch.long, device=tasks.device)
    rewards = tasks.new_empty(*shape, num_steps)
    for index in range(num_steps):
        action = choose(family.observe(state, tasks), reward, start)
        state, reward, terminated = family.step(state, action, uniform(steps), tasks)
        rewards[..., index] = reward
        count = count + 1
        done = terminated | (count >= family.max_steps)
        fresh = uniform(starts)  # drawn at every step, whoever needs it: members share numbers
        if done.any():
            state = torch.where(done[..., None], family.start(fresh, tasks), state)
            count = count.masked_fill(done, 0)
        start = done.to(tasks)
    return rewards
