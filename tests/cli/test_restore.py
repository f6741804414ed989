"""Runs come back from their folders as data, never as code."""

import json
import shutil

import pytest
import torch
import yaml

import hgm
from hgm.cli.command_line import configs_folder

PAYLOADS = [
    {"_target_": "os.system", "command": "touch ran"},
    {"_target_": "builtins.exec", "source": "open('ran', 'w')"},
    {"_target_": "builtins.eval", "source": "open('ran', 'w')"},
    {"_target_": "subprocess.Popen", "args": ["touch", "ran"]},
    {"_target_": "subprocess.check_output", "args": ["touch", "ran"]},
    {"_target_": "sympy.sympify", "a": "__import__('os').system('touch ran')"},
    {"_target_": "torch.hub.load", "repo_or_dir": ".", "model": "x", "source": "local"},
    {"_target_": "torch.load", "f": "evil.pt", "weights_only": False},
    {"_target_": "numpy.load", "file": "evil.npy", "allow_pickle": True},
    {"_target_": "pickle.loads", "data": "x"},
    {"_target_": "pathlib.Path.touch", "self": "ran"},
    {"_target_": "shutil.rmtree", "path": "."},
    {"_target_": "importlib.import_module", "name": "evil_module"},
    {"_target_": "evil_module.Thing"},
    {"_target_": "hydra.utils.instantiate", "config": {"_target_": "os.system"}},
    {"_target_": "hydra.utils.get_method", "path": "os.system"},
    {"_target_": "hgm.checks.math.__loader__.exec_module", "module": "x"},
    {"_target_": "hgm.cli.main.os.system", "command": "touch ran"},
    {"_target_": "hgm.cli.main.main"},
    {"_target_": "hgm.files.write_json", "path": "ran", "content": {}},
    {"_target_": "torch.optim.adam.torch.hub.load", "repo_or_dir": "."},
    {"_target_": "lightning.pytorch.trainer.trainer.os.system", "command": "touch ran"},
    {"_target_": "hgm.envs.Navigation", "_args_": [{"_target_": "os.system"}]},
    {"_target_": "hgm.envs.Navigation", "chart": {"_target_": "os.system", "command": "touch ran"}},
    {"_target_": "hgm.envs.Navigation", "_partial_": True},
    "${oc.env:HOME}",
    "${hydra:runtime.cwd}",
    {"_target_": "${oc.env:HOME}"},
]


@pytest.fixture
def stage(experiment, tmp_path, monkeypatch):
    """A copy of a finished discovery, in whose folder the test runs."""
    shutil.copytree(experiment / "seed_0" / "discovery", tmp_path / "run")
    (tmp_path / "evil_module.py").write_text("open('ran', 'w')\nclass Thing: pass\n")
    (tmp_path / "hubconf.py").write_text("open('ran', 'w')\ndef x(): pass\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path / "run"


@pytest.mark.parametrize("key", ["env", "data", "model", "group"])
@pytest.mark.parametrize("payload", PAYLOADS, ids=str)
def test_no_payload_in_a_configuration_runs(stage, tmp_path, payload, key):
    config = yaml.safe_load((stage / "config.yaml").read_text())
    config[key] = payload
    (stage / "config.yaml").write_text(yaml.safe_dump(config))
    before = {path: path.read_bytes() for path in stage.rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match=".") as caught:
        hgm.restore(stage)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists()
    assert before == {path: path.read_bytes() for path in stage.rglob("*") if path.is_file()}


def test_discovery_comes_back_with_its_geometry(experiment):
    folder = experiment / "seed_0" / "discovery"
    data, model = hgm.restore(folder)
    assert torch.equal(model.geometry.generators, hgm.load_geometry(folder).generators)
    metrics = json.loads((folder / "metrics.json").read_text())
    assert model.geometry.verdict == model.metrics["verdict"] == metrics["verdict"]
    assert data.sizes.num_tasks == metrics["num_tasks"]


def test_a_policy_comes_back_with_its_weights(experiment):
    _, model = hgm.restore(experiment / "seed_0" / "policy")
    own = hgm.load_policy(experiment / "seed_0" / "policy").state_dict()
    assert all(torch.equal(value, own[key]) for key, value in model.actor.state_dict().items())


def test_an_agent_that_learns_nothing_comes_back(experiment):
    _, model = hgm.restore(experiment / "seed_0" / "meta_test")
    assert model.agent.geometry.dim_algebra == 1


def test_an_experiment_is_no_run(experiment):
    with pytest.raises(ValueError, match=r"experiment's: .*seed_1"):
        hgm.restore(experiment)


def test_packages_of_ones_own_are_allowed_by_name(stage, tmp_path):
    (tmp_path / "own_navigation.py").write_text(
        "from hgm.envs import Navigation\n\n\nclass Mine(Navigation):\n    pass\n"
    )
    config = yaml.safe_load((stage / "config.yaml").read_text())
    config["env"]["_target_"] = "own_navigation.Mine"
    (stage / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(ValueError, match=r"allow=\[own_navigation\]"):
        hgm.restore(stage)
    data, _ = hgm.restore(stage, allow=["own_navigation"])
    assert type(data.family).__name__ == "Mine"


OWN_TASKS = """
from pathlib import Path
import gymnasium
from hgm.envs import GymnasiumTasks, Navigation

Path("ran").touch()
tasks = GymnasiumTasks(
    sample_tasks=Navigation().sample_tasks,
    set_task=lambda env, task: env.reset(options={"task": task})[0],
    make_env=lambda: gymnasium.wrappers.TimeLimit(gymnasium.make("hgm/Navigation-v0"), 100),
)
"""


def test_tasks_of_ones_own_are_allowed_by_name(stage, tmp_path):
    (tmp_path / "own_tasks.py").write_text(OWN_TASKS)
    config = yaml.safe_load((stage / "config.yaml").read_text())
    config["env"] = {"_target_": "hgm.envs.NamedFamily", "task": "own_tasks:tasks"}
    (stage / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(ValueError, match=r"`env\.task` .*'own_tasks:tasks'.*allow=\[own_tasks\]"):
        hgm.restore(stage)
    assert not (tmp_path / "ran").exists()
    data, model = hgm.restore(stage, allow=["own_tasks"])
    assert data.family.dim_state == 2
    assert model.geometry.dim_algebra == 1


@pytest.mark.parametrize(
    "name", ["evil_module:Thing", "os:system", "hgm.checks:math", "hgm.envs:Navigation", "hgm.x:y"]
)
def test_no_name_of_an_object_runs_anything(stage, tmp_path, name):
    config = yaml.safe_load((stage / "config.yaml").read_text())
    config["env"] = {"_target_": "hgm.envs.NamedFamily", "task": name, "id": "evil_module:Env-v0"}
    (stage / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(ValueError, match="`env.task`") as caught:
        hgm.restore(stage)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists()


def test_no_id_imports_a_module(stage, tmp_path):
    config = yaml.safe_load((stage / "config.yaml").read_text())
    config["env"] = {
        "_target_": "hgm.envs.GymnasiumFamily",
        "make_env": "evil_module:Env-v0",
        "sample_tasks": 1,
        "set_task": 1,
    }
    (stage / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(ValueError, match="`import evil_module`"):
        hgm.restore(stage)
    assert not (tmp_path / "ran").exists()


def test_another_models_checkpoint_is_named(stage, experiment):
    other = experiment / "seed_0" / "policy" / "checkpoints" / "last.ckpt"
    shutil.copy(other, stage / "checkpoints" / "last.ckpt")
    with pytest.raises(ValueError, match=r"last\.ckpt.*Discovery"):
        hgm.restore(stage)


def test_configurations_are_where_they_are_said_to_be():
    assert (configs_folder() / "train.yaml").is_file()
