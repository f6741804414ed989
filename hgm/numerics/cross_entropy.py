"""Maximisation by the cross-entropy method, of many problems at once."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def maximise(
    score: Callable[[Tensor], Tensor],
    low: Tensor,
    high: Tensor,
    num_problems: int,
    num_candidates: int,
    num_rounds: int,
    generator: torch.Generator,
) -> Tensor:
    r"""Points of large score within a box, one for each of ``P`` problems.

    Every round draws ``C`` candidates :math:`x = \mathrm{clip}(\mu + \sigma \xi)`, and takes mean
    and standard deviation of the best eighth, at least two of them, as the next :math:`\mu` and
    :math:`\sigma`; the first are centre and half width of the box. Problems share the draws
    :math:`\xi`. TorchRL's planner starts from a deviation of 1 in any units, and draws from the
    global generator.

    Source: R. Rubinstein, *The Cross-Entropy Method for Combinatorial and Continuous Optimization*,
    1999.

    Args:
        score: Candidates ``(P, C, ...)`` to scores ``(P, C)``.
        low: Least values, ``(...)``.
        high: Largest values, ``(...)``.
        num_problems: Number ``P``.
        num_candidates: Number ``C``, at least 2.
        num_rounds: Number of rounds.
        generator: The only source of randomness.

    Returns:
        The means after the last round, ``(P, ...)``.

    Example:
        >>> box = torch.tensor([-1.0, -1.0]), torch.tensor([1.0, 1.0])
        >>> near = lambda x: -(x - torch.tensor([0.5, 2.0])).norm(dim=-1)
        >>> found = maximise(near, *box, 3, 64, 8, torch.Generator().manual_seed(0))
        >>> bool((found - torch.tensor([0.5, 1.0])).abs().max() < 0.05)
        True
    """
    shape = (num_problems, 1, *low.shape)
    mean = ((low + high) / 2).expand(shape)
    deviation = ((high - low) / 2).expand(shape)
    num_best = max(2, num_candidates // 8)
    for _ in range(num_rounds):
        noise = torch.randn(1, num_candidates, *low.shape, generator=generator, dtype=low.dtype)
        drawn = torch.minimum(torch.maximum(mean + deviation * noise, low), high)
        best = score(drawn).topk(num_best, 1).indices
        best = drawn[torch.arange(num_problems)[:, None], best]
        mean, deviation = best.mean(1, keepdim=True), best.std(1, keepdim=True)
    return mean[:, 0]
