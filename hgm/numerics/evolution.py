r"""Evolution strategies: ascent on a Gaussian-smoothed fitness, from values alone.

Source: T. Salimans et al., *Evolution Strategies as a Scalable Alternative to Reinforcement
Learning*, arXiv 1703.03864. What is ascended is
:math:`F_\sigma(\theta) = E_\epsilon F(\theta + \sigma\epsilon)`, whose gradient is
:math:`E_\epsilon[F(\theta + \sigma\epsilon)\,\epsilon]/\sigma`.
"""

from __future__ import annotations

import torch
from torch import Tensor


def antithetic(num: int, dim: int, generator: torch.Generator) -> Tensor:
    r"""Standard normal directions in pairs :math:`\pm\epsilon`, ``(num, dim)``.

    The pair of row ``i`` is row ``i + num / 2``: what is even in the direction cancels.

    Args:
        num: Number of members, even.
        dim: Number of parameters.
        generator: The only source of randomness.

    Raises:
        ValueError: If `num` is odd or below 2.

    Example:
        >>> first, second = antithetic(4, 3, torch.Generator().manual_seed(0)).chunk(2)
        >>> torch.equal(first, -second)
        True
    """
    if num < 2 or num % 2:
        raise ValueError(f"Expected an even number of members, at least 2, got {num}.")
    half = torch.randn(num // 2, dim, generator=generator, device=generator.device)
    return torch.cat((half, -half))


def centred_ranks(fitness: Tensor) -> Tensor:
    r"""Ranks of ``(P,)`` values, spread evenly over :math:`[-1/2, 1/2]`; equal values share one.

    They sum to zero, and no increasing function of the fitness changes them.

    Example:
        >>> centred_ranks(torch.tensor([3.0, -7.0, 100.0]))
        tensor([ 0.0000, -0.5000,  0.5000])
    """
    order = fitness.sort().values
    low = torch.searchsorted(order, fitness)
    high = torch.searchsorted(order, fitness, right=True) - 1
    return (low + high).to(fitness) / 2 / max(len(fitness) - 1, 1) - 0.5


def gradient(directions: Tensor, values: Tensor, sigma: float) -> Tensor:
    r"""Estimate of the gradient of the smoothed fitness, :math:`\sum_i v_i \epsilon_i / (P\sigma)`.

    With antithetic directions and the fitness itself as values it is
    :math:`\overline{\epsilon\epsilon^T} g` on a quadratic of gradient ``g``, without any error
    that depends on :math:`\sigma`.

    Args:
        directions: Directions of the members, ``(P, D)``.
        values: Fitness or its ranks, ``(P,)``.
        sigma: Standard deviation of the smoothing.

    Returns:
        The direction of ascent, ``(D,)``.
    """
    return values @ directions / (len(values) * sigma)
