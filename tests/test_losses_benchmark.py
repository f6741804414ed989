"""benchmarks/losses.py and arms.py: losses, errors and choices, each against what is known."""

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
    import arms
    import losses

from hgm import lie
from hgm.differentials import FourierEstimator

PLANE = lie.so_generators(2).double()
ANGLES = torch.tensor([0.0, 1.1, -0.8], dtype=torch.float64)


def bowls(scale=(1.0, 1.0, 1.0), shift=(0.0, 0.0, 0.0), power=(1.0, 1.0, 1.0), num=600):
    """Three turned copies of one smooth reward, with an increasing map of every task's own."""
    draw = torch.Generator().manual_seed(0)
    points = torch.randn(3, num, 2, generator=draw, dtype=torch.float64)
    elements = lie.exp(ANGLES[:, None, None] * PLANE)
    moved = points @ elements  # rows p^T L are (L^-1 p)^T
    far = moved - torch.tensor([1.0, 0.3]).double()
    base = torch.exp(-0.3 * (far * torch.tensor([1.0, 1.5]).double()).square().sum(-1))
    columns = (torch.tensor(column).double()[:, None] for column in (scale, shift, power))
    scale, shift, power = columns
    coords = (ANGLES[1:, None, None] * PLANE).flatten(1)
    return arms.Problem(points, scale * base**power + shift, elements, coords, PLANE)


@pytest.fixture(autouse=True)
def exact(monkeypatch):
    """Jets in float64, for derivatives."""
    monkeypatch.setattr(FourierEstimator, "rough_jet", FourierEstimator.jet)


def align(problem, name, **settings):
    tasks = torch.arange(3)[None]
    models = arms.fit_models(problem, "evidence")
    return arms.Alignment(models, arms.ARMS[name], problem.points[:, ::12], tasks, **settings)


@pytest.mark.parametrize("shared", [0, 1])
@pytest.mark.parametrize("name", arms.ARMS)
def test_derivatives_are_those_of_the_residuals(name, shared):
    alignment = align(bowls((1.0, 2.0, 0.7), (0.0, 1.0, -1.0)), name, num_shared=shared)
    draw = torch.Generator().manual_seed(1)
    actions = torch.randn(1, 6 if shared else 8, generator=draw, dtype=torch.float64)
    start = alignment.start(0.5 * actions)
    assert start.shape[1] == actions.shape[1] + (4 if name == "values, free" else 0)
    found = alignment(start).jacobian
    for column in range(start.shape[1]):
        step = torch.zeros_like(start)
        step[0, column] = 1e-5
        change = alignment(start + step).residual - alignment(start - step).residual
        assert_close(found[0, :, column], change[0] / 2e-5, atol=2e-5, rtol=2e-5)


def fitted_error(name, **maps):
    problem = bowls(**maps)
    alignment = align(problem, name)
    solver, _ = arms.descend(alignment, alignment.start(problem.coords.flatten()[None]), 0.03, 20)
    return float(problem.errors(alignment.elements(solver.unknowns)).max())


@pytest.mark.parametrize(
    ("name", "blind_to"),
    [
        ("values", []),
        ("values, free", ["shift", "scale"]),
        ("gradients", ["shift"]),
        ("directions", ["shift", "scale", "power"]),
    ],
)
def test_arms_are_blind_to_what_they_should_be(name, blind_to):
    assert fitted_error(name) < 0.1
    for change in ("shift", "scale", "power"):
        error = fitted_error(name, **{change: (1.0, 2.5, 0.5)})
        assert (error < 0.3) == (change in blind_to), (change, error)


def test_free_starts_stand_where_rewards_were_moved():
    alignment = align(bowls((1.0, 2.0, 0.5), (0.0, 3.0, -1.0)), "values, free")
    found = alignment.start(torch.zeros(1, 8).double())[0, 8:]
    # Means and deviations of random points, not of the same ones.
    assert_close(found.exp()[:2], torch.tensor([2.0, 0.5]).double(), rtol=0.1, atol=0)
    assert_close(found[2:], torch.tensor([3.0, -1.0]).double(), rtol=0.1, atol=0)


def test_star_compares_with_the_base_only():
    alignment = align(bowls(), "values", star=True)
    pairs = set(zip(alignment.target.tolist(), alignment.source.tolist(), strict=True))
    assert pairs == {(0, 1), (1, 0), (0, 2), (2, 0)}


def test_conditions_leave_calibration_and_the_undefined_out():
    draw = torch.Generator().manual_seed(0)
    rows = torch.randn(50, 5, generator=draw, dtype=torch.float64)
    first, rest = rows[:, :3] @ torch.diag(torch.tensor([1.0, 2.0, 9.0]).double()), rows[:, 3:]
    normal = torch.cat((first, rest), 1).mT @ torch.cat((first, rest), 1)
    free = first - rest @ torch.linalg.lstsq(rest, first).solution
    values = torch.linalg.svdvals(free).square()
    assert arms.condition(normal, 3) == pytest.approx(float(values[0] / values[2]))
    assert arms.condition(normal, 3, 1) == pytest.approx(float(values[0] / values[1]))
    assert arms.condition(torch.diag(torch.tensor([1.0, 0.0])), 2) == math.inf


def test_errors_are_angles():
    problem = bowls()
    turned = lie.exp(math.radians(3) * PLANE) @ problem.elements
    assert_close(problem.errors(turned), torch.full((2,), 3.0).double())
    assert problem.cosine(2 * problem.coords) == pytest.approx(1.0)
    sphere = losses.problem_of(losses.Setting("sphere", 250, 0.0), 0)
    assert sphere.points.shape == (5, 250, 3)
    about = lie.hat(sphere.goals[0].flip(0) * torch.tensor([1.0, -1.0, 1.0]), sphere.generators)
    stabilised = sphere.elements @ lie.exp(about)
    assert_close(sphere.errors(stabilised), torch.zeros(4).double(), atol=1e-5, rtol=0)
    assert_close(sphere.errors(-sphere.elements), torch.full((4,), 180.0).double())
    assert sphere.cosine(sphere.coords) == pytest.approx(1.0)  # so(3) from two of its directions
    assert sphere.num_undefined == 4


@pytest.mark.parametrize("family", losses.FAMILIES)
def test_truths_explain_their_rewards(family):
    """Rewards at the same point of the base task, up to the increasing map of each."""
    problem = losses.problem_of(losses.Setting(family, 400, 0.0), 1)
    found = lie.exp(problem.coords.unflatten(1, problem.elements.shape[1:]))
    assert_close(found, problem.elements[1:], atol=1e-6, rtol=0)
    models = arms.fit_models(problem, "evidence")
    task = torch.tensor([1])
    here = models.jet(problem.points[:1], torch.tensor([0]))
    there = models.jet(lie.act(problem.elements[task], problem.points[:1]), task)
    doubt = torch.maximum(here.value_variance, there.value_variance)[0]
    known = doubt.argsort()[:100]  # others are carried to where there are no data
    ranks = [jet.value[0, known].argsort().argsort().double() for jet in (here, there)]
    assert float(torch.corrcoef(torch.stack(ranks))[0, 1]) > 0.98


def arm(error, failures=(0.2, 0.1, 0.3)):
    table = torch.full((len(arms.BANDWIDTHS), len(losses.FLOORS)), 9.0)
    table[1, 2] = error
    return {"errors": table.tolist(), "failures": list(failures)}


def test_choices_are_the_best_over_tuning_seeds():
    entries = [{"arms": dict.fromkeys(arms.ARMS, arm(error))} for error in (1.0, 2.0)]
    other = arm(20.0)
    other["errors"][3][3] = 0.5
    entries[1]["arms"] = entries[1]["arms"] | {"values": other}
    choices = losses.choose(entries)
    assert choices["directions"] == (0.6, 0.01, 0.3)
    assert choices["values"] == (1.8, 0.03, 0.3)  # 9 x 0.5 is less than 1 x 20


def test_intervals_are_those_of_t():
    """Of 1, 2, 3: 2 -+ 4.3027 / sqrt 3."""
    half = 4.302653 / 3**0.5
    known = losses.interval([0.1, 0.2, 0.3])
    assert known["interval"] == pytest.approx([0.0, 0.2 + half / 10], rel=1e-4)
    assert losses.interval([1.0, 1.0, 0.9])["interval"][1] == 1.0
    known = losses.interval([math.exp(n) for n in (1, 2, 3)], geometric=True)
    assert known["mean"] == pytest.approx(math.exp(2), rel=1e-4)
    assert known["interval"][1] == pytest.approx(math.exp(2 + half), rel=1e-4)
    assert losses.interval([math.inf, 1.0], geometric=True)["mean"] is None


def figures(error):
    plain = {"cosine": 1.0, "cosine_from_starts": 1.0, "failing_free": 0.0, "failing_shared": 0.5}
    return {"error_deg": error, "error_from_starts_deg": 30.0, "condition": 10.0, **plain}


def test_transitions_are_interpolated():
    """An error of 100 / num is 0.2 at 500; one of 9 is never small, one of 0.1 always."""
    choices = dict.fromkeys(arms.ARMS, losses.Choice("evidence", 0.1, 0.1))
    rows = []
    for num in (250, 1000):
        errors = {"values": 100 / num, "values, free": 9.0, "gradients": 0.1, "directions": 9.0}
        entry = {"arms": {name: figures(error) for name, error in errors.items()}}
        rows.append(losses.row_of(losses.Setting("navigation", num, 0.0), choices, [entry] * 2))
    (found,) = losses.needed(rows, 0.2)
    assert found["num"]["values"] == pytest.approx(500, rel=1e-2)
    assert found["num"]["values, free"] is found["num"]["gradients"] is None
    assert rows[0]["arms"]["values"]["lost"] == 1.0


def test_arms_are_compared_seed_by_seed():
    choices = dict.fromkeys(arms.ARMS, losses.Choice("evidence", 0.1, 0.1))
    entries = []
    for error, share in ((1.0, 0.0), (4.0, 0.5)):
        found = dict.fromkeys(arms.ARMS, figures(error))
        found["gradients"] = figures(error / 2) | {"failing_shared": share}
        entries.append({"arms": found})
    pairs = losses.row_of(losses.Setting("navigation", 250, 0.0), choices, entries)["pairs"]
    ratio = pairs["gradients / values"]["error_deg"]
    assert [ratio["mean"], *ratio["interval"]] == pytest.approx(3 * [0.5])
    assert pairs["gradients / values"]["condition"]["mean"] == pytest.approx(1.0)
    assert pairs["gradients / values"]["failing_shared"] == {"mean": -0.25, "interval": [-1.0, 1.0]}
    assert pairs["directions / gradients"]["failing_shared"]["mean"] == pytest.approx(0.25)


def test_plan_has_few_settings_of_other_families():
    every = losses.settings_of(losses.FAMILIES, losses.SIZES, losses.NOISES)
    assert len(every) == 12 + 3 * 2
    assert len(losses.settings_of(["navigation"], losses.SIZES, losses.NOISES, full=True)) == 20


def test_cache_is_gone_on_with(tmp_path, monkeypatch, capsys):
    done = []

    def run(case):
        done.append(case)
        one = arm(1.0) if case.choices is None else figures(1.0 + case.seed)
        setting = list(case.setting)
        found = dict.fromkeys(arms.ARMS, one)
        return {"key": case.key, "setting": setting, "seed": case.seed, "arms": found}

    monkeypatch.setattr(losses, "run", run)
    cache, out = tmp_path / "new" / "cache.jsonl", tmp_path / "new" / "losses.json"
    words = ["--only", "navigation", "--sizes", "250", "2000", "--noises", "0.05"]
    words += ["--seeds", "3", "--tuning-seeds", "2", "--cache", str(cache), "--tag", "a"]
    losses.main(words)
    assert [case.seed for case in done[:4]] == [100, 100, 101, 101]
    assert len(done) == 2 * (2 + 3)
    cache.write_text(cache.read_text()[:-20])  # cut off in the middle of the last line
    losses.main([*words, "--out", str(out)])
    assert len(done) == 11
    losses.main([*words[:-1], "b"])
    assert len(done) == 21
    report = json.loads(out.read_text())
    assert [row["num"] for row in report["rows"]] == [250, 2000]
    error = report["rows"][0]["arms"]["values"]["error_deg"]["mean"]
    assert error == pytest.approx(6 ** (1 / 3), rel=1e-4)
    assert "directions" in capsys.readouterr().out


def test_plans_without_settings_are_refused(capsys):
    with pytest.raises(SystemExit):
        losses.main(["--only", "sphere", "--sizes", "5000"])
    assert "--full" in capsys.readouterr().err


@pytest.mark.slow
def test_one_run_finds_the_elements():
    setting = losses.Setting("navigation", 1000, 0.0)
    choices = dict.fromkeys(arms.ARMS, losses.Choice("evidence", 0.03, 0.3))
    found = losses.run(losses.Case(setting, 0, choices, ""))["arms"]
    for name in arms.ARMS:
        assert found[name]["error_deg"] < 3
        assert found[name]["error_from_starts_deg"] < 20
        assert found[name]["failing_free"] < 0.9
        assert found[name]["cosine"] > 0.98
        assert found[name]["condition"] > 1
    tuned = losses.tune(losses.Bench(losses.problem_of(setting, 0), 0))
    assert len(tuned["values"]["errors"]) == len(arms.BANDWIDTHS)
