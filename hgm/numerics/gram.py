"""Gram matrices of tables that are tall."""

from __future__ import annotations

import torch
from scipy.linalg import get_blas_funcs
from torch import Tensor


def gram_of(table: Tensor) -> Tensor:
    r"""The symmetric matrix :math:`T^T T` of tables ``(..., B, M)``, shape ``(..., M, M)``.

    On a CPU by BLAS's update of one triangle (``syrk``): half the work of a product, which does not
    know that its factors are the same. Elsewhere, and where gradients are wanted, by the product.

    Args:
        table: Of floating point numbers.
    """
    if table.device.type != "cpu" or table.requires_grad:
        return table.mT @ table
    rows, size = table.shape[-2:]
    flat = table.reshape(table.shape[:-2].numel(), rows, size).contiguous()
    found = flat.new_empty(len(flat), size, size)
    for one, whole in zip(flat, found, strict=True):
        columns = one.numpy().T
        (update,) = get_blas_funcs(("syrk",), (columns,))
        lower = torch.from_numpy(update(1.0, columns).T)
        torch.add(lower, lower.tril(-1).mT, out=whole)
    return found.view(*table.shape[:-2], size, size)
