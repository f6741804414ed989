"""What ``pip install .`` gives, tried from another folder: nothing of the checkout is seen."""

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import hgm

ROOT = Path(__file__).parents[2]
SMALL = ["data.num_transitions=300", "model.steps.num_starts=12", "trainer.accelerator=cpu"]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "-q"]
    subprocess.run([*pip, "wheel", "--no-deps", "-w", folder, ROOT], check=True)
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def hgm_of_wheel(wheel, tmp_path_factory):
    """Runs the installed ``hgm`` in a folder."""
    place = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "-q"]
    subprocess.run([*pip, "install", "--no-deps", "--target", place, wheel], check=True)
    environment = {**os.environ, "PYTHONPATH": str(place), "OMP_NUM_THREADS": "1"}

    def run(folder, *words, program=("bin/hgm",)):
        command = [str(place / program[0])] if len(program) == 1 else [sys.executable, *program]
        done = subprocess.run(
            [*command, *map(str, words)],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    found = run(place, program=("-c", "import hgm; print(hgm.__file__, hgm.__version__)"))
    assert str(place) in found
    assert hgm.__version__ in found
    return run


def test_configurations_and_types_are_in_the_wheel(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    assert "hgm/py.typed" in names
    here = {path.relative_to(ROOT) for path in (ROOT / "configs").rglob("*.yaml")}
    assert here
    assert {f"hgm/{path}" for path in here} <= names
    code = {str(path.relative_to(ROOT)) for path in (ROOT / "hgm").rglob("*.py")}
    assert code <= names
    assert not any(name.startswith(("tests", "benchmarks", "configs")) for name in names)


def test_discovery_a_sweep_and_a_restored_run(hgm_of_wheel, tmp_path):
    hgm_of_wheel(tmp_path, "-m", "model=discovery", "seed=0,1", *SMALL)
    found = sorted(tmp_path.glob("runs/sweep/*/*/metrics.json"))
    assert len(found) == 2
    assert {json.loads(path.read_text())["verdict"] for path in found} == {"found"}
    assert {path.name for path in tmp_path.iterdir()} == {"runs"}
    code = f"import hgm; data, model = hgm.restore({str(found[0].parent)!r});"
    code += "print(model.geometry.verdict, model.geometry.dim_algebra)"
    assert hgm_of_wheel(tmp_path, program=("-c", code)).split()[-2:] == ["found", "1"]


def test_a_folder_of_ones_own(hgm_of_wheel, tmp_path):
    (tmp_path / "mine" / "env").mkdir(parents=True)
    (tmp_path / "mine" / "env" / "mine.yaml").write_text(
        "_target_: own_family.Bowl\nradius: 1.25\n"
    )
    (tmp_path / "own_family.py").write_text(
        "from hgm.envs import Navigation\n\n\nclass Bowl(Navigation):\n    pass\n"
    )
    given = ["--config-dir", "mine", "env=mine", "env.num_train_tasks=5", *SMALL, "run_dir=out"]
    hgm_of_wheel(tmp_path, *given, program=("-m", "hgm"))
    assert (tmp_path / "out" / "metrics.json").is_file()
    assert "own_family.Bowl" in (tmp_path / "out" / "config.yaml").read_text()


def test_what_hydra_answers(hgm_of_wheel, tmp_path):
    (line,) = re.findall(r"experiment: (.*)", hgm_of_wheel(tmp_path, "--help"))
    assert {"navigation", "transfer", "referenced"} <= set(line.split(", "))
    assert "num_transitions: 2000" in hgm_of_wheel(tmp_path, "--cfg", "job")
    shown = hgm_of_wheel(tmp_path, "experiment=navigation", "--cfg", "job", "data.num_frames=9")
    assert "num_frames: 9" in shown
    assert "num_seeds: 1" in shown
    assert not list(tmp_path.iterdir())
