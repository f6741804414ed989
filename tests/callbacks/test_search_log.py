"""Snapshots of a search as numbers and fields."""

import math

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from scripted import TURN, Snapshot

from hgm import lie
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


def test_coordinates_have_the_numbers_of_their_tasks():
    coords = torch.tensor([[0.0], [0.5], [0.75]]).double()
    one = Snapshot("x", TURN, coords, torch.ones(1), 0.0, tasks=[0, 43, 86])
    found = scalars_of(one)
    assert found["search/coords/task_43_direction_1"] == 0.5
    assert found["search/coords/task_86_direction_1"] == 0.75
    assert len([tag for tag in found if tag.startswith("search/coords/")]) == 2


def test_fields_lie_in_the_coordinates_that_rewards_see():
    points = torch.randn(50, 4, generator=torch.Generator().manual_seed(0)).double()
    shown = plane(points, 5, [3])
    assert shown.columns == [3, 0]
    for axis, column in ((shown.x, 3), (shown.y, 0)):
        ends = [float(end) for end in (points[:, column].min(), points[:, column].max())]
        assert [axis[0], axis[-1]] == pytest.approx(ends)
    assert shown.widths == [None, None]
    spread = shown.grid.std(0)
    assert (spread[[3, 0]] > 0.1).all()
    assert (spread[[1, 2]] < 1e-12).all()
    turn = torch.zeros(1, 4, 4).double()
    turn[0, 3, 0], turn[0, 0, 3] = 1.0, -1.0
    one = Snapshot("x", turn, torch.tensor([[0.0], [1.0]]).double(), torch.ones(1), 0.5)
    (axes,) = field_figure(one, shown).axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("state 4", "state 1")
    (arrows,) = axes.collections
    x, y = shown.grid[:, 3].numpy(), shown.grid[:, 0].numpy()
    assert_allclose(arrows.U, y)
    assert_allclose(arrows.V, -x)


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


def test_data_of_decades_have_an_axis_of_decades():
    """Arrows are tangents of the orbits as these are drawn."""
    points = torch.randn(800, 2, generator=torch.Generator().manual_seed(0)).double()
    points[:, 1] = (1.5 * points[:, 1]).exp()
    shown = plane(points, 5)
    assert shown.widths[0] is None
    assert shown.widths[1] < 1
    gaps = np.diff(np.arcsinh(shown.y / shown.widths[1]))
    assert_allclose(gaps, gaps[0])
    scaling = torch.diag(torch.tensor([0.3, 1.0])).double()[None]
    one = Snapshot("x", scaling, torch.tensor([[0.0], [1.0]]).double(), torch.ones(1), 0.5)
    figure = field_figure(one, shown)
    (axes,) = figure.axes
    assert (axes.get_xscale(), axes.get_yscale()) == ("linear", "asinh")
    assert axes.get_aspect() == "auto"
    pixels_of(figure)
    (field,) = axes.collections
    near = lie.act(lie.exp(1e-6 * scaling[0]), shown.grid)
    on_axes = axes.transData - axes.transAxes
    before, after = (on_axes.transform(some.numpy()) for some in (shown.grid, near))
    steps = (after - before) / 1e-6
    drawn = np.stack((field.U, field.V), 1)
    assert_allclose(drawn, steps, rtol=1e-4, atol=1e-4)


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
    shown = plane(torch.randn(50, 2).double(), 9)
    coords = torch.tensor([[0.0] * len(sizes), sizes]).double()
    generators = TURN.expand(len(sizes), 2, 2)
    one = Snapshot("a phase", generators, coords, torch.zeros(0), 0.5)
    figure = field_figure(one, shown)
    assert pixels_of(figure).std() > 0
    assert [axes.get_title().split(",")[0] for axes in figure.axes] == [
        f"generator {number}" for number in drawn
    ]
    assert all(axes.get_xlabel() and axes.get_ylabel() for axes in figure.axes)
    assert figure.get_suptitle() == "a phase, loss 0.5"
    nothing = field_figure(one._replace(loss=math.nan), shown)
    assert nothing.get_suptitle() == "a phase"
