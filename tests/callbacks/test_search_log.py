"""Snapshots of a search as numbers, and the names of phases."""

import math

import pytest
import torch
from scripted import ANGLES, TURN, Snapshot
from torch.testing import assert_close

from hgm.callbacks.board import pixels_of
from hgm.callbacks.planes import plane
from hgm.callbacks.search import field_figure, gap_of, principal, scalars_of
from hgm.callbacks.tags import tag_of


def drawn(num_tasks, dim, seed=0):
    generator = torch.Generator().manual_seed(seed)
    generators = torch.randn(dim, 3, 3, generator=generator).double()
    return generators, torch.randn(num_tasks, dim, generator=generator).double()


@pytest.mark.parametrize(("num_tasks", "dim"), [(2, 1), (5, 3), (3, 6), (4, 0)])
def test_principal_directions_are_the_same_elements(num_tasks, dim):
    generators, coords = drawn(num_tasks, dim)
    found, own, values = principal(Snapshot("x", generators, coords, torch.zeros(0), 0.0))
    same = torch.einsum("nd,dij->nij", coords, generators)
    assert_close(torch.einsum("nd,dij->nij", own, found), same)
    assert_close(values, torch.linalg.svdvals(coords) if dim else values)
    assert (found.tril(-1).sum((-2, -1)) >= 0).all()


def test_principal_directions_do_not_depend_on_the_basis():
    generators, coords = drawn(6, 3)
    turn = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(2))).Q.double()
    first = principal(Snapshot("x", generators, coords, torch.zeros(0), 0.0))
    turned = torch.einsum("ed,dij->eij", turn, generators), coords @ turn.mT
    second = principal(Snapshot("x", *turned, torch.zeros(0), 0.0))
    assert_close(first, second, rtol=1e-5, atol=1e-6)


def test_what_is_not_finite_is_left_out():
    coords = ANGLES.clone()
    coords[1] = math.nan
    found = scalars_of(Snapshot("spectrum", TURN, coords, torch.zeros(0), 2.0))
    assert found == {"train/loss/spectrum": 2.0}


def test_large_searches_are_cut_short():
    generators = torch.randn(20, 9, 9).double()
    found = scalars_of(Snapshot("x", generators, torch.randn(30, 20).double(), torch.ones(20), 0.0))
    assert len([tag for tag in found if tag.startswith("search/generator_")]) == 6 * 36
    assert len([tag for tag in found if tag.startswith("search/coords/")]) == 8 * 6
    assert len([tag for tag in found if tag.startswith("search/spectrum/")]) == 6


@pytest.mark.parametrize(
    ("spectrum", "dim", "gap"),
    [
        ([8.0, 4.0, 1.0], 1, 2.0),
        ([8.0, 4.0, 1.0], 2, 4.0),
        ([8.0, 4.0, 1.0], 3, 4.0),
        ([8.0, 4.0, 1.0], 0, 4.0),
        ([8.0, 0.0], 1, 1e12),
        ([8.0], 1, None),
        ([], 0, None),
        ([0.0, 0.0], 2, None),
    ],
)
def test_gap_is_the_ratio_after_the_directions(spectrum, dim, gap):
    assert gap_of(spectrum, dim) == (None if gap is None else pytest.approx(gap))


def test_fields_of_negligible_directions_are_not_drawn():
    grid, extent = plane(torch.randn(50, 2).double(), 9)
    generators = torch.eye(4).double().view(4, 2, 2)
    elements = (ANGLES[:, :, None] * TURN).flatten(1)
    figure = field_figure(
        Snapshot("x", generators, elements, torch.zeros(0), math.nan), grid, extent
    )
    assert len(figure.axes) == 1
    assert figure.get_suptitle() == "x"
    elements = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)).double()
    figure = field_figure(Snapshot("x", generators, elements, torch.zeros(0), 0.5), grid, extent)
    assert len(figure.axes) == 3
    assert pixels_of(figure).std() > 0


@pytest.mark.parametrize("dim", [1, 2, 11])
def test_spans_of_any_dimension_share_a_tag(dim):
    assert tag_of(f"algebra of {dim} direction(s)") == "span"


def test_phases_of_discovery_have_tags_of_letters():
    names = {
        "reward differentials": "differentials",
        "equivariance of the dynamics": "equivariance",
        "left actions, each alone": "starts",
        "left actions, jointly": "alignment",
        "spectrum": "spectrum",
        "pooled refinement": "pooling",
        "action representation": "actions",
    }
    assert {name: tag_of(name) for name in names} == names
