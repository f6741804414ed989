"""Mixed effects of tasks as a user runs them: files, resumed, restored, of recordings, refused."""

import json
import math

import numpy as np
import pytest
import torch
from conftest import run_command
from PIL import Image

import hgm
from hgm.cli.folder import read_config
from hgm.evaluation import MetaTest, meta_test

LEARNED = [
    "model=mixed_effects",
    "model.num_updates=100",
    "model.num_draws=30",
    "model.num_burn_in=2",
    "model.width=16",
    "model.planner.num_candidates=8",
    "model.planner.num_rounds=1",
    "trainer.accelerator=cpu",
]
TASKS = [
    *LEARNED,
    "data=transitions",
    "env=navigation",
    "env.max_steps=10",
    "data.num_transitions=60",
    "report.protocol.num_test_tasks=3",
    "report.protocol.num_exploration=5",
    "report.protocol.num_episodes=2",
    "report.protocol.num_first_episodes=1",
]
FIGURES = ("sigma", "trace", "effects", "calibration")


def run(folder, *words):
    done = run_command(*words, f"run_dir={folder}")
    assert done.code == 0, done.errors
    return json.loads((folder / "metrics.json").read_text(), parse_constant=pytest.fail)


def refused(folder, *words):
    done = run_command(*words, f"run_dir={folder}")
    assert done.code == 1
    (line,) = [text for text in done.errors.splitlines() if text.startswith("error: ")]
    return line


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of a run that was never stopped."""
    folder = tmp_path_factory.mktemp("tasks") / "run"
    run(folder, *TASKS)
    return folder


def measured(folder):
    """What is the same whenever it was run."""
    metrics = json.loads((folder / "metrics.json").read_text())
    del metrics["wall_seconds"]
    return metrics


def weights(folder):
    path = folder / "checkpoints" / "last.ckpt"
    return torch.load(path, weights_only=True)["state_dict"]


def test_a_run_of_tasks_leaves_files_of_both_reports(whole):
    found = measured(whole)
    assert found["num_clusters"] == {"task": 4}
    for key in ("between_tasks", "share_between_tasks", "regret_mean", "return", "rmse"):
        assert math.isfinite(found[key])
    for name in (*FIGURES, "regret"):
        assert np.asarray(Image.open(whole / f"{name}.png")).std() > 5
    assert len(json.loads((whole / "scores.json").read_text())["regret"]) == 7
    lines = (whole / "effects.csv").read_text().splitlines()
    assert len(lines) == 1 + 4 * 9


@pytest.mark.parametrize("rounds", [3, 6])  # of 4 of the network, then of chains
def test_a_run_of_tasks_that_was_cut_off_ends_with_the_same_bits(whole, tmp_path, rounds):
    cut = [*TASKS, f"trainer.max_epochs={rounds}", "report.checkpoint_every=1"]
    if rounds < 4:
        assert "got none in 3 rounds" in refused(tmp_path / "cut", *cut)
    else:  # draws there are, and an agent
        assert run(tmp_path / "cut", *cut)["num_draws"] < measured(whole)["num_draws"]
    checkpoint = tmp_path / "cut" / "checkpoints" / "last.ckpt"
    run(tmp_path / "rest", *TASKS, f"ckpt_path={checkpoint}")
    assert measured(tmp_path / "rest") == measured(whole)
    here, there = weights(tmp_path / "rest"), weights(whole)
    assert here.keys() == there.keys()
    assert all(torch.equal(here[key], there[key]) for key in there)


def test_a_finished_run_of_tasks_is_restored_with_its_agent(whole):
    data, model = hgm.restore(whole)
    scores = json.loads((whole / "scores.json").read_text())
    protocol = MetaTest(3, 5, 2, 1)
    found = meta_test(model.agent, data.family, protocol, read_config(whole)["seed"])
    assert found["regret"] == scores["regret"]


def test_a_recording_of_tasks_gives_the_same_table_and_no_meta_test(whole, tmp_path):
    path = tmp_path / "data.npz"
    words = ("env=navigation", "env.max_steps=10", "num_transitions=60")
    assert run_command("record", *words, f"path={path}").code == 0
    found, expected = (
        run(tmp_path / "run", *LEARNED, "data=stored", f"data.path={path}"),
        measured(whole),
    )
    assert found["rmse"] == pytest.approx(expected["rmse"], rel=1e-6)
    assert found["between_tasks_interval"] == pytest.approx(expected["between_tasks_interval"])
    assert not {"regret_mean", "return"} & found.keys()
    for name in FIGURES:
        assert (tmp_path / "run" / f"{name}.png").exists()
    assert not (tmp_path / "run" / "scores.json").exists()
    content = dict(np.load(path))
    np.savez(path, **content | {"reward": np.full_like(content["reward"], -0.1)})
    line = refused(tmp_path / "other", *LEARNED, "data=stored", f"data.path={path}")
    assert "Expected rewards that vary, but all are -0.1" in line


@pytest.mark.parametrize(
    ("word", "part"),
    [
        ("data.batch_size=20", "got 3 batches: choose data.batch_size=null"),
        ("env.num_train_tasks=2", "env.num_train_tasks=3 or more"),
        ("env=bandit", "Expected `env` with a box of actions"),
        ("model.targets=bernoulli", "'gaussian', got 'bernoulli'"),
        ("model.planner.acts_on=max", "`acts_on`"),
    ],
)
def test_what_tasks_have_no_effects_of_is_refused_in_a_line(tmp_path, word, part):
    words = [one for one in TASKS if not one.startswith("env") or "env=" not in word]
    assert part in refused(tmp_path / "run", *words, word)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("word", ["model.slopes=false", "model.planner.acts_on=sample"])
def test_options_of_tasks_run(tmp_path, word):
    found = run(tmp_path / "run", *TASKS, word)
    assert math.isfinite(found["regret_mean"])
    assert ("sigma_slopes" in found) == (word != "model.slopes=false")
