"""How statistics of several processes become those of one data set."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor


def _alone(value: Tensor, dim: int = 0) -> Tensor:
    return value


@dataclass(frozen=True)
class Ranks:
    """Collective operations that pure code may use without knowing who runs it.

    Attributes:
        sum: Sums a tensor over the processes; every process receives the result.
        cat: Concatenates the processes' tensors along a dimension, in which their sizes may differ.
    """

    sum: Callable[[Tensor], Tensor] = _alone
    cat: Callable[[Tensor, int], Tensor] = _alone


ALONE = Ranks()
"""One process: every operation returns its argument."""


def across_processes() -> Ranks:
    """Collectives of :mod:`torch.distributed` if it runs several processes, else :data:`ALONE`."""
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return ALONE

    def total(value: Tensor) -> Tensor:
        value = value.detach().clone().contiguous()
        dist.all_reduce(value)
        return value

    def cat(value: Tensor, dim: int = 0) -> Tensor:
        # Shares may differ by one transition, and unequal shapes would wait for ever.
        size = torch.tensor([value.shape[dim]], device=value.device)
        sizes = [torch.empty_like(size) for _ in range(dist.get_world_size())]
        dist.all_gather(sizes, size)
        lengths = [int(one) for one in sizes]
        rest = list(value.shape)
        rest[dim] = max(lengths) - value.shape[dim]
        value = torch.cat((value.detach(), value.new_zeros(rest)), dim).contiguous()
        pieces = [torch.empty_like(value) for _ in lengths]
        dist.all_gather(pieces, value)
        parts = zip(pieces, lengths, strict=True)
        return torch.cat([piece.narrow(dim, 0, length) for piece, length in parts], dim)

    return Ranks(total, cat)
