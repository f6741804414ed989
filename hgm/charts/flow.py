"""A chart that is learned: a normalising flow of affine couplings."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from hgm.charts.base import Chart
from hgm.checks import MAX_DEPTH, MAX_WIDTH, check_entries, check_int
from hgm.numerics.seeds import seeded

MAX_ENTRIES = 10_000_000
"""Weights that a flow may have, or nearly."""


class Flow(Chart):
    r"""Affine couplings: some coordinates scale and shift the others, in turns.

    Both ways and the determinant are exact and cost the same. It starts as the identity. From
    zuko's ``NICE``, with the couplings of RealNVP (L. Dinh, J. Sohl-Dickstein and S. Bengio,
    *Density estimation using Real NVP*, arXiv 1605.08803); smooth, as tanh is.

    Args:
        dim_space: State dimension ``n``, 2 or more: a coupling needs two coordinates.
        transforms: Number of couplings.
        width: Hidden units of each.
        seed: Seed of the weights that it starts from.

    Raises:
        ImportError: If zuko is not installed.
        ValueError: If an argument is out of range.
    """

    def __init__(self, dim_space: int, transforms: int = 6, width: int = 32, seed: int = 0) -> None:
        super().__init__(check_int("dim_space", dim_space, 2))
        self.transforms = check_int("transforms", transforms, 2, MAX_DEPTH)
        self.width = check_int("width", width, 1, MAX_WIDTH)
        self.seed = check_int("seed", seed, 0, 2**32 - 1)
        size = dim_space * width * transforms
        check_entries("`dim_space` * `width` * `transforms`", size, MAX_ENTRIES)
        try:
            from zuko.flows import NICE
        except ImportError:
            raise ImportError(
                "Expected zuko for chart=flow, which is not installed: pip install 'hgm[charts]'."
            ) from None
        with seeded(self.seed):
            flow = NICE(
                dim_space, 0, transforms, hidden_features=(width,), activation=torch.nn.Tanh
            )
        self.couplings = torch.nn.ModuleList(flow.transform.transforms)
        for coupling in flow.transform.transforms:
            last: Any = coupling.hyper
            for part in last[-1].parameters():
                torch.nn.init.zeros_(part)

    def _bend(self, points: Tensor) -> Tensor:
        for coupling in self.couplings:
            points = coupling()(points)
        return points

    def _unbend(self, points: Tensor) -> Tensor:
        for coupling in reversed(self.couplings):
            points = coupling().inv(points)
        return points

    def _log_slope(self, points: Tensor) -> Tensor:
        total = points.new_zeros(points.shape[:-1])
        for coupling in self.couplings:
            points, slope = coupling().call_and_ladj(points)
            total = total + slope
        return total
