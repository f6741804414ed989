"""Distances to neighbours, and in how many dimensions data are."""

import pytest
import torch
from systems import randn

from hgm.numerics.neighbours import dimension, distances


def test_distances_are_those_to_the_nearest():
    data = torch.tensor([[0.0], [1.0], [3.0]]).double()
    found = distances(data, torch.tensor([[[1.0], [2.5]]]).double(), 2)
    assert found.shape == (1, 2, 2)
    assert torch.allclose(found, torch.tensor([[[1e-12, 1.0], [0.5, 1.5]]]).double())


def test_of_too_few_data_the_others_are_far():
    found = distances(randn(3, 2), randn(4, 2, seed=1), 5)
    assert (found[:, :3] < 10).all()
    assert (found[:, 3:] > 1e9).all()


@pytest.mark.parametrize("dim", [1, 2, 4])
def test_data_fill_as_many_dimensions_as_they_do(dim):
    data = randn(4000, dim) @ randn(dim, 6, seed=1)
    found = dimension([distances(data[::2], data[1::2])], 6)
    assert found == pytest.approx(dim, rel=0.1)


def test_they_fill_one_at_least_and_no_more_than_there_are():
    still = torch.ones(20, 2).double()
    assert dimension([distances(still, still)], 2) == 2.0
    assert dimension([torch.tensor([[1e-6, 1.0]])], 2) == 1.0
