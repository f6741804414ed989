"""What the README tells a reader to type, works."""

import re
import shlex
import sys
import types
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from hgm import lie
from hgm.cli.assemble import assemble
from hgm.cli.record import record
from hgm.datamodules import StoredTransitions
from hgm.geometry import Geometry, Orbit
from hgm.policies.feedforward import Actor
from hgm.policies.stored import save_policy

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"


def blocks(*languages, path=README):
    found = re.findall(r"^```(\w*)\n(.*?)^```", path.read_text(), re.MULTILINE | re.DOTALL)
    return [text for language, text in found if language in languages]


def commands():
    """Words of every shell command, without comments and prompts."""
    words = []
    for block in blocks("bash", "sh", "shell", "console"):
        for line in block.replace("\\\n", " ").splitlines():
            parts = shlex.split(line.removeprefix("$ "), comments=True)
            if parts:
                words.append(parts)
    return words


def overrides_of(words):
    """What follows ``hgm`` or ``train.py``, or stands in ``ARGS`` of ``make``; None for others."""
    names = [Path(word).name for word in words]
    for program in ("hgm", "train.py"):
        if program in names and not {"install", "compare", "record"} & set(names):
            return words[names.index(program) + 1 :]
    if names[:2] == ["make", "discovery"]:
        given = [word.partition("=")[2] for word in words if word.startswith("ARGS=")]
        return shlex.split(given[0]) if given else []
    return None


MYPKG = """
import torch

from hgm.envs import GymnasiumTasks, Navigation


class Corridor(Navigation):
    def __init__(self, length: float) -> None:
        super().__init__(radius=length)


def set_task(env, task):
    env.unwrapped.data.qpos[2:] = task


reach_goal = GymnasiumTasks(
    sample_tasks=lambda num, generator: torch.rand(num, 2, generator=generator) / 10,
    set_task=set_task,
    observe=lambda seen: seen[..., :4],
)
"""


def two_circles(runs):
    """Run folders of a geometry of two orbits and of a policy for each, as far as they are read."""
    turn = lie.so_generators(2).double()
    orbits = (Orbit([0, 2, 4, 6], None), Orbit([1, 3, 5, 7], None))
    geometry = Geometry(turn, turn, torch.zeros(8, 1), 2, "found", "so(2)", orbits=orbits)
    for name in ("two", "near", "far"):
        (runs / name).mkdir(parents=True, exist_ok=True)
    geometry.save(runs / "two" / "geometry.pt")
    for name in ("near", "far"):
        save_policy(runs / name / "policy.pt", Actor(2, 2, -torch.ones(2), torch.ones(2)))


def write_recording(path):
    """Rows of two tasks in HDF5, by D4RL's names."""
    rows = np.random.default_rng(0).normal(size=(60, 2))
    with h5py.File(path, "w") as file:
        for name in ("observations", "actions", "next_observations"):
            file[name] = rows
        file["rewards"], file["task"] = rows[:, 0], np.arange(60) // 30


JOBS = [words for words in commands() if overrides_of(words) is not None] if README.exists() else []


def make_targets():
    rules = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    return set(rules)


def test_readme_names_the_two_commands():
    typed = [words[:2] for words in commands()]
    assert ["make", "discovery"] in typed
    assert ["make", "test"] in typed


def test_every_make_target_exists():
    wanted = {words[1] for words in commands() if words[0] == "make"}
    assert wanted
    assert wanted <= make_targets()


def test_makefile_runs_what_the_readme_says():
    text = (ROOT / "Makefile").read_text()
    recipes = dict(re.findall(r"^([\w-]+):[^\n]*\n((?:\t[^\n]*\n)+)", text, re.MULTILINE))
    assert "train.py model=discovery $(ARGS)" in recipes["discovery"]
    assert re.search(r"-m pytest .*\$\(ARGS\)", recipes["test"])
    phony = re.search(r"^\.PHONY:(.*)$", text, re.MULTILINE).group(1).split()
    assert {"discovery", "test"} <= set(phony)


def test_ci_runs_the_readme_s_test_command():
    assert "make test" in (ROOT / ".ci" / "run").read_text().splitlines()


def test_readme_has_jobs():
    assert ["hgm", "model=discovery"] in JOBS


def test_recordings_are_written(tmp_path, monkeypatch):
    (words,) = [words for words in commands() if words[:2] == ["hgm", "record"]]
    monkeypatch.chdir(tmp_path)
    record([word.replace("100000", "100") for word in words[2:]])
    assert StoredTransitions(tmp_path / "recording").num_transitions == 100


@pytest.mark.parametrize("words", JOBS, ids=" ".join)
def test_jobs_build(words, experiment, monkeypatch, settings, command):
    """All but the training: everything that a job is made of accepts the values."""
    place = experiment.parents[1]
    two_circles(place / "runs")
    monkeypatch.chdir(place)
    monkeypatch.syspath_prepend(str(place))
    (place / "conf" / "env").mkdir(parents=True, exist_ok=True)
    (place / "conf" / "env" / "mine.yaml").write_text(
        "_target_: hgm.envs.Navigation\nradius: 2.0\n"
    )
    (place / "mypkg.py").write_text(MYPKG)
    write_recording(place / "recording.hdf5")
    rows = [f"{i / 7},{i % 2},{i % 5},{i % 6}" for i in range(60)]
    (place / "table.csv").write_text("\n".join(["x,y,z1,z2", *rows]))
    given = [word for word in overrides_of(words) if word != "-m"]
    given = [word.partition(",")[0] for word in given] if "-m" in words else given
    if any(word.startswith(("-", "experiment=")) for word in given):
        done = command(
            *given, *(() if any(w.startswith("--") for w in given) else ("--cfg", "job"))
        )
        assert done.code == 0, done.errors
        return
    assemble(settings(*given, "run_dir=unused"))


def test_files_that_are_linked_exist():
    links = re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", README.read_text())
    inside = [link for link in links if "://" not in link]
    assert inside
    for link in inside:
        assert (ROOT / link).exists(), link


def test_nothing_is_left_to_fill_in():
    assert not re.findall(r"^(?:[A-Z]+_TABLE|MEASURED|TODO)\b.*$", README.read_text(), re.MULTILINE)


def test_python_blocks_run_one_after_the_other(experiment, monkeypatch):
    monkeypatch.chdir(experiment.parents[1])
    programs, names = blocks("python"), {}
    assert programs
    for program in programs:
        exec(compile(program, str(README), "exec"), names)


def test_python_blocks_about_extending_run(monkeypatch):
    """Each as a module: files of geometries name the classes of charts by theirs."""
    path = ROOT / "docs" / "extending.md"
    programs = blocks("python", path=path)
    assert len(programs) >= 3
    for program in programs:
        module = types.ModuleType("mypkg")
        monkeypatch.setitem(sys.modules, "mypkg", module)
        exec(compile(program, str(path), "exec"), vars(module))
