"""Folders that name what is not theirs: nothing runs, nothing is changed."""

import json
import os
import pickle
import shutil

import numpy as np
import pytest
from payloads import Call, arrays, assert_refused, snapshot, transitions

from hgm.datamodules import StoredTransitions


def edit(name="meta.json", **changes):
    """Changes entries of a folder's metadata."""

    def change(folder, marker):
        path = folder / name
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return change


def entry(**changes):
    return {"device": "cpu", "shape": [3, 40, 2], "dtype": "torch.float64"} | changes


def write(name, content):
    def change(folder, marker):
        path = folder / name
        path.unlink(missing_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    return change


def link(name, target):
    def change(folder, marker):
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        path.symlink_to(target)

    return change


def pipe(folder, marker):
    (folder / "observation.memmap").unlink()
    os.mkfifo(folder / "observation.memmap")


def cut(name, size):
    def change(folder, marker):
        os.truncate(folder / name, size)

    return change


def pickle_below(folder, marker):
    (folder / "next" / "deep").mkdir()
    content = pickle.dumps(Call(os.mkdir, str(marker)))
    (folder / "next" / "deep" / "other.pickle").write_bytes(content)


def typed(kind):
    return edit(_type=f"<class '{kind}'>")


FOLDERS = {
    "a type of one's own": typed("payload_to_import.Mine"),
    "a type that runs": typed("subprocess.Popen"),
    "a type that is code": edit(_type="__import__('os').mkdir('ran')"),
    "a tensorclass": typed("tensordict.tensorclass.NonTensorData"),
    "a lazy stack": typed("tensordict._lazy.LazyStackedTensorDict"),
    "a list as type": edit(_type=["<class 'tensordict._td.TensorDict'>"]),
    "no type": edit(_type=None),
    "a type below": edit("next/meta.json", _type="<class 'os._Environ'>"),
    "a pickle below": pickle_below,
    "a path upwards": edit(**{"../../x": entry()}),
    "a path upwards, hidden": edit(**{"a/../../x": entry()}),
    "an absolute path": edit(**{"/etc/passwd": entry()}),
    "a folder upwards": edit(**{"../data": {"type": "TensorDict"}}),
    "a dtype that is code": edit(observation=entry(dtype="__import__('os').mkdir('ran')")),
    "a dtype that is a module": edit(observation=entry(dtype="torch.os")),
    "a dtype that is a list": edit(observation=entry(dtype=["torch.float64"])),
    "a complex dtype": edit(observation=entry(dtype="torch.complex128")),
    "a quantised dtype": edit(observation=entry(dtype="torch.qint8")),
    "a ragged tensor": edit(observation=entry(is_nested=True)),
    "a shape of 1e12": edit(observation=entry(shape=[10**12, 10**12, 2])),
    "a shape of 1e9": edit(observation=entry(shape=[3, 10**9, 2])),
    "a shape of nothing but large": edit(observation=entry(shape=[0, 10**30])),
    "a shape below 0": edit(observation=entry(shape=[-3, -40, 2])),
    "a shape of text": edit(observation=entry(shape="(3, 40, 2)")),
    "a shape of floats": edit(observation=entry(shape=[3.0, 40.0, 2.0])),
    "a shape of truths": edit(observation=entry(shape=[True, 240])),
    "a shape of 1000 dimensions": edit(observation=entry(shape=[1] * 1000)),
    "no shape": edit(observation={"dtype": "torch.float64"}),
    "a link to a file": link("observation.memmap", "/etc/passwd"),
    "a link to a folder": link("next", "/etc"),
    "a link that leads nowhere": link("spare", "nowhere"),
    "a link in a circle": link("spare", "."),
    "metadata without end": link("meta.json", "/dev/zero"),
    "a pipe": pipe,
    "a file cut off": cut("observation.memmap", 1000),
    "a file cut off below": cut("next/reward.memmap", 3),
    "an empty file": cut("action.memmap", 0),
    "a file that is longer": cut("action.memmap", 10**6),
    "a file of 1e12 bytes": cut("action.memmap", 10**12),
    "metadata that are text": write("meta.json", "not JSON"),
    "metadata that are a list": write("meta.json", "[1, 2]"),
    "metadata that are a number": write("meta.json", "1" * 10_000),
    "metadata that are nested": write("meta.json", "[" * 100_000),
    "metadata that are bytes": write("meta.json", b"\xff\xfe\x00"),
    "metadata that are empty": write("meta.json", ""),
    "metadata that are a pickle": write("meta.json", pickle.dumps({"a": 1})),
    "metadata cut off": cut("meta.json", 50),
    "metadata below that are text": write("next/meta.json", "not JSON"),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_no_folder_runs_or_is_changed(name, marker):
    folder = marker.parent / "data"
    transitions().memmap(str(folder))
    FOLDERS[name](folder, marker)
    if name == "a file of 1e12 bytes":  # sparse: too long to be hashed
        with pytest.raises(ValueError, match=r"action\.memmap` .* it holds 1000000000000"):
            StoredTransitions(folder)
        os.truncate(folder / "action.memmap", 0)
    assert_refused(StoredTransitions, folder, marker)


def test_good_folders_and_archives_are_not_changed_either(marker):
    folder = marker.parent / "data"
    transitions().memmap(str(folder))
    np.savez(marker.parent / "data.npz", **arrays())
    before = snapshot(marker.parent)
    found = [StoredTransitions(path) for path in (folder, marker.parent / "data.npz")]
    for data in found:
        for batch in [*data.train_dataloader(), *data.val_dataloader()]:
            batch["observation"] += 1
        data.recording.read(slice(None))["action"].zero_()  # in memory, not on disk
    assert snapshot(marker.parent) == before
