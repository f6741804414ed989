"""Where tasks that took no part in finding the group are in it."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.func import jacfwd

from hgm import lie
from hgm.numerics.gauss_newton import GaussNewton, Terms, misfit
from hgm.numerics.ranks import ALONE
from hgm.symmetry.pooling import PooledModel
from hgm.symmetry.samples import thin
from hgm.symmetry.scaled import Spanned

_FEW, _MANY = 48, 250  # points of a task that choose among starts, and that refine
_STEPS = 9
_KEPT = 2  # starts that are refined
_SAMPLES = 4
_TASKS = 16  # located at a time


def located(
    group: Spanned, pool: PooledModel, points: Tensor, rewards: Tensor, starts: Tensor
) -> Tensor:
    r"""Coordinates of tasks whose rewards are :math:`r_i(p) = R(L_i^{-1} p)`, ``(N', d)``.

    Cost and memory grow linearly with tasks: each is a fit of `d` unknowns.

    Args:
        group: The group, with starts.
        pool: The one reward model of all tasks.
        points: Points of the tasks, ``(N', B, q)``.
        rewards: Their rewards, ``(N', B)``.
        starts: Coordinates to start from, ``(S, d)``.
    """
    found = [
        _some(group, pool, *part, starts)
        for part in zip(points.split(_TASKS), rewards.split(_TASKS), strict=True)
    ]
    return torch.cat(found)


def _some(
    group: Spanned, pool: PooledModel, points: Tensor, rewards: Tensor, starts: Tensor
) -> Tensor:
    few = _Residuals(group, pool, thin(points, _FEW), thin(rewards, _FEW))
    coords = starts.expand(len(points), *starts.shape)
    terms = few(coords, False)
    loss = misfit(terms.residual.square().sum(-1), terms.variance + few.floor**2).mean(-1)
    best = loss.argsort(1)[:, :_KEPT]
    solver = GaussNewton(
        coords.gather(1, best[..., None].expand(-1, -1, coords.shape[-1])), few.floor
    )
    many = _Residuals(group, pool, thin(points, _MANY), thin(rewards, _MANY))
    for step in range(_STEPS):
        residuals = few if step < _STEPS // 2 else many
        trial = solver.propose(residuals(solver.unknowns, True), ALONE)
        loss = solver.decide(residuals(trial, False), ALONE)
    return torch.take_along_dim(solver.unknowns, loss.argmin(1)[:, None, None], 1)[:, 0]


def misfits(
    group: Spanned, pool: PooledModel, points: Tensor, rewards: Tensor, coords: Tensor
) -> Tensor:
    """Mean robust misfits of tasks at coordinates ``(N', d)`` that were found for them, ``(N',)``.

    Args:
        group: The group.
        pool: The one reward model.
        points: Points of the tasks, ``(N', B, q)``.
        rewards: Their rewards, ``(N', B)``.
        coords: Coordinates of the tasks.
    """
    some = _Residuals(group, pool, thin(points, _MANY), thin(rewards, _MANY))
    terms = some(coords[:, None], False)
    return misfit(terms.residual.square().sum(-1), terms.variance + some.floor**2).mean(-1)[:, 0]


class _Residuals:
    """Rewards less the pooled model's, of tasks in many places at once: :math:`R(L^{-1} p) - r`."""

    def __init__(self, group: Spanned, pool: PooledModel, points: Tensor, rewards: Tensor) -> None:
        model = pool.reward_model()
        # Variances only tell where the data end: few samples of the weights will do.
        spread = model.spread[:, :_SAMPLES] * (model.spread.shape[1] / _SAMPLES) ** 0.5
        self.group, self.model = group, replace(model, spread=spread)
        self.points, self.rewards = points, rewards
        self.floor = float(self.model.noise)

    def __call__(self, coords: Tensor, derive: bool) -> Terms:
        """Coordinates ``(N', S, d)`` to residuals ``(N', S, K, 1)``."""

        def back(values: Tensor) -> Tensor:
            return self.group.exp(-values)

        moved = lie.act(back(coords), self.points[:, None])
        if not derive:
            value, variance = self.model.value(moved)
            return Terms((value - self.rewards[:, None])[..., None], variance, None)
        prediction = self.model(moved)
        residual = (prediction.value - self.rewards[:, None])[..., None]
        flat = coords.reshape(-1, coords.shape[-1])
        change = torch.func.vmap(jacfwd(back))(flat).movedim(-1, 1)
        change = change.reshape(*coords.shape[:-1], *change.shape[1:])
        along = lie.field(change, self.points[:, None]) @ prediction.gradient[..., None]
        return Terms(residual, prediction.variance, along)
