"""Whether one reward, moved by the elements, is every task's reward."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from hgm import lie
from hgm.evidence.statement import Statement, Tolerance, measure
from hgm.numerics.fourier import LENGTHSCALES, FourierRegression
from hgm.symmetry.samples import Seen

REWARDS = Tolerance(small=5e-6, large=1e-2, approximate=1e-2)
"""Shares of the rewards' variance: amplitudes of 0.2%, 10% and 10%."""

_OF_NOISE = 0.02
"""Share of what no model explains that a deviation may be: a seventh of its amplitude."""
_MOST_SMALL = 1e-3
"""Whatever noise and doubt: an amplitude of 3%."""
_OF_DOUBT = 4.0
"""The same of what the elements may err by: two standard deviations."""

_WAVES = 384  # of the one reward
_FINE = (0.1, 0.2, 0.35, 0.6)  # standard deviations of the points: kinks are narrow
_OWN_WAVES = 128
_DEGREE = 7  # of increasing maps of rewards
_MAP_MISFIT = 1e-4  # share of the variance that such a map may miss
_ROUNDS = 3
_SUP = 0.995  # quantile that stands for the largest deviation


class OneReward(NamedTuple):
    """How well one reward explains all tasks, on held-out transitions.

    Attributes:
        statement: The share of the rewards' variance that is a task's own.
        calibration: ``"same"``, ``"affine"`` or ``"increasing"``: what had to be allowed.
        largest: Largest deviation of a task's reward that is its own, in the units of the rewards.
        noise: Share of the variance that nothing explains.
    """

    statement: Statement
    calibration: str
    largest: float
    noise: float


def one_reward(
    elements: Tensor, generators: Tensor, doubt: Tensor, train: Seen, held: Seen
) -> OneReward:
    r"""Fits :math:`\psi_i(r_i(p)) = R(L_i^{-1} p)` to all tasks, and what each would add to it.

    `R` is a regression on training transitions, refitted to what it leaves; then every task's own
    regression `h_i` learns what is left of its training rewards. On held-out rewards, with
    :math:`e_i` what `R` leaves of them, the effect is :math:`\langle e_i h_i \rangle` as a share of
    the variance: 0 unless a task knows something that the others do not.

    Rewards are compared as they are (:math:`\psi_i` the identity); if that is broken, after
    affine, then after increasing maps, fitted by alternating least squares (Breiman and Friedman,
    *Estimating optimal transformations*, 1985) with the base task's left alone.

    Args:
        elements: Left actions on the points, ``(N, k, k)``.
        generators: Of the group, ``(d, k, k)``.
        doubt: Predicted standard deviations of the elements, in radians, ``(N,)``. What they may
            err by is no deviation of the symmetry.
        train: Points ``(N, B, q)`` and rewards that are learned from.
        held: Points and rewards that are judged by.
    """
    inverse = torch.linalg.inv(elements)
    places = [lie.act(inverse, seen.points) for seen in (train, held)]
    rewards = (train.reward, held.reward)
    best = None
    for calibration, degree in (("same", 0), ("affine", 1), ("increasing", _DEGREE)):
        targets = _calibrated(places[0], rewards, degree)
        found = _compare(places, targets, generators, doubt, calibration)
        if best is None or found.statement.low < best.statement.low:
            best = found
        if not found.statement.broken:
            return found
    assert best is not None, "there are calibrations"
    return best


def _compare(
    places: list[Tensor],
    targets: tuple[Tensor, Tensor],
    generators: Tensor,
    doubt: Tensor,
    name: str,
) -> OneReward:
    (near, far), (target, wanted) = places, targets
    slope: Tensor | None = None
    num, _, dim = near.shape
    left, rest = target, wanted
    # The last one has the waves that the tasks' own regressions will have: what misfit they can
    # tell is told to all tasks first.
    for waves, scales, seed in (
        (_WAVES, LENGTHSCALES, 11),
        (_WAVES, _FINE, 12),
        (_OWN_WAVES, LENGTHSCALES, 13),
    ):
        one = FourierRegression(1, dim, 1, waves, scales, seed=seed)
        one.accumulate(_mixed(near)[None], _mixed(left[..., None])[None])
        one.solve()
        if slope is None:
            slope = one.predict(far.flatten(0, 1)[None])[1][0, :, 0].view_as(far)
        left, rest = (
            value - one.values(place.flatten(0, 1)[None])[0, :, 0].view_as(value)
            for value, place in ((left, near), (rest, far))
        )
    own = FourierRegression(num, dim, 1, _OWN_WAVES, seed=13)
    own.accumulate(near, left[..., None])
    own.solve()
    known = own.values(far)[..., 0]
    variance = wanted.var(1).mean().expand_as(wanted)
    # Where a task's own regression knows nothing, it says nothing.
    shared = one.variance(far.flatten(0, 1)[None]).view_as(rest)
    sure = own.noise.square() / (own.noise.square() + own.variance(far) + shared)
    product = sure * rest * known
    statement = measure(product.mT.flatten(), (sure * variance).mT.flatten(), REWARDS)
    left_over = (sure * (rest - known).square()).mean() / sure.mean()
    noise = float(left_over / variance.mean().clamp_min(1e-300))
    assert slope is not None, "there is a first regression"
    along = (lie.field(generators, far) @ slope[..., None])[..., 0].square().sum(-1).mean(1)
    unsure = float((doubt.square() * along).mean() / variance.mean().clamp_min(1e-300))
    least = _MAP_MISFIT if name == "increasing" else REWARDS.small
    small = min(least + _OF_NOISE * noise + _OF_DOUBT * unsure, _MOST_SMALL)
    statement = statement._replace(tolerance=REWARDS._replace(small=small))
    return OneReward(statement, name, float(known.abs().flatten().quantile(_SUP)), noise)


def _calibrated(
    place: Tensor, rewards: tuple[Tensor, Tensor], degree: int
) -> tuple[Tensor, Tensor]:
    """Rewards in the base task's units, training and held-out."""
    if degree == 0:
        return rewards
    train, held = rewards
    centre, width = train.mean(1, keepdim=True), train.std(1, keepdim=True).clamp_min(1e-12)
    powers = torch.arange(degree + 1, device=train.device)
    tables = [(((part - centre) / width / 3)[..., None] ** powers) for part in rewards]
    target = train
    pooled = slice(1)  # the base task first, then everyone in its units
    for _ in range(_ROUNDS):
        one = FourierRegression(1, place.shape[-1], 1, _OWN_WAVES, seed=17)
        one.accumulate(_mixed(place[pooled])[None], _mixed(target[pooled, :, None])[None])
        one.solve()
        wanted = one.values(place.flatten(0, 1)[None])[0, :, 0].view_as(train)
        weight = 1 / (1 + one.variance(place.flatten(0, 1)[None]).view_as(train))
        table = tables[0] * weight[..., None]
        normal = table.mT @ tables[0] + 1e-9 * train.shape[1] * torch.eye(degree + 1).to(train)
        maps = torch.linalg.solve(normal, table.mT @ wanted[..., None])
        new = [(part @ maps)[..., 0] for part in tables]
        target = torch.cat((train[:1], new[0][1:]))
        judged = torch.cat((held[:1], new[1][1:]))
        pooled = slice(None)
    return target, judged


def _mixed(values: Tensor) -> Tensor:
    """Rows of all tasks, which take turns: the first ones choose the length scale."""
    return values.transpose(0, 1).flatten(0, 1)
