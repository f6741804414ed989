"""Transitions of many tasks in one table, with those that do not exist masked out."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Observations(NamedTuple):
    """Points ``(T, B, n)``, rewards ``(T, B)`` and which of them exist, ``(T, B)`` bool.

    What does not exist is zero.
    """

    points: Tensor
    rewards: Tensor
    mask: Tensor

    @property
    def num_seen(self) -> Tensor:
        """How many a task has, ``(T,)``."""
        return self.mask.sum(1)

    def at(self, row: Tensor) -> Observations:
        """Those of some tasks."""
        return Observations(*(field[row] for field in self))

    def append(self, others: Observations) -> Observations:
        """More of the same tasks."""
        return Observations(*(torch.cat(pair, 1) for pair in zip(self, others, strict=True)))


def checked(
    num_tasks: int, points: Tensor, rewards: Tensor, mask: Tensor | None, like: Tensor
) -> Observations:
    """Observations in the dtype and on the device of `like`, whose last dimension is ``n``.

    Args:
        num_tasks: Number of tasks ``T``.
        points: ``(T, n)`` or ``(T, B, n)``.
        rewards: ``(T,)`` or ``(T, B)``.
        mask: Which exist, bool of the same shape; all if None.
        like: A tensor ``(..., n)``.

    Raises:
        ValueError: If a shape is wrong, or an entry that exists is not finite.
    """
    n, shape = like.shape[-1], points.shape[:-1]
    if points.dim() not in (2, 3) or (points.shape[0], points.shape[-1]) != (num_tasks, n):
        raise ValueError(
            f"Expected `points` of shape ({num_tasks}, {n}) or ({num_tasks}, B, {n}), but got "
            f"{tuple(points.shape)}."
        )
    check_shape("rewards", rewards, shape)
    mask = torch.ones(shape, dtype=torch.bool) if mask is None else mask
    check_shape("mask", mask, shape)
    if mask.dtype != torch.bool:
        raise ValueError(f"Expected `mask` of dtype torch.bool, but got {mask.dtype}.")
    size = (num_tasks, shape[1:].numel())
    points, rewards = points.to(like).reshape(*size, n), rewards.to(like).reshape(size)
    mask = mask.to(like.device).reshape(size)
    for name, value in (("points", points), ("rewards", rewards[..., None])):
        wrong = mask & ~value.isfinite().all(-1)
        if wrong.any():
            raise ValueError(
                f"Expected `{name}` to be finite where `mask` is true, but {int(wrong.sum())} of "
                f"{mask.numel()} are not."
            )
    return Observations(points.where(mask[..., None], 0.0), rewards.where(mask, 0.0), mask)


def check_shape(name: str, value: Tensor, shape: tuple[int, ...]) -> None:
    """Raises a ValueError that names the argument if its shape is another one."""
    if value.shape != shape:
        raise ValueError(
            f"Expected `{name}` of shape {tuple(shape)}, but got {tuple(value.shape)}."
        )
