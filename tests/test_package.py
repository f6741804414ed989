"""The package from outside: what it offers, and what importing it costs."""

import subprocess
import sys
from pathlib import Path

import pytest
from packaging.version import Version

import hgm

ROOT = Path(__file__).parents[1]


def test_dir_shows_what_there_is():
    assert dir(hgm) == sorted([*hgm.__all__, "__version__"])


@pytest.mark.parametrize("name", hgm.__all__)
def test_everything_offered_is_there(name):
    assert callable(getattr(hgm, name))


def test_what_is_not_offered_is_no_attribute():
    with pytest.raises(AttributeError, match="nothing_of_this_name"):
        _ = hgm.nothing_of_this_name


def test_the_version_stands_in_one_place():
    assert Version(hgm.__version__) >= Version("0.2")
    assert 'dynamic = ["version"]' in (ROOT / "pyproject.toml").read_text()
    assert "version:" not in (ROOT / "CITATION.cff").read_text().replace("cff-version:", "")


def test_importing_hgm_imports_nothing_heavy():
    code = (
        "import sys, hgm; print([n for n in ('torch', 'lightning', 'hydra') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_packages_of_the_wheel_are_those_there_are():
    listed = (ROOT / "pyproject.toml").read_text().partition("packages = [")[2].partition("]")[0]
    names = {line.strip().strip('",') for line in listed.splitlines() if line.strip()}
    here = {path.parent.relative_to(ROOT) for path in (ROOT / "hgm").rglob("__init__.py")}
    assert names == {str(path).replace("/", ".") for path in here} | {"hgm.configs"}
