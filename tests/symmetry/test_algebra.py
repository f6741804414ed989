"""Closure, compactness and names of algebras."""

import pytest
import torch
from torch.testing import assert_close

from hgm import lie
from hgm.symmetry.algebra import close, compactness, name, nearest_basis, standard

CHART = torch.tensor([[2.0, 0.3, 0.0, 0.1], [0.1, 0.6, 0.2, 0], [0, 0, 1.3, 0.4], [0.2, 0, 0, 0.9]])


def randn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def unit(size, *entries):
    matrix = torch.zeros(size, size).double()
    for row, column, value in entries:
        matrix[row, column] = value
    return matrix


def stack(*matrices):
    return torch.stack(matrices)


ROTATION = lie.so_generators(2).double()
PLANES = stack(
    unit(4, (0, 1, -1.0), (1, 0, 1.0)),
    unit(4, (2, 3, -1.0), (3, 2, 1.0)),
)
HEISENBERG = stack(unit(3, (0, 1, 1.0)), unit(3, (1, 2, 1.0)), unit(3, (0, 2, 1.0)))
SL2 = stack(unit(2, (0, 0, 1.0), (1, 1, -1.0)), unit(2, (0, 1, 1.0)), unit(2, (1, 0, 1.0)))
EUCLIDEAN = stack(unit(3, (0, 1, -1.0), (1, 0, 1.0)), unit(3, (0, 2, 1.0)), unit(3, (1, 2, 1.0)))

NAMES = {
    "trivial": torch.zeros(0, 2, 2).double(),
    "so(2)": ROTATION,
    "so(3)": lie.so_generators(3).double(),
    "so(4)": lie.so_generators(4).double(),
    "u(1)^2": PLANES,
    "scaling": torch.eye(2).double()[None],
    "boost": unit(2, (0, 1, 1.0), (1, 0, 1.0))[None],
    "shear": unit(2, (0, 1, 1.0))[None],
    "spiral": ROTATION + 0.5 * torch.eye(2).double(),
    "sl(2)": SL2,
    "abelian-2": stack(unit(2, (0, 0, 1.0)), unit(2, (1, 1, 1.0))),
    "gl(2)": lie.gl_generators(2).double(),
    "gl(3)": lie.gl_generators(3).double(),
    "dim-3": HEISENBERG,
    "dim-2 (not closed)": lie.so_generators(3)[:2].double(),
    "dim-2": stack(unit(2, (0, 0, 1.0)), unit(2, (0, 1, 1.0))),
}


@pytest.mark.parametrize(("expected", "generators"), NAMES.items(), ids=NAMES)
@pytest.mark.parametrize("basis", ["own", "mixed", "chart"])
def test_name(expected, generators, basis):
    dim, size = len(generators), generators.shape[-1]
    if basis == "mixed":
        generators = lie.hat(randn(dim, dim, seed=1) + 2 * torch.eye(dim), generators)
    if basis == "chart":
        chart = CHART[:size, :size].double()
        generators = chart @ generators @ torch.linalg.inv(chart)
    assert name(generators) == expected


@pytest.mark.parametrize("expected", ["so(2)", "so(3)", "u(1)^2", "scaling", "boost"])
def test_name_survives_small_errors(expected):
    generators = NAMES[expected]
    assert name(generators + 0.01 * randn(*generators.shape, seed=4)) == expected


@pytest.mark.parametrize("expected", ["so(2)", "so(3)", "so(4)", "u(1)^2"])
def test_compact_algebras_turn_in_every_chart(expected):
    generators, size = NAMES[expected], NAMES[expected].shape[-1]
    chart = CHART[:size, :size].double()
    moved = chart @ generators @ torch.linalg.inv(chart)
    assert float(compactness(generators)) == pytest.approx(0.0, abs=1e-10)
    assert float(compactness(moved)) == pytest.approx(0.0, abs=1e-10)


@pytest.mark.parametrize("expected", ["scaling", "boost", "shear", "sl(2)", "abelian-2", "dim-3"])
def test_other_algebras_are_not_compact(expected):
    assert float(compactness(NAMES[expected])) == pytest.approx(1.0)


@pytest.mark.parametrize("size", [1e-3, 1e3])
@pytest.mark.parametrize("expected", ["so(2)", "so(3)", "scaling", "shear", "spiral"])
def test_compactness_does_not_depend_on_the_norm_of_generators(expected, size):
    generators = (
        CHART[:3, :3].double()
        @ torch.nn.functional.pad(NAMES[expected], 2 * (0, 3 - NAMES[expected].shape[-1]))
        @ torch.linalg.inv(CHART[:3, :3].double())
    )
    assert float(compactness(size * generators)) == pytest.approx(float(compactness(generators)))


def test_compactness_of_a_spiral_is_its_share_of_scaling():
    assert float(compactness(NAMES["spiral"])) == pytest.approx(0.5 / 1.25**0.5)


@pytest.mark.parametrize("pair", [(0, 1), (0, 2), (1, 2)])
def test_two_rotations_of_space_close_to_all(pair):
    closed = close(lie.so_generators(3).double()[list(pair)], 9)
    assert_close(lie.span_cosine(closed, lie.so_generators(3).double()), torch.tensor(1.0).double())
    gram = torch.einsum("iab,jab->ij", closed, closed)
    assert_close(gram, torch.eye(3).double())
    assert name(closed) == "so(3)"


@pytest.mark.parametrize("expected", ["so(2)", "so(3)", "u(1)^2", "dim-3", "sl(2)", "gl(2)"])
def test_closed_spans_stay_as_they_are(expected):
    generators = NAMES[expected]
    closed = close(generators, generators.shape[-1] ** 2)
    assert len(closed) == len(generators)
    assert_close(lie.span_cosine(closed, generators), torch.tensor(1.0).double())


def test_closing_takes_several_rounds():
    # Two generators of so(4) that generate all six.
    planes = lie.so_generators(4).double()
    closed = close(torch.stack((planes[0] + planes[5] * 0.3, planes[1] + planes[3])), 16)
    assert float(lie.closure_residual(closed)) < 1e-10
    assert len(closed) > 3


def test_closing_takes_noise_for_noise():
    generators = lie.normalise(PLANES + 0.02 * randn(2, 4, 4))
    assert len(close(generators, 16)) == 2


def test_closing_stops_at_the_ambient_dimension():
    generators = torch.stack((randn(3, 3), randn(3, 3, seed=1)))
    assert len(close(generators, 9)) == 9
    assert len(close(generators, 4)) == 4


@pytest.mark.parametrize("expected", ["so(2)", "scaling"])
def test_closing_one_generator_normalises_it(expected):
    closed = close(7 * NAMES[expected], 4)
    assert_close(torch.linalg.matrix_norm(closed), torch.ones(1).double())


@pytest.mark.parametrize("expected", ["so(2)", "so(3)", "so(4)", "u(1)^2"])
@pytest.mark.parametrize("seed", range(3))
def test_compact_algebras_have_a_basis_in_radians_in_every_chart(expected, seed):
    generators, size = NAMES[expected], NAMES[expected].shape[-1]
    chart = CHART[:size, :size].double() + 0.1 * randn(size, size, seed=seed)
    dim = len(generators)
    mixed = lie.hat(randn(dim, dim, seed=seed), chart @ generators @ torch.linalg.inv(chart))
    basis = standard(mixed)
    traces = -torch.einsum("aij,bji->ab", basis, basis)
    assert_close(traces, 2 * torch.eye(dim).double())
    assert_close(lie.span_cosine(basis, mixed), torch.tensor(1.0).double())
    # The first stays the first, as long as it should be.
    cosine = (basis[0] * mixed[0]).sum() / basis[0].norm() / mixed[0].norm()
    assert_close(cosine, torch.tensor(1.0).double())


def test_one_rotation_comes_round_after_two_pi():
    chart = CHART[:2, :2].double()
    basis = standard(0.3 * chart @ ROTATION @ torch.linalg.inv(chart))
    assert_close(lie.exp(2 * torch.pi * basis[0]), torch.eye(2).double())
    assert (lie.exp(torch.pi * basis[0]) + torch.eye(2)).abs().max() < 1e-10


@pytest.mark.parametrize("expected", ["scaling", "boost", "shear", "spiral", "sl(2)", "gl(2)"])
def test_other_algebras_have_an_orthogonal_basis_of_norm_sqrt_2(expected):
    generators = NAMES[expected]
    basis = standard(lie.hat(randn(len(generators), len(generators)), generators))
    gram = torch.einsum("aij,bij->ab", basis, basis)
    assert_close(gram, 2 * torch.eye(len(generators)).double())
    assert_close(lie.span_cosine(basis, generators), torch.tensor(1.0).double())


def test_the_trivial_algebra_has_an_empty_basis():
    assert standard(NAMES["trivial"]).shape == (0, 2, 2)


def test_the_nearest_basis_of_the_same_span_is_the_other_one():
    generators, mix = randn(2, 3, 3), torch.tensor([[1.0, 0.3], [-0.5, 2.0]]).double()
    assert_close(nearest_basis(generators, lie.hat(mix, generators)), mix)
