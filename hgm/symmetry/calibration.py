"""How rewards of tasks may differ, and where the fit of that starts: from the base task's model."""

from __future__ import annotations

import torch
from torch import Tensor

from hgm.numerics.fourier import Jet
from hgm.numerics.gauss_newton import normal_equations
from hgm.numerics.maps import Maps, bent
from hgm.numerics.ranks import ALONE, Ranks

_STEADY = 1e-9  # of the largest square: pieces of maps without rewards are 0


def calibrate(base: Jet, rewards: Tensor, noise: Tensor, ranks: Ranks = ALONE) -> Tensor:
    """Least-squares ``log a_i`` and ``b_i`` of rewards against the base model, ``(N, 2)``.

    Args:
        base: Jets of the base task's model at the points carried into its frame, ``(N, B)``.
        rewards: Rewards, ``(N, B)``.
        noise: The tasks' noise, ``(N,)``.
        ranks: Collectives.
    """
    weight = 1 / (base.value_variance + noise[:1].square())
    terms = (torch.ones_like(rewards), base.value, rewards, base.value * rewards, base.value**2)
    sums = ranks.sum(torch.stack([(weight * term).sum(1) for term in terms]))
    mean, mean_reward, cross, square = sums[1:] / sums[0]
    factor = ((cross - mean * mean_reward) / (square - mean**2)).clamp_min(1e-3)
    calibration = torch.stack((factor.log(), mean_reward - factor * mean), -1)
    calibration[0] = 0.0
    return calibration


def start_maps(base: Jet, rewards: Tensor, noise: Tensor, ranks: Ranks = ALONE) -> Maps:
    """Least-squares maps of rewards ``(N, B)`` to the base model's values, as :func:`calibrate`."""
    splines = bent(rewards, ranks)
    table = splines.table(rewards)
    weight = 1 / (base.value_variance + noise[:1].square())
    sums = normal_equations(table, weight, base.value[..., None])
    normal, cross = (ranks.sum(term) for term in sums)
    # Rewards that are all alike have no pieces at all, and no map that increases.
    steady = (_STEADY * normal.diagonal(dim1=-2, dim2=-1).amax(-1)).clamp_min(1e-300)
    eye = torch.eye(normal.shape[-1]).to(normal)
    found = torch.linalg.solve(normal + steady[:, None, None] * eye, cross)[..., 0]
    return Maps(splines, torch.cat((splines.identity()[:1], found[1:])))
