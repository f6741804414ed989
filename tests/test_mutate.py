"""The driver of the mutation tests: what it mutates, draws, keeps and counts; mutmut is played."""

import sys
from collections import Counter
from pathlib import Path

import pytest
from scipy.stats import binomtest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import mutate

ROOT = Path(__file__).parents[1]
POPULATION = [f"hgm.lie.x_f__mutmut_{i}" for i in range(50)]


class Played:
    """What mutmut would find: every fifth mutant survives, every tenth runs out of time."""

    def __init__(self):
        self.known = {}
        self.tried = Counter()

    def __call__(self, folder, command, *words):
        if command == "run":
            for name in words[2:]:
                number = int(name.rpartition("_")[2])
                self.tried[name] += 1
                late = "timeout" if number % 10 == 0 else "killed"
                self.known[name] = "survived" if number % 5 == 1 else late
        if command == "results":
            lines = [f"    {name}: {self.known.get(name, 'not checked')}" for name in POPULATION]
            return "\n".join(lines)
        return f"# {words[0]}\n-a\n+b"


@pytest.fixture
def played(monkeypatch, tmp_path):
    mutmut = Played()
    monkeypatch.setattr(mutate, "mutmut", mutmut)
    monkeypatch.setattr(mutate, "mutants", lambda folder, files: list(POPULATION))
    monkeypatch.setattr(mutate, "FOLDER", tmp_path)
    return mutmut


def test_every_file_has_tests_that_exist():
    groups = mutate.mirrors()
    files = [name for names in groups.values() for name in names]
    expected = {
        f"hgm/{room}/{path.name}"
        for room in mutate.ROOMS
        for path in (ROOT / "hgm" / room).glob("*.py")
    }
    expected = {name for name in expected if not name.endswith("__init__.py")} | {"hgm/lie.py"}
    assert sorted(files) == sorted(expected)
    assert groups["tests/test_lie.py"] == ["hgm/lie.py"]
    assert groups["tests/symmetry/test_losses.py"] == ["hgm/symmetry/losses.py"]
    assert (ROOT / "tests/adaptation/test_posterior.py").exists()
    assert "hgm/adaptation/posterior.py" in groups["tests/adaptation"]
    for tests in groups:
        assert (ROOT / tests).exists()


def test_only_chooses_files():
    assert mutate.mirrors(["hgm/lie.py"]) == {"tests/test_lie.py": ["hgm/lie.py"]}
    rooms = {
        name.split("/")[1] for names in mutate.mirrors(["hgm/sym*"]).values() for name in names
    }
    assert rooms == {"symmetry"}


def test_nothing_to_mutate_is_refused(capsys):
    with pytest.raises(SystemExit) as stopped:
        mutate.main(["--only", "hgm/nothing.py"])
    assert stopped.value.code == 2
    assert "Expected --only to match" in capsys.readouterr().err


def test_a_workplace_is_kept_until_code_or_tests_change(monkeypatch, tmp_path):
    root = tmp_path / "project"
    for name in (
        "hgm/lie.py",
        "tests/test_lie.py",
        "tests/other.py",
        "configs/a.yaml",
        "benchmarks/b.py",
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    (root / "train.py").write_text("")
    (root / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    monkeypatch.setattr(mutate, "ROOT", root)
    monkeypatch.setattr(mutate, "FOLDER", root / ".mutants")
    first = mutate.workplace("tests/test_lie.py", ["hgm/lie.py"])
    assert (first / "hgm/lie.py").read_text() == "hgm/lie.py"
    assert 'only_mutate = ["hgm/lie.py"]' in (first / "pyproject.toml").read_text()
    (root / "tests/other.py").write_text("changed")
    assert mutate.workplace("tests/test_lie.py", ["hgm/lie.py"]) == first
    for name in ("hgm/lie.py", "tests/test_lie.py"):
        (root / name).write_text("changed")
        changed = mutate.workplace("tests/test_lie.py", ["hgm/lie.py"])
        assert changed != first
        assert (changed / name).read_text() == "changed"
        first = changed


def test_a_sample_is_drawn_once_tried_once_and_counted(played, tmp_path, capsys):
    mutate.main(["--only", "hgm/lie.py", "--sample", "20", "--seed", "3"])
    first = set(played.tried)
    assert len(first) == 20
    survived = [name for name in first if played.known[name] == "survived"]
    said = capsys.readouterr().out
    assert f"{20 - len(survived)} of 20 caught" in said
    assert "50 mutants exist" in said
    report = (tmp_path / "survivors.diff").read_text()
    assert sorted(line[2:] for line in report.splitlines() if line[0] == "#") == sorted(survived)
    mutate.main(["--only", "hgm/lie.py", "--sample", "20", "--seed", "3"])
    assert set(played.tried.values()) == {1}
    assert capsys.readouterr().out == said
    mutate.main(["--only", "hgm/lie.py", "--sample", "30", "--seed", "3"])
    assert first < set(played.tried)
    assert len(played.tried) == 30
    assert set(played.tried.values()) == {1}


def test_without_a_size_all_are_tried(played, capsys):
    mutate.main(["--only", "hgm/lie.py"])
    assert set(played.tried) == set(POPULATION)
    assert "40 of 50 caught, 80.0%" in capsys.readouterr().out


def test_a_mutant_without_a_verdict_counts_neither_way(played, monkeypatch, capsys):
    monkeypatch.setitem(played.known, POPULATION[2], "suspicious")
    monkeypatch.setattr(mutate, "verdicts", lambda folder: {POPULATION[3]: "killed"})
    mutate.main(["--only", "hgm/lie.py"])
    said = capsys.readouterr().out
    assert "49 without a verdict" in said
    assert "1 of 1 caught" in said


def test_what_mutmut_says_when_it_fails_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(mutate.sys, "executable", "/bin/false")
    with pytest.raises(SystemExit, match="mutmut run failed in"):
        mutate.mutmut(tmp_path, "run")


@pytest.mark.parametrize(("hits", "total"), [(0, 1), (5, 5), (29, 30), (431, 478)])
def test_interval_is_wilson_s(hits, total):
    expected = binomtest(hits, total).proportion_ci(method="wilson")
    assert mutate.interval(hits, total) == pytest.approx((expected.low, expected.high), abs=1e-4)
