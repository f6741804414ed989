"""Signatures read from source are those that imports give."""

import math
import sys

import pytest

from hgm.cli.build import find
from hgm.cli.signatures import UNKNOWN, import_signature, read_signature

TARGETS = [
    "hgm.envs.Navigation",
    "hgm.envs.RewardTransform",
    "hgm.datamodules.Transitions",
    "hgm.datamodules.MetaReplay",
    "hgm.groups.GL",
    "hgm.differentials.NetworkEstimator",
    "hgm.symmetry.SearchSteps",
    "hgm.modules.Discovery",
    "hgm.modules.RL2",
    "hgm.objectives.SAC",
    "hgm.objectives.TD3",
    "hgm.inference.Contrastive",
    "hgm.evaluation.MetaTest",
    "hgm.callbacks.MetaTestReport",
    "hgm.callbacks.loggers.tensorboard",
    "lightning.Trainer",
]


def test_pi_is_a_default_like_any_other():
    assert read_signature("hgm.envs.Reacher").defaults["start_angle"] == math.pi


@pytest.mark.parametrize("target", TARGETS)
def test_source_tells_what_import_tells(target):
    read, imported = read_signature(target), import_signature(find(target, "x"))
    assert list(read.defaults) == list(imported.defaults)
    assert read.open == imported.open
    for key, value in read.defaults.items():
        if value is not UNKNOWN:
            assert value == imported.defaults[key], key


@pytest.mark.parametrize(
    "target", ["nowhere.Thing", "hgm.envs.Nothing", "torch.nn.Identity", "hgm", "", "5", "..x"]
)
def test_what_the_source_does_not_tell_is_none(target):
    assert read_signature(target) is None


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "own_package").mkdir()
    (tmp_path / "own_package" / "__init__.py").write_text(
        "raise RuntimeError('imported')\nfrom .deep.thing import Thing as Renamed\n"
    )
    (tmp_path / "own_package" / "deep").mkdir()
    (tmp_path / "own_package" / "deep" / "__init__.py").write_text("")
    (tmp_path / "own_package" / "deep" / "thing.py").write_text(
        "from dataclasses import dataclass\n"
        "class Base:\n    def __init__(self, a, b=2, *, c='x', **more):\n        pass\n"
        "class Thing(Base):\n    pass\n"
        "@dataclass\nclass Data:\n    one: int\n    two: float = 2.0\n"
        "@dataclass\nclass More(Data):\n    three: list = None\n"
        "def factory(a, b=[1, 2]):\n    return a\n"
        "class Odd(some.other.Base):\n    pass\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.parametrize(
    ("name", "defaults", "takes_more"),
    [
        ("Renamed", {"a": UNKNOWN, "b": 2, "c": "x"}, True),
        ("deep.thing.Base", {"a": UNKNOWN, "b": 2, "c": "x"}, True),
        ("deep.thing.Data", {"one": UNKNOWN, "two": 2.0}, False),
        ("deep.thing.More", {"one": UNKNOWN, "two": 2.0, "three": None}, False),
        ("deep.thing.factory", {"a": UNKNOWN, "b": [1, 2]}, False),
    ],
)
def test_a_package_of_ones_own_is_read_and_not_run(own, name, defaults, takes_more):
    found = read_signature(f"own_package.{name}")
    assert found.defaults == defaults
    assert found.open is takes_more
    assert "own_package" not in sys.modules


def test_a_base_from_elsewhere_is_not_guessed(own):
    assert read_signature("own_package.deep.thing.Odd") is None


def test_a_file_that_is_no_python_tells_nothing(tmp_path, monkeypatch):
    (tmp_path / "broken_file.py").write_text("class Thing(:\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert read_signature("broken_file.Thing") is None


def test_modules_that_import_each_other_end(tmp_path, monkeypatch):
    (tmp_path / "first_half.py").write_text("from second_half import Thing\n")
    (tmp_path / "second_half.py").write_text("from first_half import Thing\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert read_signature("first_half.Thing") is None
