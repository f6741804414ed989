"""What several files look at: the command line in this process, an experiment, a marker."""

import contextlib
import io
import os
import sys
import warnings
from typing import NamedTuple
from unittest import mock

import pytest
from filelock import FileLock

from hgm.cli import main
from hgm.cli.settings import settings_from

pytest.register_assert_rewrite("payloads")  # its assertions fail as those of tests do

SMALL_EXPERIMENT = [
    "experiment=navigation",
    "data.num_transitions=300",
    "data.num_frames=4096",
    "data.random_frames=1024",
    "data.num_eval_episodes=8",
    "report.protocol.num_test_tasks=4",
    "report.protocol.num_exploration=8",
    "report.protocol.num_episodes=3",
    "report.protocol.num_first_episodes=2",
    "trainer.accelerator=cpu",
]


class Done(NamedTuple):
    """What a command left: exit code, output, and its errors."""

    code: int
    output: str
    errors: str


def run_command(*words):
    """Runs ``hgm WORDS`` in this process."""
    output, errors, code = io.StringIO(), io.StringIO(), 0
    with (
        mock.patch.object(sys, "argv", ["hgm", *map(str, words)]),
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(errors),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")  # Lightning's own, about workers and hooks
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
    return Done(code, output.getvalue(), errors.getvalue())


@pytest.fixture(scope="session")
def command():
    """A function that runs ``hgm WORDS`` in this process."""
    return run_command


@pytest.fixture(scope="session")
def settings():
    """A function from words to the settings of a run."""
    return lambda *words: settings_from([str(word) for word in words])


@pytest.fixture(scope="session")
def small():
    """Overrides of a navigation experiment of seconds."""
    return list(SMALL_EXPERIMENT)


@pytest.fixture(scope="session")
def experiment(tmp_path_factory):
    """The folder of a finished one, seeds 0 and 1, which processes that test side by side share."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    path = shared / "experiment" / "runs" / "navigation"
    with FileLock(shared / "experiment.lock"):
        if not (shared / "experiment.done").exists():
            done = run_command(*SMALL_EXPERIMENT, "experiment.num_seeds=2", f"run_dir={path}")
            assert done.code == 0, done.errors
            (shared / "experiment.done").touch()
    return path


@pytest.fixture
def marker(tmp_path, monkeypatch):
    """A file in an empty folder, the present one: payloads create it where they run."""
    monkeypatch.setenv("HGM_MARKER", str(tmp_path / "ran"))
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(tmp_path)
    return tmp_path / "ran"
