"""Waves and a network's units as one: tables, slopes, and what units of twins span."""

import math

import pytest
import torch
from systems import randn
from torch.nn import functional
from torch.testing import assert_close

from hgm.numerics.basis import Basis
from hgm.numerics.fourier import LINEAR_SCALE, features
from hgm.numerics.twins import Twins


def waves(dim=2, num=12):
    return Basis(randn(num, dim, seed=1), randn(num, seed=2))


def units(dim=2, num=12, more=5):
    return waves(dim, num)._replace(hidden=randn(num + 1, more, seed=3))


BASES = pytest.mark.parametrize("basis", [waves(3), units(3), units(3, 4, 9)])


def learned():
    """Twins a few steps from their start, where no bias is 0."""
    x, y = randn(2, 90, 3, seed=4), randn(2, 90, 1, seed=5).float()
    twins = Twins([3, 7, 6, 1], x, y, torch.Generator().manual_seed(0))
    twins.descend(30, 32, 0.05)
    assert all((bias != 0).all() for bias in twins.biases)
    return twins


@BASES
@pytest.mark.parametrize("batch", [(), (3, 2)])
def test_slope_is_the_derivative_of_the_table(basis, batch):
    points, weights = randn(*batch, 7, 3).requires_grad_(), randn(basis.size, seed=6)
    (exact,) = torch.autograd.grad((basis.table(points) @ weights).sum(), points)
    assert_close(basis.slope(points, weights), exact, rtol=1e-10, atol=1e-10)


@BASES
def test_sizes_are_those_of_the_table(basis):
    table = basis.table(randn(2, 7, 3))
    assert table.shape == (2, 7, basis.size)
    assert basis.num_features == basis.size - 4
    assert_close(table[..., -1], torch.full((2, 7), LINEAR_SCALE).double())
    assert_close(table[..., -4:-1], LINEAR_SCALE * randn(2, 7, 3))


def test_waves_have_the_frequencies_and_units_the_second_layer_as_their_number():
    assert (waves().num_features, waves().size) == (12, 15)
    assert (units().num_features, units().size) == (5, 8)


def test_without_a_second_layer_features_are_waves():
    basis, points = waves(), randn(9, 2)
    assert torch.equal(basis.table(points), features(points, basis.frequencies, basis.phases))


def test_units_are_the_last_hidden_layer_over_the_root_of_their_number():
    basis, points = units(), randn(9, 2)
    first = functional.silu(functional.linear(points, basis.frequencies, basis.phases))
    second = functional.silu(functional.linear(first, basis.hidden[:-1].mT, basis.hidden[-1]))
    assert_close(basis.table(points)[:, :5], second / math.sqrt(5))


@pytest.mark.parametrize("twin", [0, 1])
def test_a_basis_of_twins_spans_both(twin):
    twins = learned()
    basis, points = Basis.of(twins), randn(40, 3, seed=7)
    last = torch.zeros(2, 6, 1)
    last[twin] = math.sqrt(12) * twins.weights[-1][twin]
    linear = torch.cat((twins.linear[twin], twins.biases[-1][twin])) / LINEAR_SCALE
    weights = torch.cat((last.flatten(0, 1), linear)).double()
    # 1e-5: twins compute in single precision.
    found, (value, slope) = basis.table(points) @ weights, twins.jet(points.float())
    assert_close(found, value[twin].double(), atol=1e-5, rtol=0)
    found = basis.slope(points, weights[:, 0])
    assert_close(found, slope[twin, ..., 0].double(), atol=1e-5, rtol=0)


def test_a_basis_of_twins_has_the_units_of_both_in_double_precision():
    basis = Basis.of(learned())
    assert (basis.num_features, basis.size) == (12, 16)
    assert basis.hidden.shape == (15, 12)
    assert {part.dtype for part in basis} == {torch.float64}
