"""What a phase of discovery is given: transitions of all tasks, or what rewards see of them."""

from typing import NamedTuple

from torch import Tensor


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
