"""The examples on families and one's own data run as they are."""

import re
import runpy
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from hgm.geometry import load_geometry

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("custom_family", "Torus keeps the contract"),
        ("turned_motors", "TurnedMotors keeps the contract"),
        ("own_environment", "The satellite keeps the contract"),
        ("own_data", "held out: torch.Size([4, 30])"),
    ],
)
def test_example_runs(name, said, capsys):
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    assert said in capsys.readouterr().out


@pytest.mark.slow
def test_the_symmetry_of_ones_own_environment_is_found(command, monkeypatch, tmp_path):
    said = (EXAMPLES / "own_environment.py").read_text()
    words = re.search(r"cd examples; hgm (.*)", said)[1].split()
    assert sum(bool(line.strip()) for line in said.partition("from hgm")[2].splitlines()) <= 25
    monkeypatch.chdir(EXAMPLES)
    done = command(*words, f"run_dir={tmp_path / 'run'}", "data.num_transitions=500")
    assert done.code == 0, done.errors
    geometry = load_geometry(tmp_path / "run")
    assert geometry.verdict == "found"
    expected = torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    assert_close(
        geometry.generators[0].abs(), expected.abs().to(geometry.generators), atol=1e-3, rtol=0
    )
    assert geometry.action_generators.abs().max() < 1e-3
