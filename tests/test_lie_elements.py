"""Elements at the cost of what generators touch are the exponentials, and so are derivatives."""

import pytest
import torch
from torch.testing import assert_close

from hgm import lie


@pytest.mark.parametrize("where", [[1, 3, 4], [0, 1, 2, 3, 4], []])
def test_elements_of_generators_that_touch_few_coordinates(where):
    generators = torch.zeros(2, 5, 5, dtype=torch.float64)
    index = torch.tensor(where, dtype=torch.long)
    source = torch.Generator().manual_seed(0)
    some = torch.randn(2, len(where), len(where), generator=source, dtype=torch.float64)
    generators[:, index[:, None], index] = some
    coords = torch.randn(3, 4, 2, generator=source, dtype=torch.float64)
    assert lie.touched(generators).tolist() == where
    assert_close(lie.element(coords, generators), lie.exp(lie.hat(coords, generators)))


def test_a_coordinate_that_is_only_read_or_only_moved_is_touched():
    shift = torch.zeros(1, 3, 3, dtype=torch.float64)
    shift[0, 0, 2] = 1.0
    assert lie.touched(shift).tolist() == [0, 2]
    assert_close(
        lie.element(torch.tensor([2.0]).double(), shift), torch.eye(3).double() + 2 * shift[0]
    )


@pytest.mark.parametrize("size", [0.0, 1.0])
def test_elements_have_derivatives_one_by_one_and_where_generators_are_zero(size):
    generators = torch.zeros(2, 4, 4, dtype=torch.float64)
    generators[:, 0, 2], generators[1, 2, 0] = size, -size
    coords = torch.randn(3, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    coords.requires_grad_()

    def plain(c):
        return lie.exp(lie.hat(c, generators))

    def few(c):
        return lie.element(c, generators)

    jacobians = [torch.func.vmap(torch.func.jacfwd(one))(coords.detach()) for one in (few, plain)]
    assert_close(*jacobians)
    slopes = [torch.autograd.grad(one(coords).square().sum(), coords)[0] for one in (few, plain)]
    assert_close(*slopes)
