"""Figures of discoveries: of few and of many tasks, of states that are no plane."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scripted import TURN
from tensordict import TensorDict

from hgm.callbacks.board import pixels_of
from hgm.callbacks.figures import discovery_figures
from hgm.callbacks.planes import common_scale
from hgm.geometry import Geometry, Orbit

METRICS = {"verdict": "found", "spectrum": [2.0, 0.1], "spectral_gap": 20.0, "algebra_dim": 1}
METRICS |= {"reward_source": "next_observation", "reward_columns": [0, 1]}


def many_bowls(points, task, columns=(0, 1)):
    angle = torch.tensor(0.1 * task)
    goal = torch.stack((angle.cos(), angle.sin())).double()
    distance = (points[:, list(columns)] - goal).norm(dim=-1)
    return -distance, torch.full_like(distance, 1e-8)


def discovery(num_tasks, generators=TURN, dim_state=2, rewards_at=many_bowls):
    coords = 0.1 * torch.arange(num_tasks).double()[:, None].expand(-1, len(generators))
    geometry = Geometry(generators, generators, coords, dim_state, "found", "so(2)")
    return SimpleNamespace(candidate=geometry, geometry=geometry, rewards_at=rewards_at)


def batch(num_tasks, dim_state=2, num=200):
    points = torch.randn(num_tasks, num, dim_state, generator=torch.Generator().manual_seed(0))
    rewards = -points.norm(dim=-1, keepdim=True)
    data = {"observation": points - 5, "next": {"observation": points, "reward": rewards}}
    return TensorDict(data, [num_tasks, num])


@pytest.mark.parametrize("num_tasks", [2, 4, 64, 512])
def test_of_many_tasks_nine_are_asked_for_rewards_and_drawn(num_tasks):
    asked = []

    def rewards(points, task):
        asked.append((task, len(points)))
        return many_bowls(points, task)

    module = discovery(num_tasks, rewards_at=rewards)
    figures = discovery_figures(module, batch(num_tasks), METRICS, None)
    for figure in figures.values():
        pixels_of(figure)
    assert len({task for task, _ in asked}) == min(num_tasks, 9)
    # A grid of 60 x 60 for each panel and for the vector field: no more with 512 tasks than with 9.
    assert sum(num for _, num in asked) <= 3_600 * (min(num_tasks, 9) + 1)
    panels = [axes for axes in figures["left_actions"].axes if axes.get_xlim() != (0, 1)]
    titles = [axes.get_title() for axes in panels if axes.get_title()]
    assert len(titles) == min(num_tasks, 9)
    assert titles[0] == "base task"
    assert titles[-1] == f"task {num_tasks - 1}"
    if num_tasks > 9:
        assert figures["left_actions"].get_suptitle() == f"9 of {num_tasks} tasks"


def test_every_axis_is_named_and_level_sets_have_a_colour_bar():
    figures = discovery_figures(discovery(4), batch(4), METRICS, TURN.expand(4, 2, 2))
    for name, figure in figures.items():
        pixels_of(figure)
        named = [bool(axes.get_ylabel() or axes.get_xlabel()) for axes in figure.axes]
        # The panels of left actions share the labels of the outer ones.
        assert named.count(False) == (name == "left_actions"), name
    for name in ("vector_field", "left_actions"):
        labels = [axes.get_ylabel() for axes in figures[name].axes]
        assert "modelled reward (standard deviations)" in labels
    (legend,) = figures["left_actions"].legends
    texts = [entry.get_text() for entry in legend.get_texts()]
    assert texts == ["best seen", "carried from base", "by the true element"]


def test_legends_are_off_the_data():
    figure = discovery_figures(discovery(4), batch(4), METRICS, None)["left_actions"]
    pixels_of(figure)
    (legend,) = figure.legends
    box = legend.get_window_extent()
    panels = [axes.get_window_extent() for axes in figure.axes]
    assert not any(box.overlaps(panel) for panel in panels)


def test_planes_are_of_the_coordinates_that_rewards_see():
    turn = torch.zeros(1, 4, 4).double()
    turn[0, 3, 2], turn[0, 2, 3] = 1.0, -1.0

    def rewards(points, task):
        return many_bowls(points, task, (2, 3))

    module = discovery(3, turn, 4, rewards)
    figures = discovery_figures(
        module, batch(3, 4), METRICS | {"reward_columns": [2, 3]}, turn.expand(3, 4, 4)
    )
    (axes, _) = figures["vector_field"].axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("state 3", "state 4")
    points = batch(3, 4)["next", "observation"].double()
    assert axes.get_xlim() == pytest.approx(
        (points[..., 2].min().item(), points[..., 2].max().item())
    )
    offsets = np.asarray(axes.collections[0].get_offsets())
    assert offsets == pytest.approx(points[0, :, 2:].numpy())
    panels = {one.get_title(): one for one in figures["left_actions"].axes}
    (path,) = panels["task 2"].lines
    assert np.ptp(path.get_xydata()[:, 0]) > 0
    assert np.linalg.norm(path.get_xydata(), axis=1) == pytest.approx(
        np.full(50, np.linalg.norm(path.get_xydata()[0]))
    )


@pytest.mark.parametrize(
    ("source", "name"), [("observation", "state 1"), ("change", "change of state 1")]
)
def test_points_are_what_rewards_are_functions_of(source, name):
    data = batch(3)
    if source == "change":
        data["observation"] = data["next", "observation"] - torch.tensor([1.0, 2.0])
    figures = discovery_figures(discovery(3), data, METRICS | {"reward_source": source}, None)
    axes = figures["vector_field"].axes[0]
    assert axes.get_xlabel() == name
    seen = np.asarray(axes.collections[0].get_offsets())
    after = data["next", "observation"][0].double().numpy()
    expected = after - 5 if source == "observation" else np.broadcast_to([1.0, 2.0], after.shape)
    assert seen == pytest.approx(expected, abs=1e-6)


def test_flat_data_keep_their_axes_apart():
    data = batch(3)
    data["next", "observation"][..., 1] *= 1e-3
    figure = discovery_figures(discovery(3), data, METRICS, None)["vector_field"]
    assert figure.axes[0].get_aspect() == "auto"
    assert pixels_of(figure).std() > 0


def test_states_of_one_component_have_no_plane():
    growth = torch.ones(1, 1, 1).double()
    figures = discovery_figures(discovery(3, growth, 1), batch(3, 1), METRICS, None)
    assert set(figures) == {"generators", "spectrum"}


def test_homogeneous_generators_are_drawn():
    shift = torch.zeros(1, 3, 3).double()
    shift[0, 0, 2] = 1.0
    figures = discovery_figures(discovery(3, shift), batch(3), METRICS, None)
    assert set(figures) == {"generators", "spectrum", "vector_field", "left_actions"}


def test_entries_that_are_zero_as_written_have_no_sign():
    figures = discovery_figures(discovery(3, TURN - 1e-4), batch(3), METRICS, None)
    written = {text.get_text() for axes in figures["generators"].axes for text in axes.texts}
    assert written == {"0.00", "1.00", "-1.00"}


@pytest.mark.parametrize("dim", [0, 8])
def test_no_generator_and_many_generators_are_drawn(dim):
    generators = torch.randn(dim, 2, 2, generator=torch.Generator().manual_seed(1)).double()
    figures = discovery_figures(discovery(3, generators), batch(3), METRICS, None)
    for figure in figures.values():
        assert pixels_of(figure).std() > 0
    assert ("2 more are not shown" in figures["generators"].get_suptitle()) == (dim == 8)


def test_rewards_that_nothing_is_known_of_leave_no_level_set():
    def unknown(points, task):
        return points.sum(-1), torch.full(points.shape[:-1], 1e6)

    module = discovery(3, rewards_at=unknown)
    figures = discovery_figures(module, batch(3), METRICS, None)
    assert pixels_of(figures["vector_field"]).std() > 0
    scale = common_scale(np.full((2, 2), np.nan))
    assert (scale.vmin, scale.vmax) == (0.0, 1.0)


def test_elements_of_several_orbits_start_from_their_own_base_tasks():
    module = discovery(4)
    orbits = (Orbit([0, 2], None), Orbit([1], None), Orbit([3], None))
    module.candidate = replace(module.candidate, coords=torch.zeros(4, 1).double(), orbits=orbits)
    truth = torch.eye(2).double().expand(4, 2, 2)
    figure = discovery_figures(module, batch(4), METRICS, truth)["left_actions"]
    panels = [axes for axes in figure.axes if axes.get_title()]
    titles = ["base task 0, orbit 1", "task 1, alone", "task 2, orbit 1", "task 3, alone"]
    assert [axes.get_title() for axes in panels] == titles
    points, rewards = (batch(4)["next", key] for key in ("observation", "reward"))
    best = points[torch.arange(4), rewards[..., 0].argmax(1)]
    for task, base in enumerate([0, 1, 0, 3]):
        marks = {one.get_label(): one.get_offsets()[0] for one in panels[task].collections}
        for label in ("carried from base", "by the true element"):
            np.testing.assert_allclose(marks[label], best[base].numpy(), rtol=1e-6)
