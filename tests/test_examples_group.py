"""The custom group of the examples runs, as a script, and says what it found."""

import runpy
from pathlib import Path

EXAMPLE = Path(__file__).parents[1] / "examples" / "custom_group.py"


def test_custom_group_runs(capsys):
    runpy.run_path(str(EXAMPLE), run_name="__main__")
    assert "0.5 c + 0.5 c = 0.80 c" in capsys.readouterr().out
