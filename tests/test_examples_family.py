"""The examples on families and one's own data run as they are."""

import runpy
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("custom_family", "Torus keeps the contract"),
        ("turned_motors", "TurnedMotors keeps the contract"),
        ("own_data", "held out: torch.Size([4, 30])"),
    ],
)
def test_example_runs(name, said, capsys):
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    assert said in capsys.readouterr().out
