"""A job on the real configuration, shrunk: what it leaves, and how mistakes end."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from hgm.cli.folder import read_config
from hgm.geometry import load_geometry

ROOT = Path(__file__).parents[2]

SMALL = [
    "data.num_transitions=300",
    "estimator.num_features=128",
    "model.num_dynamics_features=128",
    "model.steps.num_starts=12",
    "model.steps.num_points=32",
    "model.steps.pair_steps=5",
    "model.steps.num_refits=2",
    "model.steps.pool_steps=3",
    "trainer.accelerator=cpu",
]
REQUIRED = {
    "verdict",
    "algebra_dim",
    "algebra_type",
    "spectral_gap",
    "closure_residual",
    "holdout_residual",
    "num_transitions",
    "wall_seconds",
    "statements",
    "epsilon",
    "regret_bound",
    "generators",
    "action_generators",
    "undetermined",
    "coverage",
}
TRUTH = {"span_cosine", "element_error_deg", "element_error_deg_max"}
FIGURES = {"vector_field.png", "left_actions.png", "generators.png", "spectrum.png"}

CUSTOM_GROUP = """
import torch
from hgm.groups import LieGroup


class Boost(LieGroup):
    dim_algebra = 1
    dim_space = 2

    def __init__(self):
        super().__init__()
        self.register_buffer("basis", torch.tensor([[[0.0, 1.0], [1.0, 0.0]]]), persistent=False)

    def _generators(self):
        return self.basis
"""


@pytest.fixture(scope="module")
def navigation(tmp_path_factory, command):
    path = tmp_path_factory.mktemp("runs") / "deep" / "navigation"
    done = command("model=discovery", "seed=1", f"run_dir={path}", *SMALL)
    assert done.code == 0, done.errors
    return path


@pytest.fixture(scope="module")
def scattered(tmp_path_factory, command):
    """Tasks that share nothing, searched in a group from a file of the user's own."""
    folder = tmp_path_factory.mktemp("custom")
    (folder / "out_of_tree.py").write_text(CUSTOM_GROUP)
    sys.path.insert(0, str(folder))
    own = ["env=scattered", "group._target_=out_of_tree.Boost"]
    done = command(*SMALL, *own, f"run_dir={folder / 'run'}")
    assert done.code == 0, done.errors
    sys.path.remove(str(folder))
    return folder / "run"


def metrics_of(path):
    return json.loads((path / "metrics.json").read_text())


# What a run leaves.


def test_run_folder_holds_everything(navigation):
    names = {path.name for path in navigation.iterdir()}
    assert names >= {"config.yaml", "metrics.json", "geometry.pt", "checkpoints"} | FIGURES
    assert sum(name.startswith("events.out.tfevents") for name in names) >= 1
    assert {name for name in names if name.endswith(".png")} == FIGURES


def test_figures_are_not_empty(navigation):
    for name in FIGURES:
        content = (navigation / name).read_bytes()
        assert content.startswith(b"\x89PNG")
        assert len(content) > 5000


def test_metrics_hold_every_key_and_are_good(navigation):
    metrics = metrics_of(navigation)
    assert set(metrics) >= REQUIRED | TRUTH
    assert metrics["verdict"] in ("found", "approximate")  # of so few transitions
    assert metrics["algebra_type"] == "so(2)"
    assert metrics["span_cosine"] > 0.999
    assert len(metrics["element_error_deg"]) == 3
    assert metrics["element_error_deg_max"] == max(metrics["element_error_deg"]) < 0.2
    assert metrics["num_transitions"] == 300
    assert metrics["wall_seconds"] > sum(metrics["phase_seconds"].values()) > 0


def test_config_is_complete_and_composes_the_same_again(navigation, settings):
    saved = read_config(navigation)
    assert saved["seed"] == 1
    assert saved["data"]["num_transitions"] == 300
    assert saved["env"]["max_action"] == 0.1
    assert saved == settings(f"run_dir={navigation}", "seed=1", *SMALL)


def test_geometry_loads_from_the_run_folder(navigation):
    geometry = load_geometry(navigation)
    metrics = metrics_of(navigation)
    assert geometry.verdict == metrics["verdict"]
    assert geometry.usable
    assert geometry.generators.tolist() == metrics["generators"]
    assert geometry.action_generators.tolist() == metrics["action_generators"]
    moved, turned = geometry.act(geometry.coords[1], torch.ones(2), torch.ones(2))
    assert_close(moved.norm(), torch.tensor(2**0.5), rtol=0.02, atol=0)
    assert_close(turned.norm(), torch.tensor(2**0.5), rtol=0.2, atol=0)


def test_checkpoint_loads_without_code(navigation):
    path = navigation / "checkpoints" / "last.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    assert_close(checkpoint["geometry"]["generators"], load_geometry(navigation).generators)
    assert "state_dict" in checkpoint


def test_tensorboard_holds_losses_numbers_and_figures(navigation):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(navigation))
    events.Reload()
    tags = events.Tags()
    assert {"train/loss/alignment", "test/span_cosine"} <= set(tags["scalars"])
    assert {name.removesuffix(".png") for name in FIGURES} <= set(tags["images"])


def test_unknown_truth_has_no_truth_metrics(scattered):
    metrics = metrics_of(scattered)
    assert set(metrics) >= REQUIRED
    assert not set(metrics) & TRUTH


def test_group_from_out_of_tree_is_searched(scattered):
    assert read_config(scattered)["group"]["_target_"] == "out_of_tree.Boost"
    assert metrics_of(scattered)["verdict"] != "found"


# Mistakes, in process.

MISTAKES = {
    "int is null": (["data.num_transitions=null"], ["num_transitions", "None", "int"]),
    "negative": (["env.noise=-1"], ["noise", "-1", "at least 0"]),
    "nan": (["env.radius=nan"], ["radius", "nan", "finite"]),
    "infinite": (["env.reward_noise=inf"], ["reward_noise", "inf", "finite"]),
    "no number": (["env.noise=abc"], ["noise", "'abc'", "finite number"]),
    "half a task": (["env.num_train_tasks=2.5"], ["num_train_tasks", "2.5", "int"]),
    "one task": (["env.num_train_tasks=1"], ["num_train_tasks", "1", "at least 2"]),
    "few transitions": (["data.num_transitions=5"], ["num_transitions", "5", "at least 20"]),
    "absurdly many": (
        ["data.num_transitions=1000000000000"],
        ["num_transitions", "1000000000000", "at most"],
    ),
    "hold-out": (["data.holdout_fraction=0.9"], ["holdout_fraction", "0.9", "(0, 0.5]"]),
    "batch": (["data.batch_size=0"], ["batch_size", "0", "at least 1"]),
    "behaviour": (["data.behaviour=best"], ["behaviour", "'best'", "'random', 'goal'"]),
    "bound": (["env.action_bound=ball"], ["action_bound", "'ball'", "'disc', 'box'"]),
    "chart": (["env.chart=[[1,0],[0,0]]"], ["chart", "invertible"]),
    "goals": (["env.train_goals=[[1,0]]"], ["train_goals", "num_train_tasks"]),
    "scale": (
        ["env.reward_transform.scale=[2,1]"],
        ["reward_transform", "scale", "[2, 1]", "low <= high"],
    ),
    "loss": (["model.loss=l2"], ["loss", "'l2'", "'differential', 'functional'"]),
    "steps": (["model.steps.pair_steps=0"], ["model.steps", "pair_steps", "0", "at least 1"]),
    "features": (["estimator.num_features=-3"], ["num_features", "-3", "at least 8"]),
    "seed": (["seed=-1"], ["seed", "-1", "at least 0"]),
    "seed is null": (["seed=null"], ["seed", "None", "int"]),
    "seed is huge": (["seed=4294967296"], ["seed", "4294967296", "at most 4294967295"]),
    "no thread": (["num_threads=0"], ["num_threads", "0", "at least 1"]),
    "threads are null": (["num_threads=null"], ["num_threads", "None", "int"]),
    "group dimension": (["+group.dim_space=3"], ["group", "dimension 2", "dimension 3"]),
    "group of no dimension": (["+group.dim_space=0"], ["dim_space", "0", "at least 1"]),
    "no group": (["group._target_=torch.nn.Identity"], ["group", "LieGroup", "Identity"]),
    "unknown group": (["group._target_=hgm.groups.Gl"], ["group._target_", "hgm.groups.Gl"]),
    "unknown package": (["group._target_=mypkg.Mine"], ["group._target_", "mypkg.Mine", "import"]),
    "no path": (["data=stored", "~data.num_transitions"], ["data.path", "no default"]),
    "missing file": (
        ["data=stored", "data.path=nowhere.npz", "~data.num_transitions"],
        ["path", "nowhere.npz", ".npz file or a folder"],
    ),
    "accelerator": (["trainer.accelerator=abacus"], ["trainer", "abacus"]),
    "devices": (["trainer.devices=-7"], ["trainer", "devices"]),
    "epochs": (["trainer.max_epochs=0"], ["max_epochs"]),
}


@pytest.fixture
def failure(command):
    """The one line that a mistake ends with."""

    def run(run_dir, *overrides):
        dropped = [item[1:] for item in overrides if item.startswith("~")]
        small = [item for item in SMALL if item.partition("=")[0] not in dropped]
        given = [item for item in (*small, *overrides) if not item.startswith("~")]
        done = command(f"run_dir={run_dir}", *given)
        assert done.code == 1
        (line,) = done.errors.strip().splitlines()
        assert line.startswith("error: ")
        return line

    return run


@pytest.mark.parametrize(("overrides", "parts"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_explained_and_nothing_is_written(failure, overrides, parts, tmp_path):
    message = failure(tmp_path / "run", *overrides)
    for part in parts:
        assert part in message
    assert not (tmp_path / "run").exists()


def stored(path, **changes):
    draw = np.random.default_rng(0)
    state, action = draw.normal(size=(2, 3, 40, 2))
    arrays = {"observation": state, "action": action, "next_observation": state + action}
    np.savez(path, **{**arrays, "reward": draw.normal(size=(3, 40)), **changes})
    return ["data=stored", f"data.path={path}", "~data.num_transitions"]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_stored_data_that_are_not_finite_leave_no_run_folder(failure, bad, tmp_path):
    reward = np.random.default_rng(1).normal(size=(3, 40))
    reward[1, 7] = bad
    message = failure(tmp_path / "run", *stored(tmp_path / "data.npz", reward=reward))
    assert "reward" in message
    assert "task 1" in message
    assert not (tmp_path / "run").exists()


def test_constant_rewards_leave_no_run_folder(failure, tmp_path):
    reward = np.random.default_rng(1).normal(size=(3, 40))
    reward[2] = 1.0
    message = failure(tmp_path / "run", *stored(tmp_path / "data.npz", reward=reward))
    assert "task 2" in message
    assert not (tmp_path / "run").exists()


def test_stored_data_of_one_task_are_too_few(failure, tmp_path):
    shapes = {"observation": 2, "action": 2, "next_observation": 2}
    arrays = {name: np.zeros((1, 40, size)) for name, size in shapes.items()}
    options = stored(tmp_path / "data.npz", reward=np.zeros((1, 40)), **arrays)
    message = failure(tmp_path / "run", *options)
    assert "at least 2 tasks" in message


def test_run_folder_below_a_file_cannot_be_made(failure, tmp_path):
    (tmp_path / "file").write_text("mine")
    message = failure(tmp_path / "file" / "run")
    assert "run_dir" in message
    assert str(tmp_path / "file" / "run") in message
    assert (tmp_path / "file").read_text() == "mine"


def test_used_run_folder_is_left_alone(failure, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    message = failure(tmp_path)
    assert "run_dir" in message
    assert "new or empty" in message
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


# The command line.


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "parts"),
    [
        (["model=discover"], ["discover", "discovery"]),
        (["data.num_transition=5"], ["`data.num_transition`", "`data.num_transitions`"]),
        (["run_dir=."], ["run_dir", "new or empty"]),
        (["env.num_train_tasks=1"], ["env: ", "num_train_tasks", "at least 2", "got 1"]),
    ],
)
def test_mistakes_end_the_script_with_one_message(overrides, parts, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(ROOT / "train.py"), *overrides]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
    for part in parts:
        assert part in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_discovery_that_was_killed_after_training_starts_anew(navigation, tmp_path, command):
    path = tmp_path / "run"
    shutil.copytree(navigation, path)
    (path / "metrics.json").unlink()
    done = command("model=discovery", "seed=1", f"run_dir={path}", *SMALL)
    assert done.code == 0, done.errors
    assert "starts anew" in done.output
    old, new = (
        torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
        for folder in (navigation, path)
    )
    assert new["epoch"] == old["epoch"]
    assert_close(new["geometry"]["coords"], old["geometry"]["coords"], rtol=0, atol=0)
    timed = {"wall_seconds", "phase_seconds"}
    one, two = (
        {k: v for k, v in metrics_of(p).items() if k not in timed} for p in (navigation, path)
    )
    assert one == two
