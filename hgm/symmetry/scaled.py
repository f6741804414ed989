"""Groups made of others: in scaled coordinates, and those that generators span."""

from __future__ import annotations

import torch
from torch import Tensor

from hgm import lie
from hgm.groups import LieGroup


class Scaled(LieGroup):
    r"""A group in scaled coordinates, :math:`D^{-1} g D`, with the same coordinates.

    Args:
        group: The group on raw points; its ``raw_*`` parameters stay its own.
        frame: The map `D` from scaled to raw points, ``(k, k)``.
    """

    frame: Tensor

    def __init__(self, group: LieGroup, frame: Tensor) -> None:
        super().__init__()
        self.group = group
        self.register_buffer("frame", frame)

    @property
    def dim_algebra(self) -> int:
        """That of the group."""
        return self.group.dim_algebra

    @property
    def dim_space(self) -> int:
        """That of the group."""
        return self.group.dim_space

    @property
    def dim_matrix(self) -> int:
        """That of the group."""
        return self.group.dim_matrix

    @torch.no_grad()
    def warm_start(self, root: Tensor) -> None:
        """Passes the raw points' covariance on."""
        n = self.dim_space
        scale = self.frame[:n, :n]
        covariance = scale @ torch.linalg.inv(root @ root) @ scale.mT
        values, vectors = torch.linalg.eigh(covariance)
        self.group.warm_start((vectors / values.sqrt()) @ vectors.mT)

    def _generators(self) -> Tensor:
        return torch.linalg.solve(self.frame, self.group.generators @ self.frame)

    def _exp(self, coords: Tensor) -> Tensor:
        return torch.linalg.solve(self.frame, self.group.exp(coords) @ self.frame)


class Spanned(LieGroup):
    """The group that given generators span, whether or not they are closed under the bracket.

    Args:
        generators: Linearly independent, ``(d, k, k)``.
        dim_space: Dimension ``n`` of the points.
    """

    basis: Tensor

    def __init__(self, generators: Tensor, dim_space: int) -> None:
        super().__init__()
        self.register_buffer("basis", generators)
        self._dim_space = dim_space

    @property
    def dim_algebra(self) -> int:
        """The number of generators."""
        return len(self.basis)

    @property
    def dim_space(self) -> int:
        """Dimension `n` of the points acted on."""
        return self._dim_space

    @property
    def dim_matrix(self) -> int:
        """``n``, or ``n + 1`` in homogeneous coordinates."""
        return self.basis.shape[-1]

    def _generators(self) -> Tensor:
        return self.basis

    def spread(self, num: int, coords: Tensor) -> Tensor:
        """Coordinates all over the group, as far as its reach or as given ones go, ``(num, d)``."""
        engine = torch.quasirandom.SobolEngine(self.dim_algebra, scramble=True, seed=0)
        places = engine.draw(num, dtype=torch.float64).to(coords)
        starts = (2 * places - 1) * lie.reach(self.basis, coords)
        starts[0] = 0.0
        return starts
