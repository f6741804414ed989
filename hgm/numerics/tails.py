r"""Coordinates with long tails, bent to where data are about normal.

Waves of one length scale describe what changes as quickly everywhere. A volume, a price or a
concentration that spans decades is seen better through

.. math:: y = w \operatorname{asinh}((x - c) / w),

which is about the identity where :math:`|x - c| \ll w` and a logarithm far away: Johnson's `SU`
system (*Biometrika* 36, 1949), with a centre and a width for every coordinate.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

_CENTRES = (0.0, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 1.0)  # quantiles, beside the origin
_ENDS, _QUARTERS = (0.01, 0.99), (0.25, 0.5, 0.75)
_LONG = 2.5  # from the median to an end, in ranges between quartiles; 1.7 where all is normal
_TIES = 0.1  # share of equal numbers: of these, a density says nothing
_CONSTANT = 1e-12  # deviation, relative to the largest number: rounding
_WIDTHS = (0.03, 0.1, 0.3, 1.0, 3.0)  # of the range between quartiles
_STRAIGHT = 1e6  # deviations: as good as the identity, to rounding
_WORTH = 0.1  # nats per number by which normality must gain
_BESIDE = (2.1, 0.03)  # the same two of numbers beside such: sizes mostly come together
_CHANCE = 3.0  # nats that a map gains of few numbers by chance
_ENOUGH = 2000


class Tails(NamedTuple):
    r"""The map :math:`y = w \operatorname{asinh}((x M - c) / w)`.

    Attributes:
        into: The map `M` to the coordinates that are bent, ``(n, q)``.
        centre: Their centres, ``(q,)``.
        width: Their widths, ``(q,)``.
    """

    into: Tensor
    centre: Tensor
    width: Tensor

    def __call__(self, points: Tensor) -> Tensor:
        """Points ``(..., n)`` to bent ones, ``(..., q)``."""
        return self.width.to(points) * torch.asinh(self._scaled(points))

    def slope(self, points: Tensor) -> Tensor:
        """Derivatives of the bent coordinates along their own straight ones, ``(..., q)``."""
        return (1 + self._scaled(points).square()).rsqrt()

    def bend(self, points: Tensor) -> Tensor:
        """Second derivatives of the same, ``(..., q)``."""
        scaled = self._scaled(points)
        return -scaled / self.width.to(points) * (1 + scaled.square()) ** -1.5

    def back(self, gradient: Tensor, points: Tensor) -> Tensor:
        """Gradients by bent coordinates ``(..., q)`` as gradients by points, ``(..., n)``."""
        return (gradient * self.slope(points)) @ self.into.to(points).mT

    def undone(self, bent: Tensor) -> Tensor:
        """Points ``(..., n)`` that are bent to given ones, the shortest if there are several."""
        straight = self.centre + self.width * torch.sinh(bent / self.width)
        return straight @ torch.linalg.pinv(self.into)

    def some(self, columns: list[int]) -> Tails:
        """The same of points that have these coordinates alone, where `M` is the identity."""
        eye = torch.eye(len(columns)).to(self.into)
        return Tails(eye, self.centre[columns], self.width[columns])

    def straight(self, column: int) -> Tails:
        """The same with one coordinate left alone."""
        width = self.width.clone()
        width[column] = 1e3 * _STRAIGHT * self.width[column]
        return self._replace(width=width)

    def among(self, columns: list[int], num: int) -> Tails:
        """The same of points with `num` coordinates, of which these are the ones meant."""
        into = self.into.new_zeros(num, self.into.shape[1])
        into[columns] = self.into
        return self._replace(into=into)

    def seen_through(self, shift: Tensor, into: Tensor) -> Tails:
        r"""The same of points `x`, for :math:`(x - b) M'` with a shift `b` and a map `M'`."""
        into = into @ self.into
        return Tails(into, self.centre + shift @ into, self.width)

    @property
    def packed(self) -> Tensor:
        """As one tensor, ``(n + 2, q)``."""
        return torch.cat((self.into, self.centre[None], self.width[None]))

    @staticmethod
    def of(packed: Tensor) -> Tails:
        """The inverse of :attr:`packed`."""
        return Tails(packed[:-2], packed[-2], packed[-1])

    def _scaled(self, points: Tensor) -> Tensor:
        into, centre, width = (part.to(points) for part in self)
        return (points @ into - centre) / width


def long_tails(points: Tensor) -> Tails | None:
    """What makes points most normal, coordinate by coordinate; None if all are best left alone.

    By the likelihood of a normal distribution after the map, over a grid. Only tails are bent: what
    has an end far from the median, as the quartiles are apart, and is no count, flag or stop.
    Beside such a coordinate, others need less of a tail.

    Args:
        points: Points, ``(B, q)``.
    """
    order = torch.randperm(len(points), generator=torch.Generator().manual_seed(0))
    points = points[order[:_ENOUGH].to(points.device)]
    if len(points) < 2:
        return None

    def quantiles(shares: tuple[float, ...]) -> Tensor:
        return points.quantile(torch.tensor(shares, dtype=points.dtype).to(points), dim=0)

    deviation = points.std(0)
    lower, median, upper = quantiles(_QUARTERS)
    usual, ends = upper - lower, (quantiles(_ENDS) - median).abs().amax(0)
    ties = (points.sort(0).values.diff(dim=0) == 0).to(points).mean(0)
    able = (usual > _CONSTANT * points.abs().amax(0)) & (ties < _TIES)
    usual = torch.where(able, usual, deviation).clamp_min(1e-300)
    centres = quantiles(_CENTRES)
    centres = torch.cat((torch.zeros_like(centres[:1]), centres))
    widths = torch.tensor(_WIDTHS, dtype=points.dtype).to(points)[:, None] * usual
    scaled = (points - centres[:, None, None]) / widths[:, None]
    spread = (widths * torch.asinh(scaled).std(-2)).clamp_min(1e-300)
    cost = spread.log() + 0.5 * torch.log1p(scaled.square()).mean(-2)
    least, best = cost.flatten(0, 1).min(0)
    gain = deviation.log() - least
    bent, beside = (
        able & (ends > long * usual) & (gain > worth)
        for long, worth in ((_LONG, _WORTH), (_BESIDE[0], _BESIDE[1] + _CHANCE / len(points)))
    )
    if not bool(bent.any()):
        return None
    bent = bent | beside
    centre = centres.gather(0, (best // len(_WIDTHS))[None])[0]
    width = widths.gather(0, (best % len(_WIDTHS))[None])[0]
    varies = deviation > _CONSTANT * points.abs().amax(0)
    mean, wide = points.mean(0), _STRAIGHT * torch.where(varies, deviation, 1.0)
    centre, width = torch.where(bent, centre, mean), torch.where(bent, width, wide)
    return Tails(torch.eye(len(bent)).to(points), centre, width)
