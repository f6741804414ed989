"""``hgm record`` writes what ``data=stored`` reads, as a whole or not at all."""

import os
import signal

import numpy as np
import pytest
import torch

from hgm.cli import main
from hgm.datamodules import StoredTransitions, Transitions
from hgm.datamodules.writing import write_recording
from hgm.envs import Navigation

FEW = "num_transitions=60"


@pytest.fixture
def record(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)

    def run(*words):
        monkeypatch.setattr("sys.argv", ["hgm", "record", *words])
        main()
        return capsys.readouterr().out

    return run


@pytest.fixture
def refused(record, capsys):
    def run(*words):
        with pytest.raises(SystemExit) as ended:
            record(*words)
        assert ended.value.code == 1
        return capsys.readouterr().err

    return run


@pytest.mark.parametrize("path", ["data.npz", "data"])
def test_what_is_recorded_is_what_is_collected(path, record):
    said = record("env=navigation", f"path={path}", FEW, "env.num_train_tasks=5", "seed=3")
    assert said == f"5 tasks, 60 transitions each, in {path}\n"
    read = StoredTransitions(path).recording.read(slice(None))
    (collected,) = Transitions(Navigation(num_train_tasks=5), num_transitions=60, seed=3).deliver()
    assert (read == collected).all()
    assert os.listdir() == [path]


def test_behaviours_and_families_are_chosen(record):
    record("env=circles", "path=random", FEW)
    record("env=circles", "path=goal.npz", FEW, "behaviour=goal")
    reward = [
        StoredTransitions(p).recording.read(slice(None))["next", "reward"].mean()
        for p in ("random", "goal.npz")
    ]
    assert reward[1] > reward[0] + 0.1


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ((), ["hgm record env=NAME path=FILE", "no path"]),
        (("path=a.csv",), ["`path`", ".npz", "a.csv"]),
        (("path=there",), ["`path` to be new", "there"]),
        (("path=there.npz",), ["`path` to be new", "there.npz"]),
        (("path=no/where",), ["`path` to be in a folder that is there"]),
        (("path=a", "model=discovery"), ["'model=discovery'"]),
        (("path=a", "behaviour=sleep"), ["`behaviour`", "'random', 'goal'", "'sleep'"]),
        (("path=a", "num_transitions=5"), ["`num_transitions`", "20", "5"]),
        (("path=a", "env=nowhere"), ["nowhere"]),
        (("path=a", "env.speed=3"), ["`env.speed`"]),
        (("path=a", "seed=-1"), ["`seed`", "-1"]),
    ],
)
def test_what_is_wrong_leaves_nothing(words, parts, refused, tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "there.npz").touch()
    line = refused(*words)
    assert line.count("\n") == 1
    for part in parts:
        assert part in line
    assert sorted(os.listdir(tmp_path)) == ["there", "there.npz"]


class Broken:
    """A source that fails in the middle."""

    def __init__(self, error):
        self.source, self.error = Transitions(Navigation(max_steps=20), num_transitions=60), error
        self.num_tasks, self.num_transitions = 4, 60

    def deliver(self):
        (piece,) = self.source.deliver()
        yield piece[:, :30]
        if self.error is None:
            piece["next", "reward"][1, 40] = torch.nan
            yield piece[:, 30:]
        else:
            raise self.error


@pytest.mark.parametrize("path", ["data.npz", "data"])
@pytest.mark.parametrize("error", [None, OSError(28, "full"), KeyboardInterrupt()])
def test_partial_files_are_never_left(path, error, tmp_path):
    with pytest.raises((ValueError, OSError, KeyboardInterrupt), match="reward|full|"):
        write_recording(Broken(error), tmp_path / path)
    assert os.listdir(tmp_path) == []


def test_what_a_process_left_is_cleared_away(tmp_path):
    gone = tmp_path / ".data.4194303.tmp"  # no process has this number
    gone.mkdir()
    np.save(gone / "a.npy", np.zeros(3))
    write_recording(Transitions(Navigation(), num_transitions=60), tmp_path / "data")
    assert os.listdir(tmp_path) == ["data"]


@pytest.mark.parametrize("path", ["data.npz", "data"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_nothing(path, number, record, monkeypatch, tmp_path, capsys):
    def interrupt(piece):
        os.kill(os.getpid(), number)

    monkeypatch.setattr("hgm.datamodules.writing.check_finite", interrupt)
    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as ended:
        record("env=navigation", f"path={path}", FEW)
    assert ended.value.code == 128 + number
    assert f"stopped by {number.name}" in capsys.readouterr().err
    assert os.listdir(tmp_path) == []
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("joined", [True, False])
def test_a_family_of_ones_own_folder(joined, record, refused, tmp_path):
    (tmp_path / "mine" / "env").mkdir(parents=True)
    choice = "_target_: hgm.envs.Navigation\nnum_train_tasks: 7\n"
    (tmp_path / "mine" / "env" / "seven.yaml").write_text(choice)
    words = ["env=seven", "path=data.npz", FEW]
    assert "seven" in refused(*words)
    folder = ["--config-dir=mine"] if joined else ["--config-dir", "mine"]
    assert record(*words, *folder).startswith("7 tasks, 60 transitions")
