"""Whether rewards are better described where long tails of points are bent."""

from __future__ import annotations

from torch import Tensor

from hgm.numerics.fourier import LENGTHSCALES, FourierRegression
from hgm.numerics.tails import Tails, long_tails
from hgm.symmetry.samples import thin

_WAVES, _ROWS, _TASKS = 192, 1500, 8
_LESS = 0.7  # of what is left with nothing bent: errors of bent waves outweigh a smaller gain
_NO_WORSE = 1.25  # what is left with a coordinate straight, relative to that with it bent


def worth_bending(points: Tensor, reward: Tensor) -> Tails | None:
    """What bends long tails; None where there are none, or rewards are not clearly better told.

    By what regressions of single tasks leave: whether tasks are alike is not asked. Coordinates
    that need not be bent for it are left alone.

    Args:
        points: What rewards are functions of, ``(N, B, q)``.
        reward: Rewards, ``(N, B)``.
    """
    tails = long_tails(points.flatten(0, 1))
    if tails is None:
        return None
    some = slice(None, None, max(1, len(points) // _TASKS))
    points, reward = thin(points[some], _ROWS), thin(reward[some], _ROWS)
    least = _left(tails(points), reward)
    if least > _LESS * _left(points, reward):
        return None
    for column in range(points.shape[-1]):
        other = tails.straight(column)
        if _left(other(points), reward) < _NO_WORSE * least:
            tails = other
    return tails


def _left(points: Tensor, reward: Tensor) -> float:
    """Noise of largest evidence, as a share of the rewards' variance."""
    model = FourierRegression(len(points), points.shape[-1], 1, _WAVES, LENGTHSCALES, seed=23)
    model.accumulate(points, reward[..., None])
    model.solve()
    return float((model.noise / model.scale).square().mean())
