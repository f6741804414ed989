"""Rotations."""

from torch import Tensor

from hgm import lie
from hgm.groups.base import LieGroup, check_dim, check_rotation


class SO(LieGroup):
    r"""Rotations SO(n): orthogonal matrices of determinant 1.

    Coordinates are angles in radians in the planes of axes (i, j), i < j, from axis i to axis j.

    Args:
        dim_space: Dimension `n` of the points, at least 2.

    Example:
        >>> import torch
        >>> SO(2).exp(torch.tensor([torch.pi / 2])).round()
        tensor([[ 0., -1.],
                [ 1.,  0.]])
    """

    basis: Tensor

    def __init__(self, dim_space: int) -> None:
        super().__init__()
        self._dim_space = check_dim("dim_space", dim_space, minimum=2)
        self.register_buffer("basis", lie.so_generators(dim_space), persistent=False)

    @property
    def dim_algebra(self) -> int:
        """``n (n - 1) / 2``."""
        return self._dim_space * (self._dim_space - 1) // 2

    @property
    def dim_space(self) -> int:
        """Dimension `n` of the points acted on."""
        return self._dim_space

    def _generators(self) -> Tensor:
        return self.basis

    def _contains(self, element: Tensor, atol: float) -> tuple[Tensor, str]:
        return check_rotation(element, atol)
