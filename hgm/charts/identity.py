"""The coordinates that the data come in."""

from torch import Tensor

from hgm.charts.base import Chart


class Identity(Chart):
    """States themselves: for groups that act linearly on them, as most do that people know of.

    Args:
        dim_space: State dimension ``n``.
    """

    def _bend(self, points: Tensor) -> Tensor:
        return points

    def _unbend(self, points: Tensor) -> Tensor:
        return points

    def _log_slope(self, points: Tensor) -> Tensor:
        return points.new_zeros(points.shape[:-1])
