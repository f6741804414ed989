"""Gram matrices of tall tables."""

import pytest
import torch

from hgm.numerics.gram import gram_of


@pytest.mark.parametrize("shape", [(50, 7), (3, 40, 5), (2, 2, 9, 4), (3, 6), (0, 3)])
def test_is_the_product_and_exactly_symmetric(shape):
    table = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = gram_of(table)
    # 1e-12: rounding of sums of 50 products of order 1.
    torch.testing.assert_close(found, table.mT @ table, atol=1e-12, rtol=0)
    assert torch.equal(found, found.mT)


def test_views_are_read_as_they_are():
    wide = torch.arange(24.0, dtype=torch.float64).view(6, 4)
    torch.testing.assert_close(gram_of(wide[::2, 1:]), wide[::2, 1:].mT @ wide[::2, 1:])


def test_single_precision_stays_single():
    table = torch.randn(30, 4, generator=torch.Generator().manual_seed(0))
    assert gram_of(table).dtype == torch.float32
    torch.testing.assert_close(gram_of(table), table.mT @ table)


def test_gradients_flow():
    table = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert torch.autograd.gradcheck(gram_of, table.requires_grad_())
