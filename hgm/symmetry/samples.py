"""What a phase of discovery is given: transitions of all tasks, or what rewards see of them."""

from typing import NamedTuple

import torch
from torch import Tensor

_STRETCH, _LEAST_STRETCHES = 50, 4  # transitions of a stretch of time; stretches of either half


class Samples(NamedTuple):
    """Transitions of N tasks in float64; rewards in units of their standard deviation.

    Shapes: `state` and `next_state` ``(N, B, n)``, `action` ``(N, B, m)``, `reward` ``(N, B)``.
    """

    state: Tensor
    action: Tensor
    reward: Tensor
    next_state: Tensor


class Seen(NamedTuple):
    """Rewards ``(N, B)``, and the points ``(N, B, q)`` that they are functions of."""

    points: Tensor
    reward: Tensor


def thin(points: Tensor, num: int) -> Tensor:
    """At most about `num` points of every task, evenly spaced in time, ``(N, K, n)``."""
    return points[:, :: max(1, points.shape[1] // num)]


def halves(shape: torch.Size) -> Tensor:
    """Which half a transition belongs to: stretches of time take turns, ``(N, B)`` of 0 and 1."""
    num = shape[1]
    stretch = max(1, min(_STRETCH, num // (2 * _LEAST_STRETCHES)))
    return (torch.arange(num) // stretch % 2).expand(shape)


def every_second(shape: torch.Size) -> Tensor:
    """Which half a task belongs to, ``(N, B)`` of 0 and 1."""
    return (torch.arange(shape[0]) % 2)[:, None].expand(shape)
