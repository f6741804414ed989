"""Runs that are stopped, killed, or fail, and go on by the same command: on a toy of one's own."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

TOY = Path(__file__).parent / "toy"
WORDS = [
    *("--config-dir", str(TOY), "data=toy", "model=toy", "report=toy"),
    "trainer.accelerator=cpu",
]


@pytest.fixture
def toy(command, monkeypatch):
    """Runs ``hgm`` on the toy, in this process."""
    monkeypatch.chdir(TOY)
    monkeypatch.syspath_prepend(str(TOY))
    return lambda *words: command(*WORDS, *words)


def start(*words, **environment):
    """The same in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "hgm", *WORDS, *map(str, words)],
        cwd=TOY,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(path, process, seconds=120):
    end = time.monotonic() + seconds
    while not path.exists():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end
        time.sleep(0.02)


def read(path):
    return json.loads((path / "metrics.json").read_text())


def weights(path):
    return torch.load(path / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory, command):
    """A run that was never stopped."""
    path = tmp_path_factory.mktemp("whole") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(TOY)
        patch.syspath_prepend(str(TOY))
        done = command(*WORDS, f"run_dir={path}")
    assert done.code == 0, done.errors
    return path


def test_metrics_are_valid_json_whatever_was_measured(whole):
    text = (whole / "metrics.json").read_text()
    assert "NaN" not in text
    assert read(whole)["odd"] is None


def test_a_finished_run_is_refused(whole, toy):
    before = {path: path.stat().st_mtime_ns for path in whole.rglob("*")}
    done = toy(f"run_dir={whole}")
    assert done.code == 1
    assert "finished" in done.errors
    assert before == {path: path.stat().st_mtime_ns for path in whole.rglob("*")}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code", "again"),
    [
        (signal.SIGINT, 130, "the same command"),
        (signal.SIGTERM, 143, "the folder alone"),
        (signal.SIGKILL, -9, "the same command"),
        (signal.SIGKILL, -9, "the folder alone"),
    ],
)
def test_a_stopped_run_goes_on(whole, toy, command, tmp_path, number, code, again):
    path = tmp_path / "run"
    process = start(f"run_dir={path}", "model.slowness=0.3")
    wait_for(path / "checkpoints" / "last.ckpt", process)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code
    assert "Traceback" not in errors
    if number != signal.SIGKILL:
        assert f"run_dir={path}" in errors  # how to go on
    assert not (path / "metrics.json").exists()
    if again == "the folder alone":
        refused = command(f"run_dir={path}")
        assert refused.code == 1
        assert "allow=[toy]" in refused.errors
        done = command(f"run_dir={path}", "allow=[toy]")
    else:
        done = toy(f"run_dir={path}", "model.slowness=0.3")
    assert done.code == 0, done.errors
    assert read(path)["slope"] == read(whole)["slope"]
    assert_close(weights(path), weights(whole), rtol=0, atol=0)


@pytest.mark.slow
def test_a_policy_of_a_simulated_arm_goes_on_bitwise(tmp_path, command):
    words = ["model=policy", "env=reacher", "data.num_frames=8192", "data.num_eval_episodes=4"]
    words += ["trainer.accelerator=cpu", "report.checkpoint_every=8"]
    whole, path = tmp_path / "whole", tmp_path / "run"
    done = command(*words, f"run_dir={whole}")
    assert done.code == 0, done.errors
    process = subprocess.Popen(
        [sys.executable, "-m", "hgm", *words, f"run_dir={path}"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(path / "checkpoints" / "last.ckpt", process)
    process.kill()
    process.communicate()
    assert not (path / "metrics.json").exists()
    done = command(*words, f"run_dir={path}")
    assert done.code == 0, done.errors
    assert read(path)["return"] == read(whole)["return"]
    assert_close(weights(path), weights(whole), rtol=0, atol=0)


@pytest.mark.slow
def test_a_run_is_not_gone_on_with_while_it_runs(tmp_path, toy):
    path = tmp_path / "run"
    process = start(f"run_dir={path}", "model.slowness=0.5")
    wait_for(path / "checkpoints" / "last.ckpt", process)
    done = toy(f"run_dir={path}", "model.slowness=0.5")
    assert done.code == 1
    assert "is running, in another process" in done.errors
    process.kill()
    process.communicate()
    assert toy(f"run_dir={path}", "model.slowness=0.5").code == 0


def test_another_configuration_does_not_go_on(tmp_path, toy):
    path = tmp_path / "run"
    failed = toy(f"run_dir={path}", "model.fails_at=15")
    assert failed.code == 1
    assert (path / "checkpoints" / "last.ckpt").exists()
    other = toy(f"run_dir={path}", "model.fails_at=15", "seed=4")
    assert other.code == 1
    assert "`seed` = 0, not 4" in other.errors


@pytest.mark.parametrize(
    ("failure", "part"),
    [
        ("error", "Expected a better step"),
        ("bug", "ZeroDivisionError in toy.py"),
        ("disk", "No space left on device"),
    ],
)
def test_a_run_that_fails_at_once_leaves_nothing(tmp_path, toy, failure, part):
    done = toy(f"run_dir={tmp_path / 'run'}", "model.fails_at=0", f"model.failure={failure}")
    assert done.code == 1
    (line,) = [text for text in done.errors.splitlines() if text.startswith("error: ")]
    assert part in line
    assert "Traceback" not in done.errors
    assert not (tmp_path / "run").exists()


def test_a_run_that_fails_later_keeps_its_checkpoint(tmp_path, toy):
    path = tmp_path / "run"
    assert toy(f"run_dir={path}", "model.fails_at=15").code == 1
    assert not (path / "metrics.json").exists()
    checkpoint = torch.load(path / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 15
    assert toy(f"run_dir={path}", "model.fails_at=15").code == 1
    assert (path / "config.yaml").exists()


@pytest.mark.parametrize(
    ("overrides", "parts"),
    [
        (["seed=1"], ["`seed` = 0, not 1", "last.ckpt"]),
        (["data.num_batches=30"], ["`data.num_batches` = 20, not 30"]),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(whole, tmp_path, toy, overrides, parts):
    checkpoint = whole / "checkpoints" / "last.ckpt"
    done = toy(f"run_dir={tmp_path / 'run'}", f"ckpt_path={checkpoint}", *overrides)
    assert done.code == 1
    for part in parts:
        assert part in done.errors
    assert not (tmp_path / "run").exists()


def test_a_checkpoint_of_nobody_is_refused(tmp_path, toy):
    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
    done = toy(f"run_dir={tmp_path / 'run'}", f"ckpt_path={tmp_path / 'other.ckpt'}")
    assert done.code == 1
    assert "other.ckpt" in done.errors
    assert not (tmp_path / "run").exists()


def test_a_torn_checkpoint_is_replaced_by_the_one_before(whole, tmp_path, toy):
    path = tmp_path / "run"
    assert toy(f"run_dir={path}", "model.fails_at=15").code == 1
    last = path / "checkpoints" / "last.ckpt"
    last.write_bytes(last.read_bytes()[:2000])
    done = toy(f"run_dir={path}", "model.fails_at=15")
    assert done.code == 1
    assert "Expected a better step" in done.errors  # from step 10 on, up to the failure again


def test_the_first_of_several_processes_writes(tmp_path, toy, monkeypatch):
    for key, value in {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}.items():
        monkeypatch.setenv(key, value)
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", "29512")
    done = toy(f"run_dir={tmp_path / 'run'}")
    assert done.code == 0, done.errors
    assert (tmp_path / "run" / "config.yaml").is_file()


def test_tensorboard_forgets_what_a_stopped_run_had_not_kept(whole, tmp_path, toy):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    path = tmp_path / "run"
    assert toy(f"run_dir={path}", "model.fails_at=13").code == 1  # kept up to step 10
    assert toy(f"run_dir={path}", "model.fails_at=13").code == 1
    events = EventAccumulator(str(path))
    events.Reload()
    steps = [event.step for event in events.Scalars("train/loss")]
    assert steps == list(range(1, 14))
