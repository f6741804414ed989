"""Rotations in an inner product that is learned."""

import torch
from torch import Tensor, nn

from hgm import lie
from hgm.groups.base import LieGroup, check_dim, check_rotation


class Compact(LieGroup):
    r"""The maximal compact connected group :math:`P^{-1} SO(n) P` of a learned inner product.

    Every compact linear group preserves some inner product :math:`x^T P^2 x`, with `P` symmetric
    positive definite. It is learned here, up to scale, as :math:`P = \exp(\sum_j q_j S_j)`, where
    the :math:`S_j` span the traceless symmetric matrices. The group stays compact for every `q`,
    and is SO(n) at `q = 0`, the start.

    Coordinates are angles in radians, as for :class:`~hgm.groups.SO`; the generators
    :math:`P^{-1} X_j P` are therefore not rescaled to norm :math:`\sqrt 2`.

    Args:
        dim_space: Dimension `n` of the points, at least 2.
    """

    rotations: Tensor
    stretches: Tensor

    def __init__(self, dim_space: int) -> None:
        super().__init__()
        self._dim_space = check_dim("dim_space", dim_space, minimum=2)
        self.register_buffer("rotations", lie.so_generators(dim_space), persistent=False)
        self.register_buffer("stretches", _traceless_symmetric(dim_space), persistent=False)
        self.raw_metric = nn.Parameter(torch.zeros(len(self.stretches)))

    @property
    def dim_algebra(self) -> int:
        """``n (n - 1) / 2``."""
        return self._dim_space * (self._dim_space - 1) // 2

    @property
    def dim_space(self) -> int:
        """Dimension `n` of the points acted on."""
        return self._dim_space

    @property
    def metric_root(self) -> Tensor:
        """The `P` above: symmetric positive definite, determinant 1, ``(n, n)``."""
        return lie.exp(lie.hat(self.raw_metric, self.stretches))

    @property
    def _inverse_root(self) -> Tensor:
        return lie.exp(-lie.hat(self.raw_metric, self.stretches))

    @torch.no_grad()
    def warm_start(self, root: Tensor) -> None:
        r"""Starts at the inner product of the data, :math:`P \propto \Sigma^{-1/2}`."""
        scaled = root / torch.linalg.det(root) ** (1 / self._dim_space)
        self.raw_metric.copy_(lie.vee(lie.log(scaled), self.stretches))

    def _generators(self) -> Tensor:
        return self._inverse_root @ self.rotations @ self.metric_root

    def _exp(self, coords: Tensor) -> Tensor:
        # Conjugating after exp keeps it as accurate as SO(n) when P is ill-conditioned.
        rotation = lie.exp(lie.hat(coords, self.rotations))
        return self._inverse_root @ rotation @ self.metric_root

    def _log(self, element: Tensor) -> Tensor:
        rotation = self.metric_root @ element @ self._inverse_root
        return lie.vee(lie.log(rotation), self.rotations)

    def _contains(self, element: Tensor, atol: float) -> tuple[Tensor, str]:
        return check_rotation(self.metric_root @ element @ self._inverse_root, atol)


def _traceless_symmetric(n: int) -> Tensor:
    """Basis of the symmetric matrices of trace 0, norm sqrt 2, ``(n (n + 1) / 2 - 1, n, n)``."""
    off_diagonal = lie.so_generators(n).abs()
    diagonal = torch.diag_embed(torch.eye(n)[:-1] - torch.eye(n)[1:])
    return torch.cat([off_diagonal, diagonal])
