"""Several groups, each acting on its own part of the state."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from hgm.groups.base import LieGroup


class Product(LieGroup):
    r"""Direct product :math:`G_1 \times \dots \times G_r` on :math:`R^{n_1} \oplus \dots`.

    The state is split in the order of the factors, and so are the coordinates. Linear parts are
    block-diagonal. If a factor is homogeneous (``dim_matrix = dim_space + 1``), so is the product:
    the factors' translations then share the one last column.

    Args:
        groups: The factors, at least one. They stay modules of the product, in ``factors``.

    Example:
        >>> from hgm.groups import GL, SO
        >>> group = Product([SO(2), GL(1)])
        >>> group.action(group.exp(torch.tensor([torch.pi, 0.0])), torch.ones(3)).round()
        tensor([-1., -1.,  1.])
    """

    def __init__(self, groups: Sequence[LieGroup]) -> None:
        super().__init__()
        if not isinstance(groups, Sequence) or not all(isinstance(g, LieGroup) for g in groups):
            raise TypeError(f"Expected `groups` to be a sequence of LieGroup, but got {groups!r}")
        if len(groups) == 0:
            raise ValueError("Expected `groups` to have at least one factor, but got none")
        self.factors = nn.ModuleList(groups)

    @property
    def groups(self) -> list[LieGroup]:
        """The factors, in the order of the split."""
        return [cast(LieGroup, factor) for factor in self.factors]

    @property
    def dim_algebra(self) -> int:
        """Sum over the factors."""
        return sum(group.dim_algebra for group in self.groups)

    @property
    def dim_space(self) -> int:
        """Sum over the factors."""
        return sum(group.dim_space for group in self.groups)

    @property
    def dim_matrix(self) -> int:
        """``dim_space``, and one more if any factor is homogeneous."""
        homogeneous = any(group.dim_matrix > group.dim_space for group in self.groups)
        return self.dim_space + int(homogeneous)

    def warm_start(self, root: Tensor) -> None:
        """Passes each factor its own block."""
        start = 0
        for group in self.groups:
            own = slice(start, start + group.dim_space)
            group.warm_start(root[own, own])
            start += group.dim_space

    def _generators(self) -> Tensor:
        blocks = [group.generators for group in self.groups]
        return torch.cat([s.mT @ b @ s for s, b in self._with_selections(blocks)])

    def _exp(self, coords: Tensor) -> Tensor:
        split = coords.split([group.dim_algebra for group in self.groups], -1)
        return self._join([g.exp(part) for g, part in zip(self.groups, split, strict=True)])

    def _log(self, element: Tensor) -> Tensor:
        blocks = self._split(element)
        return torch.cat([g.log(b) for g, b in zip(self.groups, blocks, strict=True)], -1)

    def _contains(self, element: Tensor, atol: float) -> tuple[Tensor, str]:
        blocks = self._split(element)
        inside = ((element - self._join(blocks)).abs() <= atol).all(-1).all(-1)
        reasons = [] if inside.all() else ["entries outside the blocks of the factors"]
        for group, block in zip(self.groups, blocks, strict=True):
            inside = inside & group.contains(block, atol)
            reasons.append(group.why_not(block, atol) or "")
        return inside, "; ".join(filter(None, reasons))

    def _split(self, element: Tensor) -> list[Tensor]:
        """Each factor's own matrix, out of the joint one."""
        return [s @ element @ s.mT for s, _ in self._with_selections([element] * len(self.groups))]

    def _join(self, blocks: list[Tensor]) -> Tensor:
        """The joint matrix, out of each factor's own; differences add up as in the algebra."""
        identity = torch.eye(self.dim_matrix, dtype=blocks[0].dtype, device=blocks[0].device)
        moved = [s.mT @ (b - s @ s.mT) @ s for s, b in self._with_selections(blocks)]
        return identity + torch.stack(moved).sum(0)

    def _with_selections(self, tensors: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
        """Pairs each tensor with its factor's ``(k_i, k)`` rows of the identity."""
        pairs, start = [], 0
        for group, tensor in zip(self.groups, tensors, strict=True):
            rows = torch.eye(self.dim_matrix, dtype=tensor.dtype, device=tensor.device)
            shared = rows[self.dim_space :] if group.dim_matrix > group.dim_space else rows[:0]
            pairs.append((torch.cat([rows[start : start + group.dim_space], shared]), tensor))
            start += group.dim_space
        return pairs
