"""Baselines as a user runs them: trained, meta-tested, resumed, restored, compared."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import comparison
from conftest import run_command

from hgm import restore
from hgm.evaluation import MetaTest, meta_test

BOTH = [
    "env.max_steps=20",
    "env.radius=0.4",
    "report.protocol.num_test_tasks=4",
    "report.protocol.num_exploration=6",
    "report.protocol.num_episodes=3",
    "report.protocol.num_first_episodes=2",
    "trainer.accelerator=cpu",
]
SMALL = [
    *BOTH,
    "data.num_frames=1536",
    "data.explore_length=5",
    "data.act_length=3",
    "data.shortest_context=1",
    "data.updates_per_round=6",
    "data.num_learners=4",
    "data.batch_size=8",
    "data.random_rounds=1",
]
LEARNED = ("pearl", "ccm", "contrastive_pearl", "oracle", "goal_relative")
ORACLES = ("oracle", "goal_relative")


def run(folder, model, *overrides):
    given = [*(SMALL if model in LEARNED else BOTH), f"model={model}", f"run_dir={folder}"]
    done = run_command(*given, *overrides)
    assert done.code == 0, done.errors
    print(done.output)
    return [json.loads((folder / name).read_text()) for name in ("scores.json", "metrics.json")]


@pytest.fixture(scope="module")
def pearl(tmp_path_factory):
    """The folder of a finished run."""
    folder = tmp_path_factory.mktemp("pearl") / "run"
    run(folder, "pearl")
    return folder


@pytest.mark.parametrize("model", ["ccm", "contrastive_pearl", *ORACLES, "planning", "random"])
def test_every_baseline_is_trained_and_tested(model, tmp_path, capsys):
    scores, metrics = run(tmp_path / "run", model)
    assert len(scores["regret"]) == 8
    assert metrics["oracle"] == (model in ORACLES)
    assert ("told the tasks' parameters" in " ".join(capsys.readouterr().out.split())) == (
        model in ORACLES
    )
    files = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"regret.png", "config.yaml"} <= files
    assert ("learning.png" in files) == (model in LEARNED)


def test_agents_are_tested_before_any_training_and_until_its_end(pearl):
    scores = json.loads((pearl / "scores.json").read_text())
    curve = scores["curve"]
    assert curve[0]["updates"] == curve[0]["frames"] == 0
    assert (curve[-1]["updates"], curve[-1]["frames"]) == (18, 1536)
    assert all({"return", "regret_mean", "regret_train_tasks"} <= set(point) for point in curve)


def test_a_run_that_was_cut_off_ends_as_if_it_had_not_been(pearl, tmp_path):
    run(tmp_path / "cut", "pearl", "trainer.max_steps=7")
    checkpoint = tmp_path / "cut" / "checkpoints" / "last.ckpt"
    run(tmp_path / "rest", "pearl", f"ckpt_path={checkpoint}")
    whole, rest = (json.loads((p / "scores.json").read_text()) for p in (pearl, tmp_path / "rest"))
    assert rest["regret"] == whole["regret"]
    points = [[point["updates"] for point in scores["curve"]] for scores in (whole, rest)]
    assert set(points[0]) <= set(points[1])


def test_finished_runs_are_restored(pearl, tmp_path):
    data, model = restore(pearl)
    torch.manual_seed(0)
    again = meta_test(model.agent, data.family, MetaTest(4, 6, 3, 2), 0)
    assert again["regret"] == json.loads((pearl / "scores.json").read_text())["regret"]
    with pytest.raises(FileNotFoundError, match=r"config\.yaml"):
        restore(tmp_path)


def test_training_does_not_notice_its_validations(pearl, tmp_path):
    scores, _ = run(tmp_path / "run", "pearl", "trainer.val_check_interval=1.0")
    whole = json.loads((pearl / "scores.json").read_text())
    assert len(scores["curve"]) < len(whole["curve"])
    assert scores["regret"] == whole["regret"]


# --- the comparison -----------------------------------------------------------------------------


def invented(method, num, seed, overrides=(), frames=1000):
    """A run whose numbers are known."""
    level = 1.0 + comparison.METHODS.index(method) + seed
    return {
        "method": method,
        "num_train_tasks": num,
        "seed": seed,
        "overrides": list(overrides),
        "num_test_tasks": 3,
        "separation": [0.0, 0.5, 1.0, 0.0],
        "regret": [level, level + 1, level + 2, 0.25],
        "regret_first_episodes": [9.0] * 4,
        "optimal_return": [-4.0] * 4,
        "regret_by_budget": {"0": [3.0] * 4, "25": [level] * 4} if num == 4 else {},
        "curve": [{"frames": n, "regret_mean": level} for n in (0, 500, 1000)],
        "wall_seconds": 10.0,
        "frames": frames,
    }


RUNS = [
    invented(method, num, seed)
    for method in ("hereditary", "pearl", "random")
    for num in (4, 32)
    for seed in (0, 1)
] + [invented("hereditary", 4, 0, ("data.num_frames=10",), 10)]


def test_runs_are_summed_up_by_method_and_number_of_tasks():
    groups = comparison.grouped(RUNS)
    assert list(groups) == [(m, n) for m in ("hereditary", "pearl", "random") for n in (4, 32)]
    row = comparison.summarise(groups["pearl", 4])
    assert row["seeds"] == 2
    assert row["regret"] == 3.5  # levels 2 and 3, and one more on average
    # s = 1 / sqrt 2, and t = 12.7062 with one degree of freedom.
    assert row["regret_interval"] == pytest.approx([3.5 - 12.7062 / 2, 3.5 + 12.7062 / 2])
    assert row["slope_interval"] == pytest.approx([2.0, 2.0])
    assert np.isclose(row["slope"], 2.0)
    assert row["regret_train"] == [0.25, 0.25]
    assert row["regret_worst"] == 5.0


def test_figures_show_every_method():
    drawn = comparison.figures(RUNS)
    for name, figure in drawn.items():
        labels = {text.get_text() for legend in figure.legends for text in legend.get_texts()}
        hidden = {"random"} if name == "comparison_frames" else set()
        assert labels == {"hereditary", "pearl", "random"} - hidden, name


def test_single_seeds_have_no_interval_in_the_figure_of_tasks():
    alone = [run for run in RUNS if run["seed"] == 0 or run["num_train_tasks"] == 4]
    (container, *_) = comparison.figures(alone)["comparison_tasks"].axes[0].containers
    ends = container.lines[2][0].get_segments()
    widths = [float(np.ptp(segment[:, 1])) if len(segment) else np.nan for segment in ends]
    assert widths[0] > 1
    assert np.isnan(widths[1])


def test_what_is_trained_in_one_go_is_one_point_of_the_learning_curves():
    alone = [run | {"method": "planning", "curve": []} for run in RUNS if run["method"] == "pearl"]
    figure = comparison.figures(RUNS + alone)["comparison_frames"]
    container = figure.axes[0].containers[1]
    assert container.get_label() == "planning"
    assert container.lines[0].get_xydata().tolist() == [[1000.0, 3.5]]


def test_transitions_of_one_go_are_counted(tmp_path):
    found = comparison.perform(tmp_path, ("random", 8, 0, ()))
    assert found["frames"] == 0
    (tmp_path / "seed").mkdir()
    assert comparison._frames(tmp_path / "seed", {}, 8000) == 8000
    assert comparison._frames(tmp_path / "seed", {"frames": 7}, 8000) == 7


def test_every_job_is_planned_once_and_few_tasks_come_first():
    jobs = comparison.all_jobs(("hereditary", "pearl"), (2, 4), (0, 1))
    assert len(jobs) == len(set(jobs)) == 2 * 2 * 2 + 2 * len(comparison.FRAMES)
    numbers = [num for _, num, _, _ in jobs]
    assert numbers == sorted(numbers, reverse=True)


def test_finished_jobs_are_not_repeated(tmp_path):
    job = ("random", 4, 1, ())
    found = comparison.perform(tmp_path, job)
    assert found["method"] == "random"
    assert set(found["regret_by_budget"]) == {str(budget) for budget in comparison.BUDGETS}
    (result,) = tmp_path.glob("*/result.json")
    result.write_text(json.dumps({"from": "the file"}))
    assert comparison.perform(tmp_path, job) == {"from": "the file"}


def test_results_are_added_to_four_digits(tmp_path):
    job = {"method": "pearl", "num_train_tasks": 4, "overrides": []}
    out = tmp_path / "out.json"
    former = [job | {"seed": 0, "regret": 9.0}, job | {"seed": 2, "regret": 8.0}]
    out.write_text(json.dumps({"runs": former}))
    for seed, value in ((1, [f"{tmp_path}/x", {"c": 2}]), (0, 0.123456)):
        (tmp_path / str(seed)).mkdir()
        text = json.dumps(job | {"seed": seed, "regret": value})
        (tmp_path / str(seed) / "result.json").write_text(text)
    comparison.collect(tmp_path, out)
    runs = json.loads(out.read_text())["runs"]
    assert [run["regret"] for run in runs] == [0.1235, ["x", {"c": 2}], 8.0]


def test_what_is_committed_can_be_drawn(tmp_path, monkeypatch):
    written = tmp_path / "results.md"
    written.write_text("before\n" + "\nold\n".join(comparison.MARKERS) + "\nafter")
    monkeypatch.setattr(comparison, "FIGURES", tmp_path)
    monkeypatch.setattr(comparison, "DOCUMENT", written)
    monkeypatch.setattr(sys, "argv", ["comparison.py", "--draw"])
    comparison.main()
    assert len(list(tmp_path.glob("comparison_*.png"))) == 4
    text = written.read_text()
    assert "old" not in text
    assert text.startswith("before")
    assert text.endswith("after")
    # What the document shows is what the numbers say.
    shown = (Path(comparison.ROOT) / "docs" / "results.md").read_text()
    assert text.split(comparison.MARKERS[0])[1].split("after")[0] in shown
