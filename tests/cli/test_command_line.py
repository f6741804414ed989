"""Words of a command line: what is known, completed, suggested."""

import subprocess
import sys

import hydra
import pytest
from omegaconf import OmegaConf

from hgm.cli.command_line import (
    compose,
    configs_folder,
    groups,
    key_of,
    plain,
    prepare,
    settings_of_overrides,
)


def composed(*words):
    prepared = [word for word in prepare(words) if not word.startswith("-")]
    with hydra.initialize_config_dir(str(configs_folder()), version_base="1.3"):
        return settings_of_overrides(prepared, compose(prepared))


def test_constructors_defaults_join_in():
    cfg = composed("model=discovery")
    assert cfg["env"]["max_action"] == 0.1
    assert cfg["data"]["num_transitions"] == 2000
    assert cfg["run_dir"].startswith("runs/discovery/")
    assert "seed" not in cfg["data"]
    assert "family" not in cfg["data"]


def test_keys_that_no_file_lists_can_be_given():
    cfg = composed("env.max_action=0.2", "+env.max_steps=7", "trainer.max_time=null", "seed=3")
    assert cfg["env"]["max_action"] == 0.2
    assert cfg["env"]["max_steps"] == 7
    assert cfg["trainer"]["max_time"] is None
    assert cfg["seed"] == 3


def test_prepared_words_stay_as_they_are_when_prepared_again():
    words = prepare(["env=sphere", "seed=1", "--cfg", "job"])
    assert prepare(words) == words
    assert words[-2:] == ["--cfg", "job"]


@pytest.mark.parametrize(
    "value", ["it's", 'a "quoted" word', "a,b", "a=b", "[x]", "{x}", "a b", "", "null", "1", "x\\"]
)
def test_texts_survive_the_grammar(value, tmp_path):
    escaped = value.replace("\\", "\\\\") if value.endswith("\\") else value
    word = "ckpt_path='" + escaped.replace("'", "\\'") + "'"
    assert composed(word)["ckpt_path"] == value


def test_a_folder_with_odd_names_is_fixed_once(tmp_path):
    words = prepare(["run_dir='/tmp/a b, c=d'"])
    assert sum("run_dir" in word for word in words) == 1
    assert composed("run_dir='/tmp/a b, c=d'")["run_dir"] == "/tmp/a b, c=d"


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["model=discover"], ["discover", "discovery"]),
        (["env=maze"], ["maze", "navigation"]),
        (["data.num_transition=5"], ["`data.num_transition`", "`data.num_transitions`", "5"]),
        (["env=sphere", "env.radios=2"], ["`env.radios`", "`env.radius`"]),
        (["sed=1"], ["`sed`", "`seed`"]),
        (["xyzzy=1"], ["`xyzzy`", "`seed`"]),
        (["model.steps.pairsteps=3"], ["`model.steps.pairsteps`", "`model.steps.pair_steps`"]),
        (["trainer.max_epoch=3"], ["`trainer.max_epoch`", "`trainer.max_epochs`"]),
        (["env=custom"], ["`env._target_`", "no default"]),
        (["data=stored"], ["`data.path`", "no default"]),
        (["seed"], ["key=value", "'seed'"]),
        (["seed=[1"], ["[1"]),
        (["--experimental-rerun=x.pickle"], ["--experimental-rerun", "run code"]),
        (["--config-dir", "nowhere", "seed=1"], ["--config-dir", "nowhere"]),
        (["env.noise=${oc.env:NOT_SET_ANYWHERE}"], ["NOT_SET_ANYWHERE"]),
        (["env.noise=${no_such_key}"], ["no_such_key"]),
    ],
)
def test_mistakes_are_named_in_one_line(words, parts):
    with pytest.raises(ValueError, match=".") as caught:
        prepare(words)
    for part in parts:
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["-m", "seed=0,1"], ["--info"]])
def test_what_hydra_answers_itself_is_left_to_it(words):
    assert [word.lstrip("+") for word in prepare(words)] == words


def test_groups_of_a_folder_of_ones_own(tmp_path):
    (tmp_path / "env").mkdir()
    (tmp_path / "env" / "mine.yaml").write_text("_target_: hgm.envs.Navigation\nradius: 3.0\n")
    (tmp_path / "plant").mkdir()
    assert {"plant", "env", "model"} <= set(groups(tmp_path))
    words = prepare(["--config-dir", str(tmp_path), "env=mine", "env.noise=0"])
    assert words[-2:] == ["--config-dir", str(tmp_path)]
    assert "++env.max_action=0.1" in words


def test_families_of_ones_own_start_from_nothing(tmp_path, monkeypatch):
    (tmp_path / "my_corridor.py").write_text(
        "class Corridor:\n    def __init__(self, length, width: float = 1.5):\n        pass\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    cfg = composed("env=custom", "env._target_=my_corridor.Corridor", "env.length=3")
    assert cfg["env"] == {"_target_": "my_corridor.Corridor", "length": 3}
    with pytest.raises(ValueError, match=r"`env\.lenth`.*`env\.length`"):
        prepare(["env=custom", "env._target_=my_corridor.Corridor", "env.lenth=3"])


def test_a_class_chosen_instead_starts_from_nothing(tmp_path, monkeypatch):
    (tmp_path / "my_maze.py").write_text(
        "class Maze:\n    def __init__(self, walls, noise: float = 9.0):\n        pass\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    cfg = composed("env=sphere", "env._target_=my_maze.Maze", "env.walls=[1,2]")
    assert cfg["env"] == {"_target_": "my_maze.Maze", "walls": [1, 2]}
    cfg = composed("model.steps._target_=hgm.symmetry.SearchSteps", "model.steps.num_points=9")
    assert cfg["model"]["steps"]["num_points"] == 9
    assert cfg["model"]["loss"] == "differential"


def test_keys_without_prefix_and_package():
    assert key_of("++model.steps=1") == "model.steps"
    assert key_of("~env.x") == "env.x"
    assert key_of("db@a.b=c") == "db"


def test_missing_values_are_named():
    with pytest.raises(ValueError, match=r"`a\.b` has no default"):
        plain(OmegaConf.create({"a": {"b": "???"}}))


def test_nothing_heavy_is_imported():
    code = (
        "import sys; from hgm.cli.command_line import prepare; from hgm.cli import run;"
        "prepare(['model=discovery']);"
        "prepare(['experiment=navigation']);"
        "print([n for n in ('torch', 'lightning', 'torchrl', 'numpy') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
