"""The pieces of benchmarks/, each against what is known exactly."""

import json
import math
import sys
import warnings
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import discovery
    import paper_recipe
    from closed_form import closed_form, intertwiner, invariant_field
    from descent import LOSSES, Problem, descend
    from samples import collect, direction_of, judge

from hgm import lie


def cone(goal, num=2000, seed=0):
    """Points around the origin, the reward of a cone, and the true unit tangents."""
    draw = torch.Generator().manual_seed(seed)
    points = torch.randn(num, 2, generator=draw, dtype=torch.float64)
    way = torch.tensor(goal, dtype=torch.float64) - points
    tangents = torch.stack((-way[:, 1], way[:, 0]), -1) / way.norm(dim=-1, keepdim=True)
    return points, -way.norm(dim=-1), tangents


@pytest.fixture(scope="module")
def random_sample():
    return collect("random", 2000, seed=0)


def test_closed_form_finds_rotations_from_goal_reaching_data():
    sample = collect("goal", 2000, seed=1, behaviour="goal")
    answer = closed_form(sample.data.next_state, sample.data.reward)
    error, cosine = judge(answer, sample.truth)
    assert error < 1.0
    assert cosine > 0.998
    assert answer.notes["singular_value_gap"] > 4


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_invariant_field_turns_about_the_goal_oriented_by_the_gradient(sign):
    points, _, tangents = cone((0.6, -0.8))
    gradients = sign * torch.stack((tangents[:, 1], -tangents[:, 0]), -1)
    linear, zero, gap = invariant_field(points, gradients)
    assert_close(linear, -sign * lie.so_generators(2)[0].double(), atol=1e-8, rtol=0)
    assert_close(zero, torch.tensor([0.6, -0.8], dtype=torch.float64), atol=1e-8, rtol=0)
    assert gap > 1e6


def test_intertwiner_solves_both_equations_exactly():
    turn = lie.exp(torch.tensor([[0.3, -1.2], [0.7, 0.1]], dtype=torch.float64))
    source = torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=torch.float64)
    start = torch.tensor([1.0, 0.5], dtype=torch.float64)
    target = turn @ source @ torch.linalg.inv(turn)
    assert_close(intertwiner(source, target, start, turn @ start), turn)


def test_direction_of_leaves_out_elements_without_a_logarithm():
    plane = lie.so_generators(2).double()
    angles = torch.tensor([0.0, 1.0, -2.0], dtype=torch.float64)
    elements = lie.exp(angles[:, None, None] * plane)
    elements = torch.cat((elements, torch.diag(torch.tensor([1.0, -1.0]).double())[None]))
    assert_close(lie.span_cosine(direction_of(elements), plane).item(), 1.0)
    assert direction_of(elements[[0, 3]]).isnan().all()


@pytest.mark.parametrize("loss", LOSSES)
def test_descent_starts_from_equal_starts_and_lowers_the_loss(random_sample, loss):
    problem = Problem(random_sample, num_starts=8)
    objective = getattr(problem, loss)
    logs = problem.starts.clone().requires_grad_()
    optimiser = torch.optim.Adam([logs], 0.03)
    before = objective(lie.exp(logs))
    for _ in range(25):
        optimiser.zero_grad()
        objective(lie.exp(logs)).sum().backward()
        optimiser.step()
    after = objective(lie.exp(logs))
    assert after.isfinite().all()
    assert (after.amin(1) < before.amin(1)).all()
    trace = descend(problem, loss, 0.03, num_steps=25)
    assert trace.steps == list(range(0, 26, 5))
    assert trace.start_errors.shape == (3, 8)


def test_both_losses_vanish_at_the_truth(random_sample):
    problem = Problem(random_sample, num_starts=2)
    truth = random_sample.truth.elements[1:, None]
    assert (problem.functional(truth) < 1e-4).all()
    assert (problem.differential(truth) < 1e-3).all()
    assert (problem.differential(-truth) > 1).all()


def test_trace_reaches_only_what_it_keeps():
    trace = discovery.Trace(
        [0, 5, 10, 15], [0.0, 1.0, 2.0, 3.0], [9.0, 0.9, 2.0, 0.4], torch.zeros(1, 1)
    )
    assert trace.reached(1.0) == (15, 3.0)
    assert trace.reached(0.1) is None
    assert trace.reached(10.0) == (0, 0.0)


def test_kernel_frames_are_tangent_to_an_exact_cone():
    points, rewards, tangents = cone((1.0, 0.0), num=4000)
    frames = paper_recipe.kernel_frames(points, rewards)
    assert_close(frames.norm(dim=-1), torch.ones_like(rewards))
    inner = points.norm(dim=-1) < 1
    cosine = (frames * tangents).sum(-1).abs()[inner]
    assert cosine.median() > math.cos(math.radians(3))
    assert cosine.quantile(0.05) > math.cos(math.radians(20))


def test_unsigned_alignment_cannot_tell_half_a_turn_and_lasso_half_prefers_the_identity():
    angle = torch.tensor(1.2)
    plane = lie.so_generators(2)[0]
    turn = lie.exp(angle * plane)
    goals = torch.stack((torch.tensor([1.0, 0.0]), turn @ torch.tensor([1.0, 0.0])))
    fields = torch.cat((plane.expand(2, 2, 2), -(goals @ plane.mT)[..., None]), -1)
    points = 0.5 * cone((1.0, 0.0))[0].float()
    logs = torch.stack((angle, angle - torch.pi, torch.tensor(0.0)))[None, :, None, None] * plane
    truth, opposite, identity = paper_recipe.misalignment(logs, fields, points)[0]
    assert_close(truth, torch.tensor(0.0), atol=1e-5, rtol=0)
    # A basin of its own, though the truth is deeper.
    for step in (-0.8, -0.3, 0.3, 0.8):
        assert opposite < paper_recipe.misalignment(logs[:, 1:2] + step * plane, fields, points)
    lasso = 0.5 * logs[0].abs().sum((-2, -1))
    assert identity + lasso[2] < truth + lasso[0]


def test_span_is_the_common_direction_of_logs():
    direction = lie.normalise(torch.tensor([[0.1, -1.0], [1.3, -0.1]]))
    logs = torch.tensor([0.5, -1.0, 2.0])[:, None, None] * direction
    steps = paper_recipe.RecipeSteps(span_steps=600, span_rate=0.03)
    found = paper_recipe.span(logs, steps, torch.Generator().manual_seed(0))
    assert_close(lie.span_cosine(found, direction[None]).item(), 1.0, atol=1e-4, rtol=0)


def test_verdict_needs_speed_and_steadiness():
    def record(steps, spread):
        return {"steps_to_1_deg": steps, "final_error_spread": spread}

    def claim(functional, differential):
        losses = {"functional": functional, "differential": differential}
        return discovery.verdict({"x": losses})["x"]["claim"]

    assert claim(record([100, 100, None], 2.0), record([10, 10, 10], 1.0)) == "reproduced"
    assert claim(record([20, 20, 20], 2.0), record([10, 10, 10], 1.0)) == "refuted"
    assert claim(record([100, 100, 100], 1.0), record([10, 10, 10], 2.0)) == "refuted"
    assert claim(record([None], 1.0), record([None], 0.5)) == "refuted"
    never = claim(record([None, None, 90], 2.0), record([10, 10, None], 1.0))
    assert never == "beside the point: only differential converges"


@pytest.mark.slow
def test_quick_run_prints_a_table_and_writes_json(tmp_path, capsys):
    path = tmp_path / "report.json"
    threads = torch.get_num_threads()
    try:
        discovery.main(["--quick", "--threads", "1", "--only", "closed_form", "--out", str(path)])
    finally:
        torch.set_num_threads(threads)
    report = json.loads(path.read_text())
    methods = {row["method"] for row in report["rows"]}
    assert methods == {"hgm default", "closed form", "closed form, 200 nbrs"}
    by_size = {(row["method"], row["data"], row["transitions_per_task"]) for row in report["rows"]}
    assert ("closed form", "random", 250) in by_size
    base = next(row for row in report["rows"] if row["method"] == "hgm default")
    assert base["median"]["seconds_ratio_to_hgm"] == 1
    assert base["median"]["error_deg"] < 0.5
    assert report["descents"] == {}
    assert "hgm default" in capsys.readouterr().out
