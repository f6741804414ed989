"""Where alternating fits end, without all of their steps."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

_MEMORY = 4  # steps that the next one is made of
_RIDGE = 1e-8
_CLOSE = 1e-3  # of the point: it need not be nearer


def fixed_point(step: Callable[[Tensor], Tensor], start: Tensor, rounds: int) -> Tensor:
    r"""Where :math:`x = g(x)`, by Anderson's method.

    With :math:`f_k = g(x_k) - x_k`, the next point is
    :math:`\sum_j \alpha_j g(x_j)` where :math:`\sum_j \alpha_j = 1` minimise
    :math:`|\sum_j \alpha_j f_j|` (Walker and Ni, *Anderson Acceleration for Fixed-Point
    Iterations*, 2011). Two fits in turns go along a valley in steps that shrink by the same factor
    every time: where that is 0.75, ten of them leave a twentieth of the way. From a point with a
    larger :math:`|f|` than the best one, the way goes on by plain steps from the best.

    Args:
        step: :math:`g`.
        start: Where to start, ``(u,)``.
        rounds: How often `step` is called, at most.

    Returns:
        :math:`g(x)` of the point with the least :math:`|f|`.
    """
    points: list[Tensor] = []
    images: list[Tensor] = []
    point, best, least = start, (start, start), float("inf")
    for _ in range(rounds):
        image = step(point)
        moved = float((image - point).norm())
        if moved < least:
            best, least = (point, image), moved
            points, images = [*points, point][-_MEMORY:], [*images, image][-_MEMORY:]
        elif len(points) > 1:
            points, images = [best[0]], [best[1]]
        else:
            break
        if moved <= _CLOSE * float(image.norm()):
            break
        point = _mixed(torch.stack(points), torch.stack(images))
    return best[1]


def _mixed(points: Tensor, images: Tensor) -> Tensor:
    left = images - points
    gram = left @ left.T
    gram = gram + _RIDGE * gram.trace().clamp_min(1e-30) * torch.eye(len(gram)).to(gram)
    weights = torch.linalg.solve(gram, torch.ones_like(gram[:, 0]))
    # About one of them: what is the same in all stays exactly so.
    return images[-1] + (weights / weights.sum()) @ (images - images[-1])
