"""Two processes find what one finds: started as a user starts them, as a script."""

import json

import pytest
from processes import run
from torch.testing import assert_close

from hgm import lie
from hgm.datamodules import Transitions
from hgm.datamodules.writing import write_recording
from hgm.envs import Navigation
from hgm.geometry import load_geometry

FOLDERS = ("default", "ddp")
TRANSITIONS = "data.num_transitions=2000"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    outputs = {
        name: run(folder / name, f"trainer={name}", TRANSITIONS) for name in ("default", "ddp")
    }
    return folder, outputs


@pytest.mark.parametrize("name", ["default", "ddp"])
def test_group_is_found(runs, name):
    folder, _ = runs
    metrics = json.loads((folder / name / "metrics.json").read_text())
    assert metrics["verdict"] == "found"
    assert metrics["algebra_type"] == "so(2)"
    assert metrics["num_transitions"] == 2000
    assert metrics["span_cosine"] > 0.999
    assert metrics["element_error_deg_max"] < 0.1


def test_both_find_the_same_generators(runs):
    folder, _ = runs
    one, two = (load_geometry(folder / name).generators for name in ("default", "ddp"))
    assert float(lie.span_cosine(one, two)) > 1 - 1e-3


@pytest.mark.parametrize("name", ["default", "ddp"])
def test_results_are_written_and_shown_once(runs, name):
    folder, outputs = runs
    assert outputs[name].count("Hereditary symmetry") == 1
    names = [path.name for path in (folder / name).iterdir()]
    # Lightning opens a new log for the test: <time>.<host>.<process>.<number>.
    logs = [entry.split(".") for entry in names if entry.startswith("events.out.tfevents")]
    assert len({log[-2] for log in logs}) == 1
    assert {path.name for path in folder.iterdir()} == {"default", "ddp"}
    assert not list((folder / name).rglob("*_1*"))


@pytest.mark.parametrize("model", ["pearl", "rl2"])
def test_baselines_train_on_two_processes_and_are_tested_once(model, tmp_path):
    small = {
        "pearl": ["data.num_frames=8192", "data.updates_per_round=6"],
        "rl2": ["data.num_frames=4096", "data.num_envs=32", "data.num_steps=64"],
    }
    few = ["num_test_tasks=4", "num_exploration=3", "num_episodes=2", "num_first_episodes=1"]
    protocol = [f"report.protocol.{setting}" for setting in few]
    output = run(tmp_path / "run", "trainer=ddp", f"model={model}", *small[model], *protocol)
    assert output.count("Meta-test, scored") == 1
    scores = json.loads((tmp_path / "run" / "scores.json").read_text())
    assert len(scores["regret"]) == 8
    assert (tmp_path / "run" / "checkpoints" / "last.ckpt").is_file()


def test_one_recording_gives_the_same_generators_on_any_number_of_processes(tmp_path):
    """What all processes read together is what one reads, and each searches in all of it."""
    source = Transitions(Navigation(), num_transitions=1999, seed=3)
    path = write_recording(source, tmp_path / "recording")
    words = ("data=stored", f"data.path={path}", "model.steps.num_refits=0")
    for name in FOLDERS:
        run(tmp_path / name, f"trainer={name}", *words)
    one, two = (load_geometry(tmp_path / name) for name in FOLDERS)
    assert_close(two.generators, one.generators, atol=1e-5, rtol=0)
    assert_close(two.action_generators, one.action_generators, atol=1e-5, rtol=0)
    metrics = [json.loads((tmp_path / name / "metrics.json").read_text()) for name in FOLDERS]
    assert metrics[0]["verdict"] == metrics[1]["verdict"] == "found"
    assert metrics[0]["num_transitions"] == metrics[1]["num_transitions"] == 1999


def test_mixed_effects_of_two_processes_are_those_of_one(tmp_path):
    from callbacks.test_effects_report import write

    write(tmp_path / "table.csv", "bernoulli")
    words = ["model=mixed_effects", "model.targets=bernoulli", "data=clustered", "data.target=y"]
    words += [f"data.path={tmp_path / 'table.csv'}", "data.clusters=[school]", "model.width=16"]
    words += ["model.num_updates=100", "model.num_draws=40", "model.batch_size=128"]
    found = []
    for name in ("default", "ddp"):
        output = run(tmp_path / name, f"trainer={name}", *words)
        assert output.count("sigma of school") == 1
        found.append(json.loads((tmp_path / name / "metrics.json").read_text()))
    one, two = found
    assert two["sigma"]["school"] == pytest.approx(one["sigma"]["school"], rel=1e-3)
    assert two["log_likelihood"] == pytest.approx(one["log_likelihood"], abs=1e-3)
    assert two["num_draws"] == one["num_draws"]


def test_effects_of_tasks_are_of_the_transitions_of_all_processes(tmp_path):
    words = ["model=mixed_effects", "data=transitions", "data.num_transitions=400"]
    words += ["model.num_updates=400", "model.learning_rate=0.01", "model.width=32"]
    words += ["model.num_draws=40", "report.protocol.num_test_tasks=4"]
    rows = []
    for name in FOLDERS:
        output = run(tmp_path / name, f"trainer={name}", *words)
        assert output.count("Meta-test, scored") == 1
        metrics = json.loads((tmp_path / name / "metrics.json").read_text())
        rows.append(metrics["num_test_rows"])
        scores = json.loads((tmp_path / name / "scores.json").read_text())
        own, chance = (sum(scores[key]) / len(scores[key]) for key in ("regret", "regret_random"))
        assert own < 0.3 * chance
    assert rows[0] == rows[1]
