"""All invertible linear maps."""

from __future__ import annotations

import torch
from torch import Tensor

from hgm import lie
from hgm.groups.base import LieGroup, check_dim


class GL(LieGroup):
    r"""The identity component of GL(n): matrices of positive determinant.

    The coordinates are the `n * n` entries of the logarithm, row by row. ``exp`` does not reach all
    of the group: ``diag(-1, -2)`` is an element and has no real logarithm.

    Args:
        dim_space: Dimension `n` of the points, at least 1.
    """

    basis: Tensor

    def __init__(self, dim_space: int) -> None:
        super().__init__()
        self._dim_space = check_dim("dim_space", dim_space, minimum=1)
        self.register_buffer("basis", lie.gl_generators(dim_space), persistent=False)

    @property
    def dim_algebra(self) -> int:
        """``n * n``."""
        return self._dim_space**2

    @property
    def dim_space(self) -> int:
        """Dimension `n` of the points acted on."""
        return self._dim_space

    def resized(self, dim_space: int) -> GL:
        """The same on another dimension."""
        return GL(dim_space)

    def _generators(self) -> Tensor:
        return self.basis

    def _contains(self, element: Tensor, atol: float) -> tuple[Tensor, str]:
        inside = (torch.linalg.det(element) > 0) & element.isfinite().all(-1).all(-1)
        return inside, "determinant is not positive, or an entry not finite"
