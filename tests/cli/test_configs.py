"""Every configuration composes, builds, and says what its constructor says."""

import inspect
import types
import typing
from collections.abc import Sequence
from pathlib import Path

import hydra
import pytest
import torch
from hydra.utils import get_object
from omegaconf import OmegaConf

from hgm.cli.build import build
from hgm.cli.command_line import configs_folder
from hgm.cli.experiment import plan_jobs
from hgm.cli.keys import OFFERED as EVERYWHERE
from hgm.cli.keys import TOP_LEVEL
from hgm.envs import Bandit, Navigation
from hgm.groups import GL
from hgm.sizes import Sizes, TableSizes

CONFIGS = configs_folder()
GROUPS = (*("env", "data", "group", "estimator", "chart", "model", "report", "trainer", "logger"),)
ALL_FILES = sorted((path.parent.name, path.stem) for path in CONFIGS.glob("*/*.yaml"))
OPEN = [("env", "custom"), ("env", "gymnasium")]  # that want something of one's own
FILES = [file for file in ALL_FILES if file[0] != "experiment" and file not in OPEN]
EXPERIMENTS = [name for group, name in ALL_FILES if group == "experiment"]


def compose(group, name):
    with hydra.initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return hydra.compose("train", overrides=[f"{group}={name}"])


def raw(group, name):
    return compose(group, name)[group]


def nodes(node, path=""):
    """All nodes with a target, and where they are."""
    if OmegaConf.is_dict(node):
        if "_target_" in node:
            yield path, node
        for key in node:
            if not OmegaConf.is_missing(node, key):
                yield from nodes(node[key], f"{path}.{key}".strip("."))
    elif OmegaConf.is_list(node):
        for index, child in enumerate(node):
            yield from nodes(child, f"{path}[{index}]")


def accepts(hint, value):
    """Whether an annotation admits a value of a YAML file."""
    origin, options = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(accepts(option, value) for option in options)
    if hint is type(None):
        return value is None
    if value is None:
        return False
    if OmegaConf.is_dict(value):
        return inspect.isclass(hint) and issubclass(get_object(value._target_), hint)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint in (int, bool, str):
        return type(value) is hint
    if origin is Sequence:
        return OmegaConf.is_list(value) and all(accepts(options[0], entry) for entry in value)
    return inspect.isclass(hint) and isinstance(value, hint)


ALL = pytest.mark.parametrize(("group", "name"), FILES)
OWN = pytest.mark.parametrize(("group", "name"), [f for f in FILES if f[0] != "trainer"])


def test_there_is_a_file_of_every_group():
    assert {group for group, _ in FILES} == set(GROUPS)
    folders = {path.name for path in CONFIGS.iterdir() if path.is_dir()}
    assert folders == {*GROUPS, "experiment"}


@ALL
def test_composes_with_the_rest(group, name):
    cfg = compose(group, name)
    assert set(cfg) == {*GROUPS, *TOP_LEVEL}
    assert cfg.seed == 0


@ALL
def test_every_mapping_is_a_target(group, name):
    def check(node, path):
        assert "_target_" in node, path
        for key, child in node.items_ex(resolve=False):
            children = child if OmegaConf.is_list(child) else [child]
            for entry in children:
                if OmegaConf.is_dict(entry):
                    check(entry, f"{path}.{key}")

    check(raw(group, name), group)


@ALL
def test_every_key_is_an_argument(group, name):
    for path, node in nodes(raw(group, name)):
        known = set(inspect.signature(get_object(node._target_)).parameters)
        assert set(node) - {"_target_"} <= known, path


@ALL
def test_every_argument_without_default_has_a_value(group, name):
    for path, node in nodes(raw(group, name)):
        for key, parameter in inspect.signature(get_object(node._target_)).parameters.items():
            variadic = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
            if parameter.default is parameter.empty and not variadic:
                assert key in list(node) or key in EVERYWHERE, f"{path}.{key}"


@OWN
def test_no_default_is_written_twice(group, name):
    for path, node in nodes(raw(group, name)):
        signature = inspect.signature(get_object(node._target_)).parameters
        for key in set(node) - {"_target_"}:
            value = node._get_node(key)
            if OmegaConf.is_dict(value) or OmegaConf.is_missing(node, key):
                continue
            value, default = node[key], signature[key].default
            if OmegaConf.is_list(value):
                value = list(value)
                default = list(default) if isinstance(default, tuple | list) else default
            assert value != default, f"{path}.{key} is the constructor's default"


@ALL
def test_values_fit_the_annotations(group, name):
    for path, node in nodes(raw(group, name)):
        target = get_object(node._target_)
        hints = typing.get_type_hints(target.__init__) if group != "trainer" else {}
        for key in set(node) - {"_target_"}:
            if group == "trainer" or OmegaConf.is_missing(node, key):
                continue
            assert accepts(hints[key], node[key]), f"{path}.{key}: {node[key]!r}"


def test_annotations_are_told_apart():
    assert accepts(int | None, None)
    assert accepts(float, 3)
    assert not accepts(int, None)
    assert not accepts(int, True)
    assert not accepts(float, "abc")
    assert not accepts(int, 0.5)


@ALL
def test_builds_what_it_names(group, name, tmp_path):
    node = raw(group, name)
    missing = [key for key in node if OmegaConf.is_missing(node, key)]
    plain = OmegaConf.to_container(node)
    if missing:
        plain = {key: value for key, value in plain.items() if key not in missing}
        with pytest.raises(ValueError, match=missing[0]):
            build(plain, group, {"sizes": Sizes(4, 2, 2, "tasks")}, expected="a node")
        return
    if name in ("wandb", "mlflow"):
        with pytest.raises(ValueError, match=f"pip install {name}"):
            build(plain, group, {"run_dir": tmp_path})
        return
    if group == "trainer":
        plain |= {"accelerator": "cpu", "devices": 1, "logger": False}
    kinds = {**dict.fromkeys(("policy",), "replay"), "rl2": "trials"}
    kinds |= dict.fromkeys(("symla", "metarnn"), "lifetimes") | {"metagenrl": "populations"}
    kinds |= dict.fromkeys(("discovery", "planning"), "transitions") | {"ppo": "on_policy"}
    kind = kinds.get(name, "meta_replay" if "inference" in node else "tasks")
    box = torch.tensor([[-1.0, -1.0], [1.0, 1.0]])
    tasks = torch.rand(4, 5)
    offers = {
        "family": Bandit() if name == "lifetimes" else Navigation(),
        "sizes": Sizes(4, 2, 2, kind, box, 10, tasks, tasks[:, :2], kind == "lifetimes"),
        **dict.fromkeys(("dim_space", "dim_state", "dim_action"), 2),
        **{"num_tasks": 4, "seed": 0, "group": GL(2), "run_dir": tmp_path, "settings": {}},
    }
    if name == "mixed_effects":
        offers["sizes"] = TableSizes(num_features=3, clusters={"school": 40})
    built = build(plain, group, offers)
    target = get_object(node._target_)
    assert built is not None
    assert not inspect.isclass(target) or isinstance(built, target)


@pytest.mark.parametrize("name", [name for group, name in FILES if group == "group"])
def test_groups_act_on_the_plane(name):
    node = OmegaConf.to_container(raw("group", name))
    assert build(node, "group", {"dim_space": 2}).dim_space == 2


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_stage_of_an_experiment_composes(name, settings, tmp_path):
    whole = settings(f"experiment={name}", f"run_dir={tmp_path}")
    assert whole["experiment"]["num_seeds"] == 1
    assert not {*GROUPS} & {key for key, value in whole.items() if value is not None}
    with hydra.initialize_config_dir(str(CONFIGS), version_base="1.3"):
        jobs = plan_jobs(whole)
    assert len(jobs) == len(whole["experiment"]["stages"])
    kept = Path("runs/references").absolute()
    for job, stage in zip(jobs, whole["experiment"]["stages"], strict=True):
        path = Path(job["run_dir"]).absolute()
        assert path.parent == kept if stage.startswith("reference") else path.name == stage
