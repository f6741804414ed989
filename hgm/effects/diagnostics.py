"""Whether chains agree, and how many independent draws theirs are worth.

Source: A. Vehtari, A. Gelman, D. Simpson, B. Carpenter, P.-C. Buerkner, *Rank-normalization,
folding, and localization: an improved R-hat*, Bayesian Analysis 16 (2021), without the ranks:
posteriors here have moments.
"""

from __future__ import annotations

import torch
from torch import Tensor


def r_hat(draws: Tensor) -> Tensor:
    r"""Split R-hat, :math:`\sqrt{((n - 1) W / n + B / n) / W}`, of halves of chains.

    Args:
        draws: Of ``M`` chains, ``(M, n, ...)`` with at least 4 draws each.

    Returns:
        Of every quantity, ``(...)``: 1 where chains agree.

    Example:
        >>> draws = torch.randn(4, 500, generator=torch.Generator().manual_seed(0))
        >>> bool(r_hat(draws) < 1.01), bool(r_hat(draws + torch.arange(4.0)[:, None]) > 1.5)
        (True, True)
    """
    halves = _halves(draws)
    within = halves.var(1).mean(0)
    between = halves.mean(1).var(0)
    num = halves.shape[1]
    return (((num - 1) / num * within + between) / within).sqrt()


def effective_size(draws: Tensor) -> Tensor:
    r"""Effective number of independent draws, :math:`M n / (1 + 2 \sum_t \rho_t)`.

    Autocorrelations of all chains together, cut off where the sum of a pair of them is no longer
    positive, and made monotone (Geyer, 1992).

    Args:
        draws: Of ``M`` chains, ``(M, n, ...)`` with at least 4 draws each.

    Returns:
        Of every quantity, ``(...)``.

    Example:
        >>> draws = torch.randn(4, 500, generator=torch.Generator().manual_seed(0))
        >>> bool(1500 < effective_size(draws) < 2700)
        True
    """
    halves = _halves(draws)
    chains, num = halves.shape[:2]
    centred = halves - halves.mean(1, keepdim=True)
    spectrum = torch.fft.rfft(centred, 2 * num, dim=1)
    covariance = torch.fft.irfft(spectrum.abs().square(), 2 * num, dim=1)[:, :num] / num
    within = halves.var(1).mean(0)
    total = (num - 1) / num * within + halves.mean(1).var(0)
    rho = 1 - (within - covariance.mean(0)) / total
    rho[0] = 1.0
    pairs = rho[: num // 2 * 2].unflatten(0, (-1, 2)).sum(1)
    positive = (pairs > 0).long().cumprod(0)
    pairs = (pairs.cummin(0).values * positive).sum(0)
    size = chains * num
    longest = torch.log10(torch.tensor(float(size))).item()
    return size / (2 * pairs - 1).clamp_min(1 / longest)


def _halves(draws: Tensor) -> Tensor:
    half = draws.shape[1] // 2
    return torch.cat((draws[:, :half], draws[:, -half:]))
