"""Linear maps together with translations."""

from __future__ import annotations

import torch
from torch import Tensor

from hgm import lie
from hgm.groups.base import LieGroup, check_dim


class Affine(LieGroup):
    r"""Affine maps :math:`x \mapsto A x + b` with :math:`\det A > 0`, as :math:`(A, b; 0, 1)`.

    The first `n * n` coordinates are the entries of the linear part of the logarithm, row by row;
    the last `n` its translation, in the units of the points.

    Args:
        dim_space: Dimension `n` of the points, at least 1.
    """

    basis: Tensor

    def __init__(self, dim_space: int) -> None:
        super().__init__()
        n = self._dim_space = check_dim("dim_space", dim_space, minimum=1)
        basis = torch.zeros(n * (n + 1), n + 1, n + 1)
        basis[: n * n, :n, :n] = lie.gl_generators(n)
        basis[n * n :, :n, n] = torch.eye(n)
        self.register_buffer("basis", basis, persistent=False)

    @property
    def dim_algebra(self) -> int:
        """``n (n + 1)``."""
        return self._dim_space * (self._dim_space + 1)

    @property
    def dim_space(self) -> int:
        """Dimension `n` of the points acted on."""
        return self._dim_space

    @property
    def dim_matrix(self) -> int:
        """``n + 1``: homogeneous coordinates."""
        return self._dim_space + 1

    def resized(self, dim_space: int) -> Affine:
        """The same on another dimension."""
        return Affine(dim_space)

    def _generators(self) -> Tensor:
        return self.basis

    def _contains(self, element: Tensor, atol: float) -> tuple[Tensor, str]:
        corner = self.identity()[-1].to(element)
        homogeneous = ((element[..., -1, :] - corner).abs() <= atol).all(-1)
        positive = torch.linalg.det(self.linear_part(element)) > 0
        inside = homogeneous & positive & element.isfinite().all(-1).all(-1)
        return inside, "last row is not (0, ..., 0, 1), determinant not positive, or not finite"
