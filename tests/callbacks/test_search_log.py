"""Snapshots of a search as numbers and fields."""

import math

import pytest
import torch
from scripted import TURN, Snapshot

from hgm.callbacks.board import pixels_of
from hgm.callbacks.planes import plane
from hgm.callbacks.search import field_figure, gap_of, scalars_of


def test_large_searches_are_cut_short():
    generators = torch.randn(20, 9, 9).double()
    found = scalars_of(Snapshot("x", generators, torch.randn(30, 20).double(), torch.ones(20), 0.0))
    assert len([tag for tag in found if tag.startswith("search/generator_")]) == 6 * 36
    assert len([tag for tag in found if tag.startswith("search/coords/")]) == 8 * 6
    assert len([tag for tag in found if tag.startswith("search/spectrum/")]) == 6
    assert len(found) == 6 * 36 + 8 * 6 + 6 + 1


@pytest.mark.parametrize(
    ("spectrum", "gap"),
    [
        ([8.0, 4.0, 1.0], 4.0),
        ([8.0, 1.0, 1.0], 8.0),
        ([8.0, 0.0], 1e12),
        ([8.0], None),
        ([], None),
        ([0.0, 0.0], None),
    ],
)
def test_gap_is_the_largest_ratio_of_neighbours(spectrum, gap):
    assert gap_of(spectrum) == (None if gap is None else pytest.approx(gap))


@pytest.mark.parametrize(
    ("sizes", "drawn"),
    [
        ([1.0], [1]),
        ([1.0, 1e-5, 0.1], [1, 3]),
        ([1e-5, 1.0], [2]),
        ([1.0, 1.0, 1.0, 1.0], [1, 2, 3]),
        ([0.0, 0.0], [1]),
    ],
)
def test_fields_that_elements_hardly_use_are_not_drawn(sizes, drawn):
    grid, extent = plane(torch.randn(50, 2).double(), 9)
    coords = torch.tensor([[0.0] * len(sizes), sizes]).double()
    generators = TURN.expand(len(sizes), 2, 2)
    one = Snapshot("a phase", generators, coords, torch.zeros(0), 0.5)
    figure = field_figure(one, grid, extent)
    assert pixels_of(figure).std() > 0
    assert [axes.get_title().split(",")[0] for axes in figure.axes] == [
        f"generator {number}" for number in drawn
    ]
    assert all(axes.get_xlabel() and axes.get_ylabel() for axes in figure.axes)
    assert figure.get_suptitle() == "a phase, loss 0.5"
    nothing = field_figure(one._replace(loss=math.nan), grid, extent)
    assert nothing.get_suptitle() == "a phase"
