"""Objects from plain dicts: what is offered, and how mistakes are named."""

import os
import sys
import types

import pytest
import torch

from hgm.charts import Identity
from hgm.cli.assemble import assemble
from hgm.cli.build import READABLE, BuildError, build, find, takes
from hgm.cli.settings import settings_from
from hgm.evaluation import MetaTest
from hgm.files import write_tensors
from hgm.geometry import Geometry


class Wheel:
    def __init__(self, spokes: int, tyre: str = "slick") -> None:
        if spokes < 3:
            raise ValueError(f"Expected `spokes` to be at least 3, got {spokes}.")
        self.spokes, self.tyre = spokes, tyre


class Bike:
    def __init__(self, wheels: list, seed: int, colour: str | None = None) -> None:
        self.wheels, self.seed, self.colour = wheels, seed, colour


class Buggy:
    def __init__(self) -> None:
        raise KeyError("a bug of its own")


@pytest.fixture(autouse=True)
def module(monkeypatch):
    module = types.ModuleType("workshop")
    for kind in (Wheel, Bike, Buggy):
        setattr(module, kind.__name__, kind)
    module.number = 5
    monkeypatch.setitem(sys.modules, "workshop", module)


WHEEL = {"_target_": "workshop.Wheel", "spokes": 20}


def test_inner_nodes_come_first_and_offers_go_by_name():
    bike = build({"_target_": "workshop.Bike", "wheels": [WHEEL, WHEEL]}, "x", {"seed": 7, "no": 1})
    assert [wheel.spokes for wheel in bike.wheels] == [20, 20]
    assert bike.seed == 7
    assert bike.colour is None


def test_offers_reach_inner_nodes_and_do_not_replace_what_is_given():
    node = {"_target_": "workshop.Bike", "wheels": [{"_target_": "workshop.Wheel"}], "seed": 1}
    bike = build(node, "x", {"seed": 7, "spokes": 9})
    assert bike.seed == 1
    assert bike.wheels[0].spokes == 9


def test_values_are_themselves():
    assert build([1, "a", None, 2.5], "x", {}) == [1, "a", None, 2.5]


@pytest.mark.parametrize(
    ("node", "parts"),
    [
        (None, ["`x`", "a wheel", "None"]),
        (5, ["`x`", "a wheel", "5"]),
        ({"spokes": 3}, ["`x`", "_target_"]),
        ({"_target_": 5}, ["`x._target_`", "full name of a class", "5"]),
        ({"_target_": "Wheel"}, ["`x._target_`", "full name", "'Wheel'"]),
        ({"_target_": "nowhere.Wheel"}, ["`x._target_`", "'nowhere.Wheel'", "no module 'nowhere'"]),
        ({"_target_": "workshop.Whel"}, ["`x._target_`", "'workshop.Whel'", "imported"]),
        ({"_target_": "workshop.number"}, ["`x._target_`", "'workshop.number'", "int"]),
        ({"_target_": "workshop.Wheel"}, ["`x.spokes`", "no default"]),
        ({**WHEEL, "spoke": 3}, ["`x.spoke`", "spokes, tyre"]),
        ({**WHEEL, "spokes": 2}, ["x: ", "`spokes`", "at least 3", "got 2"]),
        (
            {"_target_": "hgm.callbacks.MetaTestReport", "protocol": 5, "run_dir": "."},
            ["`x.protocol`", "MetaTest or null", "5"],
        ),
        (
            {"_target_": "hgm.callbacks.MetaTestReport", "protocol": WHEEL, "run_dir": "."},
            ["`x.protocol`", "MetaTest or null", "Wheel"],
        ),
    ],
)
def test_mistakes_are_named(node, parts):
    with pytest.raises(BuildError) as caught:
        build(node, "x", {}, expected="a wheel")
    for part in parts:
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


PROTOCOL = {"_target_": "hgm.callbacks.MetaTestReport", "run_dir": "."}


def test_an_object_of_ones_own_is_named():
    sys.modules["workshop"].protocol = MetaTest(num_episodes=3)
    report = build({**PROTOCOL, "protocol": "workshop:protocol"}, "x", {})
    assert report.protocol.num_episodes == 3


@pytest.mark.parametrize(
    ("name", "allow", "parts"),
    [
        ("protocol", None, ["`x.protocol`", "MetaTest or null", "mypkg:my_object", "'protocol'"]),
        ("workshop:", None, ["`x.protocol`", "mypkg:my_object", "'workshop:'"]),
        ("workshop:a.b", None, ["`x.protocol`", "mypkg:my_object", "'workshop:a.b'"]),
        ("..:a", None, ["`x.protocol`", "mypkg:my_object", "'..:a'"]),
        ("workshop:protocl", None, ["`x.protocol`", "'workshop:protocl'", "no attribute"]),
        ("workshop:number", None, ["`x.protocol`", "MetaTest or null", "got 5"]),
        ("nowhere:a", None, ["`x.protocol`", "'nowhere:a'", "neither in this folder nor on the"]),
        ("failing_too:a", None, ["`x.protocol`", "'failing_too:a'", "ZeroDivisionError"]),
        ("missing_too:a", None, ["`x.protocol`", "'missing_too:a'", "not_installed_anywhere"]),
        ("workshop:number", READABLE, ["`x.protocol`", "'workshop:number'", "allow=[workshop]"]),
    ],
)
def test_names_of_objects_that_are_wrong_are_told(name, allow, parts, tmp_path, monkeypatch):
    (tmp_path / "failing_too.py").write_text("1 / 0\n")
    (tmp_path / "missing_too.py").write_text("import not_installed_anywhere\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(BuildError) as caught:
        build({**PROTOCOL, "protocol": name}, "x", {}, allow)
    for part in parts:
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_innermost_mistake_is_named_once():
    node = {"_target_": "workshop.Bike", "wheels": [WHEEL, {**WHEEL, "spokes": 1}], "seed": 0}
    with pytest.raises(BuildError, match=r"^x\.wheels\[1\]: Expected `spokes`"):
        build(node, "x", {})


def test_a_bug_is_no_mistake_of_the_user():
    with pytest.raises(KeyError):
        build({"_target_": "workshop.Buggy"}, "x", {})


def test_a_module_that_fails_is_named(tmp_path, monkeypatch):
    (tmp_path / "failing_module.py").write_text("1 / 0\n")
    (tmp_path / "missing_module.py").write_text("import not_installed_anywhere\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(BuildError, match=r"failing_module\.X.*ZeroDivisionError"):
        find("failing_module.X", "x")
    with pytest.raises(BuildError, match=r"missing_module\.X.*not_installed_anywhere"):
        find("missing_module.X", "x")


def test_takes_names_the_arguments():
    assert takes(WHEEL, "x") == {"spokes", "tyre"}
    with pytest.raises(BuildError, match="`x`"):
        takes(None, "x")


ALLOWED = ["hgm.envs.Navigation", "hgm.modules.Policy", "lightning.Trainer", "torch.optim.Adam"]
REFUSED = [
    "workshop.Wheel",
    "os.system",
    "builtins.exec",
    "builtins.eval",
    "subprocess.Popen",
    "sympy.sympify",
    "torch.hub.load",
    "torch.load",
    "numpy.load",
    "pickle.loads",
    "hydra.utils.get_object",
    "hydra.utils.instantiate",
    "importlib.import_module",
    "webbrowser.open",
    "shutil.rmtree",
    "pathlib.Path",
    "hgm.checks.math.sqrt",
    "hgm.cli.main.sys.exit",
    "hgm.cli.main.os.system",
    "hgm.cli.main.Path",
    "hgm.cli.build.importlib.import_module",
    "hgm.cli.build.find",
    "hgm.cli.main",
    "hgm.geometry.load_geometry",
    "hgm.numerics.fourier.torch.load",
    "hgm.numerics.fourier.nn.Module",
    "hgm_evil.Thing",
    "hgmevil.Thing",
    "torch.optimizer.Thing",
    "lightning.pytorch.utilities.rank_zero.logging.Logger",
    "torch.optim.lr_scheduler.warnings.warn",
    "torch.optim.adam.torch.hub.load",
]


@pytest.mark.parametrize("name", ALLOWED)
def test_stored_configurations_may_name_these(name):
    assert find(name, "x", READABLE).__name__ == name.rpartition(".")[2]


@pytest.mark.parametrize("name", REFUSED)
def test_stored_configurations_may_not_name_those(name, monkeypatch):
    monkeypatch.setattr(os, "system", lambda command: pytest.fail("it ran"))
    with pytest.raises(BuildError, match="allow=") as caught:
        build({"_target_": name}, "env", {}, READABLE)
    assert "`env._target_`" in str(caught.value)
    assert name in str(caught.value)


CHARTS = """
from pathlib import Path
from hgm.charts import Identity
Path("ran").touch()
class Own(Identity):
    pass
"""


def test_a_chart_of_ones_own_is_read_where_its_package_is_allowed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "own_charts", raising=False)
    (tmp_path / "own_charts.py").write_text(CHARTS)
    turn, path = torch.tensor([[[0.0, -1.0], [1.0, 0.0]]]), f"{tmp_path}/geometry.pt"
    chart = {**Identity(2).state(), "kind": "own_charts.Own"}
    geometry = Geometry(turn, turn, torch.zeros(4, 1), 2, "found", "so(2)").state()
    write_tensors(path, {**geometry, "chart": chart})
    words = ["model=policy", f"data.geometry={path}"]
    own, plain = (settings_from([*words, *more]) for more in (["allow=[own_charts]"], []))
    nested = {**own, "data": {**own["data"], "allow": ["own_charts"]}}
    for settings, allow, fault in (
        (plain, None, "a chart of hgm"),
        (own, READABLE, "a chart of hgm"),  # what is stored allows nothing
        (nested, READABLE, "no `data.allow`"),
    ):
        with pytest.raises(ValueError, match=fault):
            assemble(settings, allow=allow, report=False)
        assert not (tmp_path / "ran").exists()
    for settings, allow in ((own, None), (plain, (*READABLE, "own_charts"))):
        data = assemble(settings, allow=allow, report=False).data
        assert type(data.geometry.chart).__name__ == "Own"


def test_a_package_can_be_allowed():
    node = {"_target_": f"{__name__}.Wheel", "spokes": 4}
    with pytest.raises(BuildError, match="allow="):
        build(node, "x", {}, READABLE)
    assert build(node, "x", {}, (*READABLE, __name__.split(".")[0])).spokes == 4
