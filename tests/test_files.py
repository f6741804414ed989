"""Files are written in one go, and read without running code."""

import errno
import json
import math
import os
import subprocess
import sys
import warnings
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from hgm.callbacks import AtomicCheckpointIO
from hgm.files import (
    check_checkpoint,
    read_json,
    read_tensors,
    readable_checkpoint,
    write_checkpoint,
    write_json,
    write_tensors,
)
from hgm.files.disk import brief

ROOT = Path(__file__).parents[1]


# --- JSON ---------------------------------------------------------------------------------------


def test_json_is_always_valid(tmp_path):
    content = {
        "nan": math.nan,
        "inf": [-math.inf, {"deep": np.float64("nan")}],
        "scalars": (np.float32(0.5), np.int64(3), np.bool_(True), torch.tensor(2), 1.5, None),
        "arrays": [np.arange(3), torch.tensor([[1.0, math.inf]]), torch.ones(2, dtype=torch.bool)],
        "bfloat": torch.ones(1, dtype=torch.bfloat16, requires_grad=True),
        "path": Path("a") / "b",
        3: "Müller\n",
    }
    write_json(tmp_path / "a.json", content)

    def refuse(constant):
        raise AssertionError(constant)

    found = json.loads((tmp_path / "a.json").read_text(), parse_constant=refuse)
    assert found == read_json(tmp_path / "a.json")
    assert found == {
        "nan": None,
        "inf": [None, {"deep": None}],
        "scalars": [0.5, 3, True, 2, 1.5, None],
        "arrays": [[0, 1, 2], [[1.0, None]], [True, True]],
        "bfloat": [1.0],
        "path": "a/b",
        "3": "Müller\n",
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"a": [1, {"b": object()}]}, r"`a\[1\]\.b` to be numbers.*object"),
        ({"a": {1, 2}}, "`a` to be numbers"),
        ({"a": 1j}, "`a`"),
        ({"a": torch.ones(2, dtype=torch.complex64)}, r"`a\[0\]`"),
        ({"a": np.datetime64("2020-01-01")}, "`a`"),
        ({"a": {(1, 2): 3}}, r"keys of `a` to be strings, got \(1, 2\)"),
    ],
)
def test_json_of_anything_else_is_refused_and_nothing_written(content, message, tmp_path):
    write_json(tmp_path / "a.json", "former")
    with pytest.raises(TypeError, match=message):
        write_json(tmp_path / "a.json", content)
    assert read_json(tmp_path / "a.json") == "former"
    assert os.listdir(tmp_path) == ["a.json"]


# --- written in one go --------------------------------------------------------------------------

WRITERS = pytest.mark.parametrize("write", [write_json, write_tensors, write_checkpoint])


@WRITERS
def test_a_full_disk_leaves_the_former_file(write, tmp_path, monkeypatch):
    write(tmp_path / "last.ckpt", {"step": 1})
    before = (tmp_path / "last.ckpt").read_bytes()

    def full(number):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), ".draft")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*last\.ckpt'") as caught:
        write(tmp_path / "last.ckpt", {"step": 2})
    assert caught.value.__suppress_context__
    assert os.listdir(tmp_path) == ["last.ckpt"]
    assert (tmp_path / "last.ckpt").read_bytes() == before


@WRITERS
def test_a_folder_that_cannot_be_written_is_named(write, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OSError, match="file"):
        write(tmp_path / "file" / "a.json", {"step": 2})
    assert os.listdir(tmp_path) == ["file"]


def test_an_interrupt_leaves_the_former_file(tmp_path, monkeypatch):
    write_checkpoint(tmp_path / "last.ckpt", {"step": 1})

    def interrupt(*_):
        raise KeyboardInterrupt

    for name in ("fsync", "link", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, interrupt)
            with pytest.raises(KeyboardInterrupt):
                write_checkpoint(tmp_path / "last.ckpt", {"step": 2})
        assert os.listdir(tmp_path) == ["last.ckpt"]
        assert read_tensors(tmp_path / "last.ckpt") == {"step": 1}


def test_what_killed_writers_left_is_removed(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    left = [f".a.json.{process.pid}.tmp", f".a.json.{process.pid}.old.tmp", f".a.json.{9**30}.tmp"]
    kept = [f".a.json.{os.getppid()}.tmp", f".b.json.{process.pid}.tmp", ".a.json.mine.tmp"]
    for name in (*left, *kept):
        (tmp_path / name).write_text("half")
    write_json(tmp_path / "a.json", 1)
    assert sorted(os.listdir(tmp_path)) == sorted([*kept, "a.json"])


def test_drafts_of_somebody_elses_process_stay(tmp_path, monkeypatch):
    def forbidden(*_):
        raise PermissionError

    monkeypatch.setattr(os, "kill", forbidden)
    (tmp_path / ".a.json.12345.tmp").write_text("half")
    write_json(tmp_path / "a.json", 1)
    assert len(os.listdir(tmp_path)) == 2


# --- tensors ------------------------------------------------------------------------------------

EVERY_TYPE = [
    *(torch.float16, torch.float32, torch.float64, torch.bfloat16, torch.complex64),
    *(torch.int8, torch.int16, torch.int32, torch.int64, torch.bool, torch.complex128),
    *(torch.uint8, torch.uint16, torch.uint32, torch.uint64),
]


def test_tensors_come_back(tmp_path):
    content = {
        "types": [torch.ones(2, 3).to(dtype) for dtype in EVERY_TYPE],
        "dtypes": EVERY_TYPE[:4],
        "views": [torch.arange(6).view(2, 3).T, torch.zeros(1).expand(10, 10), torch.zeros(0, 4)],
        "parameter": nn.Parameter(torch.ones(2)),
        "scalars": (1, 2.5, math.nan, "text", None, True, 2**70, b"bytes", torch.Size([1, 2])),
        "set": {1, 2},
        "ordered": OrderedDict(a=1),
        "state_dict": nn.Linear(2, 2).state_dict(),
        "device": torch.device("cpu"),
        "optimizer": torch.optim.Adam([nn.Parameter(torch.ones(1))]).state_dict(),
        "random": torch.get_rng_state(),
        "untyped": torch.ones(2).untyped_storage(),
    }
    content["self"] = content["types"]
    write_tensors(tmp_path / "a.pt", content)
    found = read_tensors(tmp_path / "a.pt")
    assert found.keys() == content.keys()
    assert [tensor.dtype for tensor in found["types"]] == EVERY_TYPE
    for name in ("types", "views", "parameter", "state_dict", "random"):
        assert_close(found[name], content[name], rtol=0, atol=0)
    assert found["scalars"][2] != found["scalars"][2]
    assert found["scalars"][:2] + found["scalars"][3:] == (
        *content["scalars"][:2],
        *content["scalars"][3:],
    )
    for name in ("dtypes", "set", "ordered", "device", "optimizer"):
        assert found[name] == content[name]


def test_every_flipped_byte_of_the_contents_is_noticed(tmp_path):
    write_tensors(tmp_path / "a.pt", {"weight": torch.arange(64.0)})
    whole = (tmp_path / "a.pt").read_bytes()
    start = whole.index(torch.arange(64.0).numpy().tobytes())
    for place in range(start, start + 256, 7):
        damaged = bytearray(whole)
        damaged[place] ^= 1
        (tmp_path / "a.pt").write_bytes(damaged)
        with pytest.raises(ValueError, match=r"a\.pt` to be a file of tensors, but it is damaged"):
            read_tensors(tmp_path / "a.pt")


def test_every_cut_is_noticed(tmp_path):
    write_tensors(tmp_path / "a.pt", {"weight": torch.arange(64.0)})
    whole = (tmp_path / "a.pt").read_bytes()
    for length in range(0, len(whole), 11):
        (tmp_path / "a.pt").write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"a\.pt` to be .*, but it (is|was)") as caught:
            read_tensors(tmp_path / "a.pt")
        assert "\n" not in str(caught.value)


def test_a_reader_may_be_denied(tmp_path, monkeypatch):
    write_tensors(tmp_path / "a.pt", 1)

    def denied(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("builtins.open", denied)
    with pytest.raises(ValueError, match=r"a\.pt` to be a thing, .*read: Permission denied\."):
        read_tensors(tmp_path / "a.pt", "a thing")


def test_no_memory_is_told(tmp_path, monkeypatch):
    write_tensors(tmp_path / "a.pt", 1)

    def full(*_, **__):
        raise MemoryError

    monkeypatch.setattr(torch, "load", full)
    with pytest.raises(ValueError, match="more memory than there is"):
        read_tensors(tmp_path / "a.pt")


def test_a_long_pickle_is_not_even_scanned(tmp_path, monkeypatch):
    write_tensors(tmp_path / "a.pt", list(range(100)))
    monkeypatch.setattr("hgm.files.tensors.MAX_PICKLE_BYTES", 100)
    with pytest.raises(ValueError, match="more than 100 bytes besides tensors"):
        read_tensors(tmp_path / "a.pt")


def test_a_long_text_is_not_parsed(tmp_path, monkeypatch):
    write_json(tmp_path / "a.json", list(range(100)))
    monkeypatch.setattr("hgm.files.records.MAX_BYTES", 100)
    with pytest.raises(ValueError, match="larger than 100 bytes"):
        read_json(tmp_path / "a.json")


def test_messages_stay_short_and_on_one_line():
    deep = []
    for _ in range(10**5):
        deep = [deep]
    twice = []
    for _ in range(60):
        twice = [twice, twice]  # 2^60 lists when written out
    many = {"a": twice, "b": {1, 2, 3}, "c": list(range(1000))}
    for value in (10**5000, deep, twice, many, "a\nb" * 100, torch.zeros(50, 50)):
        assert len(brief(value)) <= 80
        assert "\n" not in brief(value)
    assert brief(10**5000) == "a int"


# --- checkpoints --------------------------------------------------------------------------------


def test_the_checkpoint_before_is_kept(tmp_path):
    folder = tmp_path / "new" / "checkpoints"
    for step in range(3):
        write_checkpoint(folder / "last.ckpt", {"step": step})
        assert read_tensors(folder / "last.ckpt") == {"step": step}
        if step:
            assert read_tensors(folder / "previous.ckpt") == {"step": step - 1}
    assert sorted(os.listdir(folder)) == ["last.ckpt", "previous.ckpt"]
    write_checkpoint(folder / "other.ckpt", {"step": 7})
    write_checkpoint(folder / "other.ckpt", {"step": 8})
    assert read_tensors(folder / "previous.ckpt") == {"step": 1}


def test_a_file_system_without_links(tmp_path, monkeypatch):
    def none(*_):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", none)
    for step in range(3):
        write_checkpoint(tmp_path / "last.ckpt", {"step": step})
    assert read_tensors(tmp_path / "last.ckpt") == {"step": 2}
    assert read_tensors(tmp_path / "previous.ckpt") == {"step": 1}
    assert sorted(os.listdir(tmp_path)) == ["last.ckpt", "previous.ckpt"]


def test_the_newest_checkpoint_that_can_be_read(tmp_path):
    assert readable_checkpoint(tmp_path / "nowhere") is None
    assert readable_checkpoint(tmp_path) is None
    write_checkpoint(tmp_path / "last.ckpt", {"step": 0})
    assert readable_checkpoint(str(tmp_path)) == tmp_path / "last.ckpt"
    write_checkpoint(tmp_path / "last.ckpt", {"step": 1})
    assert readable_checkpoint(tmp_path) == tmp_path / "last.ckpt"
    (tmp_path / "last.ckpt").write_bytes((tmp_path / "last.ckpt").read_bytes()[:-1])
    with pytest.warns(UserWarning, match=r"last\.ckpt` .* cut off or is damaged\. It is left out"):
        assert readable_checkpoint(tmp_path) == tmp_path / "previous.ckpt"
    (tmp_path / "last.ckpt").unlink()
    assert readable_checkpoint(tmp_path) == tmp_path / "previous.ckpt"
    (tmp_path / "previous.ckpt").write_bytes(b"")
    with pytest.warns(UserWarning, match=r"previous\.ckpt` .* is empty\. It is left out"):
        assert readable_checkpoint(tmp_path) is None


KILLED = """
import os, random, signal, sys, time
from pathlib import Path
import torch
from hgm.files import read_tensors, write_checkpoint

folder, kills, reads = Path(sys.argv[1]), int(sys.argv[2]), 0
last, previous = folder / "last.ckpt", folder / "previous.ckpt"

def content(step):
    return {"step": step, "state_dict": {"a": torch.full((300, 300), step), "b": [step] * 50}}

def check(least, both=False):
    found = []
    for path in (last, previous) if both else (last,):
        read = read_tensors(path)  # a torn one would raise
        assert (read["state_dict"]["a"] == read["step"]).all()
        found.append(read["step"])
    assert found[0] >= least, (found, least)
    assert not both or found[1] < found[0], found
    return found[0]

torch.set_num_threads(1)
draw, step = random.Random(0), 1
write_checkpoint(last, content(0))
write_checkpoint(last, content(1))
for kill in range(kills):
    child = os.fork()
    if child == 0:
        while True:
            step += 1
            write_checkpoint(last, content(step))
    until = time.monotonic() + draw.uniform(0.0, 0.06)
    try:
        while time.monotonic() < until:
            step, reads = check(step), reads + 1
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    step = check(step, both=True)
write_checkpoint(last, content(step + 1))
print(kills, reads, step, sorted(os.listdir(folder)))
"""


def test_a_writer_killed_at_any_moment_leaves_whole_checkpoints(tmp_path):
    settings = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", KILLED, str(tmp_path), "40"]
    result = subprocess.run(command, capture_output=True, text=True, env=settings, timeout=120)
    assert result.returncode == 0, result.stderr
    kills, reads, steps, *files = result.stdout.split(maxsplit=3)
    assert int(kills) == 40
    assert int(reads) >= 40
    assert int(steps) >= 40
    assert files == ["['last.ckpt', 'previous.ckpt']\n"]  # no drafts stay


# --- Lightning's ----------------------------------------------------------------------------------


def test_lightning_writes_and_reads_through_it(tmp_path):
    plugin = AtomicCheckpointIO()
    plugin.save_checkpoint({"step": 1}, str(tmp_path / "a" / "last.ckpt"))
    plugin.save_checkpoint({"step": 2}, tmp_path / "a" / "last.ckpt")
    assert plugin.load_checkpoint(tmp_path / "a" / "last.ckpt", weights_only=False) == {"step": 2}
    assert (
        plugin.load_checkpoint(tmp_path / "a" / "previous.ckpt", torch.device("cpu"))["step"] == 1
    )
    with pytest.raises(TypeError, match="no `storage_options`"):
        plugin.save_checkpoint({}, tmp_path / "a" / "last.ckpt", {"key": 1})
    with pytest.raises(FileNotFoundError, match=r"nowhere\.ckpt"):
        plugin.load_checkpoint(tmp_path / "nowhere.ckpt")
    for _ in range(2):
        plugin.remove_checkpoint(tmp_path / "a" / "last.ckpt")
    assert os.listdir(tmp_path / "a") == ["previous.ckpt"]


def test_a_trainer_resumes_from_it(tmp_path):
    from lightning import LightningModule, Trainer

    class Model(LightningModule):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(2, 1)

        def training_step(self, batch):
            return self.layer(batch[0]).square().mean()

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), 0.1)

    def trainer(epochs):
        return Trainer(
            max_epochs=epochs,
            plugins=[AtomicCheckpointIO()],
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=tmp_path,
        )

    data = torch.utils.data.TensorDataset(torch.ones(8, 2))
    loader = torch.utils.data.DataLoader(data, 4)
    torch.manual_seed(0)
    first, second = Model(), Model()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Lightning's own, about workers and short epochs
        run = trainer(2)
        run.fit(first, loader)
        run.save_checkpoint(tmp_path / "last.ckpt")
        again = trainer(2)
        again.fit(second, loader, ckpt_path=tmp_path / "last.ckpt", weights_only=True)
    assert_close(second.state_dict(), first.state_dict(), rtol=0, atol=0)
    check_checkpoint(read_tensors(tmp_path / "last.ckpt"), second, tmp_path / "last.ckpt")
