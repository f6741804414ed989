"""Numbers against the truth, by independent NumPy and SciPy formulas."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.linalg
import torch
from torch.testing import assert_close

from hgm import lie
from hgm.envs import Navigation, Scattered, Translation, Warped
from hgm.evaluation.truth import truth_metrics
from hgm.geometry import Geometry

CHART = [[2.0, 0.5], [0.0, 0.8]]


def randn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def geometry_of(generators, coords):
    return Geometry(generators, generators, coords, generators.shape[-1], "found", "any")


def span_cosine(a, b):
    """Smallest cosine of the principal angles, by SciPy."""
    angles = scipy.linalg.subspace_angles(
        a.reshape(len(a), -1).numpy().T, b.reshape(len(b), -1).numpy().T
    )
    return np.cos(angles.max())


def plane_errors(elements, tasks, chart):
    """Angles of the relative rotation in the chart, by SciPy's logarithm."""
    inverse = np.linalg.inv(chart)
    goals = tasks[:, :2].double().numpy() @ inverse.T
    angles = np.arctan2(goals[:, 1], goals[:, 0])
    errors = []
    for element, angle in zip(elements.numpy(), angles - angles[0], strict=True):
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        log = scipy.linalg.logm(inverse @ element @ chart @ turn.T)
        real = np.abs(np.imag(log)).max() < 1e-9
        errors.append(np.degrees(np.linalg.norm(log) / np.sqrt(2)) if real else 180.0)
    return errors[1:]


@pytest.mark.parametrize("chart", [None, CHART])
@pytest.mark.parametrize("error", [0.0, 0.02, 0.2])
def test_metrics_of_the_plane(chart, error):
    family = Navigation(chart=chart)
    tasks = family.train_tasks(3)
    truth = family.truth(tasks.double())
    generators = truth.generators + error * randn(1, 2, 2)
    coords = lie.vee(lie.log(truth.elements), truth.generators) + error * randn(4, 1, seed=1)
    geometry = geometry_of(generators, coords)
    metrics = truth_metrics(geometry, family, tasks)
    assert metrics["span_cosine"] == pytest.approx(span_cosine(generators, truth.generators))
    matrix = np.eye(2) if chart is None else np.array(chart)
    expected = plane_errors(geometry.left_actions, tasks, matrix)
    assert metrics["element_error_deg"] == pytest.approx(expected, abs=1e-4)
    assert metrics["element_error_deg_max"] == max(metrics["element_error_deg"])
    assert (metrics["element_error_deg_max"] > 0.1) == (error > 0)


def test_metrics_of_the_sphere_measure_what_elements_do_to_the_goal():
    family = Navigation(dim_state=3, num_train_tasks=5)
    tasks = family.train_tasks(1)
    truth = family.truth(tasks.double())
    noise = 0.1 * randn(5, 3, seed=2)
    coords = lie.vee(lie.log(truth.elements), truth.generators) + noise
    geometry = geometry_of(truth.generators + 0.05 * randn(3, 3, 3), coords)
    metrics = truth_metrics(geometry, family, tasks)
    assert metrics["span_cosine"] == pytest.approx(
        span_cosine(geometry.generators, truth.generators)
    )
    goals = tasks[:, :3].double().numpy()
    seen = geometry.left_actions.numpy() @ goals[0]
    chords = np.linalg.norm(seen - goals, axis=1) / 2
    expected = np.degrees(2 * np.arcsin(np.minimum(1, chords)))[1:]
    assert metrics["element_error_deg"] == pytest.approx(list(expected), rel=1e-5)


def test_errors_of_many_points_need_no_more_memory_than_those_of_some():
    """Distances between all of 200,000 points would be 320 GB."""
    family = Warped()
    tasks = family.train_tasks(0)
    truth = family.truth(tasks.double())
    angle = 0.1 + lie.vee(lie.log(truth.elements), truth.generators)
    turned = geometry_of(truth.generators, angle)
    points = truth.chart.inverse(randn(4, 50_000, 2))
    found = truth_metrics(replace(turned, chart=truth.chart), family, tasks, points=points)
    few = truth_metrics(replace(turned, chart=truth.chart), family, tasks, points=points[:, :1000])
    assert found["mapped_error"] == pytest.approx(0.1, rel=0.2)
    assert few["mapped_error"] == pytest.approx(found["mapped_error"], rel=0.1)


def test_spans_of_other_dimension_have_cosine_zero():
    family, tasks = Navigation(), Navigation().train_tasks(0)
    both = torch.stack((lie.so_generators(2)[0], torch.eye(2))).double()
    assert truth_metrics(geometry_of(both, torch.zeros(4, 2)), family, tasks)["span_cosine"] == 0
    trivial = geometry_of(both, torch.zeros(4, 2).double()).trivial()
    metrics = truth_metrics(trivial, family, tasks)
    assert metrics["span_cosine"] == 0
    angles = torch.atan2(tasks[:, 1], tasks[:, 0])
    turns = torch.rad2deg((angles - angles[0] + torch.pi) % (2 * torch.pi) - torch.pi).abs()[1:]
    assert_close(torch.tensor(metrics["element_error_deg"]), turns, atol=1e-3, rtol=0)


def test_homogeneous_generators_are_compared_with_a_truth_that_keeps_the_origin():
    family, tasks = Navigation(), Navigation().train_tasks(0)
    turn = torch.zeros(1, 3, 3).double()
    turn[0, :2, :2] = lie.so_generators(2)[0]
    angles = torch.atan2(tasks[:, 1], tasks[:, 0]).double()
    geometry = Geometry(turn, turn, (angles - angles[0])[:, None], 2, "found", "so(2)")
    metrics = truth_metrics(geometry, family, tasks)
    assert metrics["span_cosine"] == pytest.approx(1.0)
    assert metrics["element_error_deg_max"] < 1e-4
    moved = turn.clone()
    moved[0, 0, 2] = 2**0.5  # about another point: as large as the rotation itself
    geometry = Geometry(moved, moved, (angles - angles[0])[:, None], 2, "found", "so(2)")
    cosine = truth_metrics(geometry, family, tasks)["span_cosine"]
    assert cosine == pytest.approx(2**-0.5)


def test_entries_that_the_data_leave_open_do_not_count():
    family, tasks = Navigation(), Navigation().train_tasks(0)
    wrong = torch.tensor([[[0.0, -1.0], [0.0, 0.0]]]).double()
    geometry = geometry_of(wrong, torch.zeros(4, 1).double())
    assert truth_metrics(geometry, family, tasks)["span_cosine"] == pytest.approx(2**-0.5)
    told = torch.tensor([[True, True], [False, False]])
    metrics = truth_metrics(geometry, family, tasks, told)
    assert metrics["span_cosine"] == pytest.approx(1.0)


@pytest.mark.parametrize("family", [None, Scattered()])
def test_unknown_truth_has_no_metrics(family):
    tasks = None if family is None else family.train_tasks(0)
    assert truth_metrics(geometry_of(lie.so_generators(2), torch.zeros(4, 1)), family, tasks) == {}
    assert truth_metrics(geometry_of(lie.so_generators(2), torch.zeros(4, 1)), family, None) == {}


def affine(error):
    """A geometry of translations, of which one also turns, and its family's tasks."""
    family = Translation()
    tasks = family.train_tasks(0)
    truth = family.truth(tasks.double())
    coords = lie.vee(lie.log(truth.elements), truth.generators)
    generators = truth.generators + 0
    generators[0, :2, :2] += error * lie.so_generators(2)[0]
    return family, tasks, Geometry(generators, truth.action_generators, coords, 2, "found", "any")


def test_translations_are_compared_as_affine_maps():
    family, tasks, exact = affine(0.0)
    metrics = truth_metrics(exact, family, tasks)
    assert metrics["span_cosine"] == pytest.approx(1.0)
    assert metrics["element_error_deg_max"] == pytest.approx(0.0, abs=1e-9)
    _, _, off = affine(0.1)
    metrics = truth_metrics(off, family, tasks)
    truth = family.truth(tasks.double()).generators
    assert metrics["span_cosine"] == pytest.approx(span_cosine(off.generators, truth))
    moved = lie.act(off.left_actions, tasks[:1].double())[:, 0] - tasks
    expected = np.degrees(np.linalg.norm(moved.numpy(), axis=-1))[1:]
    assert metrics["element_error_deg"] == pytest.approx(expected)
    assert metrics["element_error_deg_max"] > 0.5


def test_a_linear_group_is_not_one_of_translations():
    family, tasks, _ = affine(0.0)
    planes = torch.zeros(2, 2, 2, dtype=torch.float64)
    planes[0, 0, 0] = planes[1, 1, 1] = 1.0
    coords = torch.zeros(6, 2, dtype=torch.float64)
    linear = Geometry(planes, planes, coords, 2, "found", "any")
    metrics = truth_metrics(linear, family, tasks)
    assert metrics["span_cosine"] == pytest.approx(0.0, abs=1e-9)
    apart = np.degrees((tasks - tasks[:1]).norm(dim=-1).numpy())[1:]
    assert metrics["element_error_deg"] == pytest.approx(apart, rel=1e-5)
