"""Files with code in them, one of every kind that hgm reads: none of it runs, nothing is changed.

Every payload would create a marker, and `test_payloads_are_live` shows that it does where pickle is
let loose.
"""

import builtins
import cProfile
import functools
import hashlib
import importlib
import io
import json
import logging
import operator
import os
import pathlib
import pickle
import runpy
import shutil
import sqlite3
import struct
import subprocess
import sys
import tarfile
import timeit
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import torch
from tensordict import TensorDict

from hgm import lie
from hgm.callbacks import AtomicCheckpointIO
from hgm.datamodules import StoredTransitions
from hgm.files import read_npz, read_tensors, readable_checkpoint
from hgm.geometry import Geometry, load_geometry
from hgm.policies.feedforward import Actor
from hgm.policies.stored import load_policy


class Call:
    """Unpickles to the result of a call."""

    def __init__(self, function, *arguments, state=None):
        self.function, self.arguments, self.state = function, arguments, state

    def __reduce__(self):
        call = (self.function, self.arguments)
        return call if self.state is None else (*call, self.state)


class SetState:
    """Does its harm when its state is set."""

    def __init__(self, marker):
        self.marker = marker

    def __setstate__(self, state):
        pathlib.Path(state["marker"]).touch()


class New:
    """Does its harm when it is made."""

    def __new__(cls, marker=None):
        if marker is not None:
            pathlib.Path(marker).touch()
        return super().__new__(cls)

    def __getnewargs__(self):
        return (os.environ["HGM_MARKER"],)


def module(marker, name="hubconf"):
    """A folder beside the marker, with a module that creates it."""
    folder = pathlib.Path(marker).parent / "module"
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.py").write_text(f"open({str(marker)!r}, 'w')\ndef go(): pass\n")
    return str(folder)


def imported(marker):
    sys.path.insert(0, module(marker, "payload_to_import"))
    sys.modules.pop("payload_to_import", None)
    return Call(importlib.import_module, "payload_to_import")


def object_array(marker):
    path = pathlib.Path(module(marker)) / "objects.npy"
    np.save(path, np.array([Call(os.mkdir, str(marker))], object))
    return Call(np.load, str(path), None, True)


def folder_to_load(marker):
    path = pathlib.Path(module(marker)) / "tensordict"
    path.mkdir(exist_ok=True)
    meta = {"_type": "<class 'tensordict.tensorclass.NonTensorData'>", "_is_non_tensor": True}
    (path / "meta.json").write_text(json.dumps(meta | {"_metadata": None}))
    (path / "other.pickle").write_bytes(pickle.dumps({"data": Call(os.mkdir, str(marker))}))
    return Call(functools.partial(TensorDict.load_memmap, allow_pickle=True), str(path))


def tensors_to_load(marker):
    path = pathlib.Path(module(marker)) / "tensors.pt"
    torch.save(Call(os.mkdir, str(marker)), path)
    return Call(functools.partial(torch.load, weights_only=False), str(path))


GADGETS = {
    "os.system": lambda m: Call(os.system, f"touch {m}"),
    "os.mkdir": lambda m: Call(os.mkdir, str(m)),
    "os.popen": lambda m: Call(subprocess.check_output, ["touch", str(m)]),
    "subprocess": lambda m: Call(subprocess.call, ["touch", str(m)]),
    "exec": lambda m: Call(builtins.exec, f"open({str(m)!r}, 'w')"),
    "eval": lambda m: Call(builtins.eval, f"open({str(m)!r}, 'w').close()"),
    "open": lambda m: Call(io.FileIO, str(m), "w"),
    "touch": lambda m: Call(pathlib.Path.touch, pathlib.PosixPath(m)),
    "copy": lambda m: Call(shutil.copyfile, __file__, str(m)),
    "loads": lambda m: Call(pickle.loads, pickle.dumps(Call(os.mkdir, str(m)))),
    "partial": lambda m: Call(functools.partial(os.mkdir, str(m))),
    "caller": lambda m: Call(operator.methodcaller("touch"), pathlib.Path(m)),
    "timeit": lambda m: Call(timeit.timeit, f"open({str(m)!r}, 'w')", "pass", timeit.timeit, 1),
    "profile": lambda m: Call(cProfile.run, "None", str(m)),
    "sqlite": lambda m: Call(sqlite3.connect, str(m)),
    "logging": lambda m: Call(logging.FileHandler, str(m)),
    "archive": lambda m: Call(zipfile.ZipFile, str(m), "w"),
    "numpy.save": lambda m: Call(np.savetxt, str(m), np.zeros(1)),
    "numpy.tofile": lambda m: Call(np.ndarray.tofile, np.zeros(1), str(m)),
    "numpy.memmap": lambda m: Call(np.memmap, str(m), "u1", "w+", 0, (3,)),
    "numpy.load": object_array,
    "torch.save": lambda m: Call(torch.save, 1, str(m)),
    "torch.load": tensors_to_load,
    "torch.hub": lambda m: Call(functools.partial(torch.hub.load, source="local"), module(m), "go"),
    "torch.from_file": lambda m: Call(torch.from_file, str(m), True, 3),
    "torch.storage": lambda m: Call(torch.UntypedStorage.from_file, str(m), True, 3),
    "tensordict": folder_to_load,
    "memmap tensor": lambda m: Call(TensorDict.memmap, TensorDict(a=torch.ones(1)), str(m)),
    "import": imported,
    "runpy": lambda m: Call(runpy.run_path, f"{module(m)}/hubconf.py"),
    "state": SetState,
    "new": lambda m: New(),
    "state of a call": lambda m: Call(OrderedDict, state={"a": Call(os.mkdir, str(m))}),
    "exception": lambda m: Call(ValueError, Call(os.mkdir, str(m))),
}


@pytest.fixture
def marker(tmp_path, monkeypatch):
    monkeypatch.setenv("HGM_MARKER", str(tmp_path / "ran"))
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(tmp_path)
    return tmp_path / "ran"


@pytest.mark.parametrize("gadget", GADGETS)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_payloads_are_live(gadget, marker):
    data = pickle.dumps({"key": GADGETS[gadget](marker)})
    assert not marker.exists()
    pickle.loads(data)
    assert marker.exists()


# --- every gadget in every kind of file -----------------------------------------------------------


def arrays(**changes):
    draw = np.random.default_rng(0)
    state, action = draw.normal(size=(2, 3, 40, 2))
    found = {"observation": state, "action": action, "next_observation": state + action}
    return {**found, "reward": draw.normal(size=(3, 40)), **changes}


def transitions():
    given = {key: torch.from_numpy(value) for key, value in arrays().items()}
    entries = {"observation": given["observation"], "action": given["action"]}
    following = {"observation": given["next_observation"], "reward": given["reward"][..., None]}
    return TensorDict({**entries, "next": TensorDict(following, [3, 40])}, [3, 40])


def geometry(**changes):
    rotation = lie.so_generators(2)
    return {
        **Geometry(rotation, rotation, torch.zeros(1, 1), 2, "found", "so(2)").state(),
        **changes,
    }


def policy(**changes):
    actor = Actor(3, 2, torch.zeros(2), torch.ones(2), 4, 1)
    return {"sizes": actor.arguments, "weights": dict(actor.state_dict()), **changes}


def archive(folder, payload):
    np.savez(folder / "data.npz", **arrays(reward=np.array([payload], object)))
    return StoredTransitions, folder / "data.npz"


def spare_array(folder, payload):
    np.savez(folder / "data.npz", **arrays(), spare=np.array(payload, object))
    return StoredTransitions, folder / "data.npz"


def memmap(folder, payload):
    transitions().memmap(str(folder / "data"))
    path = folder / "data" / "spare"
    path.mkdir()
    meta = {"_type": "<class 'tensordict.tensorclass.NonTensorData'>", "_is_non_tensor": True}
    (path / "meta.json").write_text(json.dumps(meta | {"_metadata": None}))
    (path / "other.pickle").write_bytes(pickle.dumps({"data": payload}))
    top = json.loads((folder / "data" / "meta.json").read_text())
    top["spare"] = {"type": "NonTensorData"}
    (folder / "data" / "meta.json").write_text(json.dumps(top))
    return StoredTransitions, folder / "data"


def memmap_alone(folder, payload):
    (folder / "data").mkdir()
    meta = {"_type": "<class 'tensordict.tensorclass.NonTensorData'>", "_is_non_tensor": True}
    (folder / "data" / "meta.json").write_text(json.dumps(meta | {"_metadata": None}))
    (folder / "data" / "other.pickle").write_bytes(pickle.dumps({"data": payload}))
    return StoredTransitions, folder / "data"


def geometry_file(folder, payload):
    torch.save(geometry(verdict=payload), folder / "geometry.pt")
    return load_geometry, folder / "geometry.pt"


def policy_file(folder, payload):
    sizes = policy()["sizes"] | {"width": payload}
    torch.save(policy(sizes=sizes), folder / "policy.pt")
    return load_policy, folder / "policy.pt"


def legacy_policy_file(folder, payload):
    path = folder / "policy.pt"
    torch.save(policy(weights=payload), path, _use_new_zipfile_serialization=False)
    return load_policy, path


def checkpoint(folder, payload):
    content = {"state_dict": OrderedDict(a=torch.ones(2)), "callbacks": [payload]}
    torch.save(content, folder / "last.ckpt")
    return AtomicCheckpointIO().load_checkpoint, folder / "last.ckpt"


def plain_pickle(folder, payload):
    (folder / "last.ckpt").write_bytes(pickle.dumps({"state_dict": payload}, 4))
    return read_tensors, folder / "last.ckpt"


def newest_protocol(folder, payload):
    torch.save({"state_dict": payload}, folder / "last.ckpt", pickle_protocol=4)
    return read_tensors, folder / "last.ckpt"


CARRIERS = [
    *(archive, spare_array, memmap, memmap_alone, geometry_file, policy_file),
    *(legacy_policy_file, checkpoint, plain_pickle, newest_protocol),
]


def snapshot(folder):
    """All that can be told of the files in a folder."""
    found = {}
    for root, _, names in os.walk(folder):
        found[root] = os.stat(root).st_mtime_ns
        for name in names:
            path = os.path.join(root, name)
            status = os.lstat(path)
            regular = os.path.isfile(path) and not os.path.islink(path)
            content = pathlib.Path(path).read_bytes() if regular else b""
            found[path] = (hashlib.sha256(content).hexdigest(), status.st_mtime_ns, status.st_mode)
    return found


def assert_refused(read, path, marker):
    before = snapshot(marker.parent)
    with pytest.raises(ValueError, match=r"[^ ]") as caught:
        read(path)
    message = str(caught.value)
    assert not marker.exists()
    assert snapshot(marker.parent) == before
    assert path.name in message
    assert "\n" not in message
    assert len(message) < 500 + 2 * len(str(path))
    assert "weights_only" not in message
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return message


@pytest.mark.parametrize("carrier", CARRIERS, ids=lambda carrier: carrier.__name__)
@pytest.mark.parametrize("gadget", GADGETS)
def test_no_payload_runs(gadget, carrier, marker):
    read, path = carrier(marker.parent, GADGETS[gadget](marker))
    assert_refused(read, path, marker)


def test_a_payload_in_a_checkpoint_makes_room_for_the_one_before(marker):
    torch.save({"step": 1}, marker.parent / "previous.ckpt")
    checkpoint(marker.parent, Call(os.mkdir, str(marker)))
    with pytest.warns(UserWarning, match=r"last\.ckpt` .* names `\w+\.mkdir`"):
        assert readable_checkpoint(marker.parent) == marker.parent / "previous.ckpt"
    assert not marker.exists()


# --- pickles written by hand ----------------------------------------------------------------------


def text(value):
    return b"X" + struct.pack("<I", len(str(value))) + str(value).encode()


HAND = {  # what data.pkl says, as bytes
    "GLOBAL": lambda m: b"\x80\x02cos\nmkdir\n(" + text(m) + b"tR.",
    "INST": lambda m: b"\x80\x02(" + text(m) + b"ios\nmkdir\n.",
    "OBJ": lambda m: b"\x80\x02(cos\nmkdir\n" + text(m) + b"o.",
    "NEWOBJ": lambda m: b"\x80\x02cio\nFileIO\n(" + text(m) + text("w") + b"t\x81.",
    "STACK_GLOBAL": lambda m: b"\x80\x04\x8c\x02os\x8c\x05mkdir\x93(" + text(m) + b"tR.",
    "EXT": lambda m: b"\x80\x02\x82\x01(" + text(m) + b"tR.",
    "dotted": lambda m: b"\x80\x02ctorch.serialization\nos.mkdir\n(" + text(m) + b"tR.",
    "getattr": lambda m: b"\x80\x02c__builtin__\ngetattr\n(cos\nsystem\n" + text(m) + b"tR.",
    "in a persistent id": lambda m: (
        b"\x80\x02(" + text("storage") + HAND["GLOBAL"](m)[2:-1] + b"tQ."
    ),
    "as a storage type": lambda m: (
        b"\x80\x02(" + text("storage") + b"cos\nmkdir\n" + text(m) + text("cpu") + b"K\x01tQ."
    ),
    "as a key": lambda m: b"\x80\x02}" + HAND["GLOBAL"](m)[2:-1] + b"K\x01s.",
    "after the end": lambda m: b"\x80\x02N." + HAND["GLOBAL"](m),
    "state of a tensor": lambda m: (
        b"\x80\x02ctorch._tensor\n_rebuild_from_type_v2\n(cos\nmkdir\nctorch\nTensor\n("
        + text(m)
        + b"tNtR."
    ),
    "wrapper": lambda m: b"\x80\x02ctorch._utils\n_rebuild_wrapper_subclass\n(tR.",
    "mesh": lambda m: b"\x80\x02ctorch.distributed.device_mesh\nDeviceMesh\n(tR.",
    "dtensor": lambda m: b"\x80\x02ctorch.distributed.tensor\nDTensor\n(tR.",
    "a class of TensorDict's": lambda m: b"\x80\x02ctensordict._td\nTensorDict\n(tR.",
    "ours": lambda m: b"\x80\x02chgm.geometry\nload_geometry\n(" + text(m) + b"tR.",
    "bytearray of 1e12": lambda m: (
        b"\x80\x02c__builtin__\nbytearray\n(\x8a\x06\x00\x10\xa5\xd4\xe8\x00tR."
    ),
    "tensor of 1e12": lambda m: b"\x80\x02ctorch\nTensor\n(\x8a\x06\x00\x10\xa5\xd4\xe8\x00tR.",
    "dictionary with methods": lambda m: (
        b"\x80\x02ccollections\nOrderedDict\n)R}" + text("items") + b"K\x01sb."
    ),
    "versions that are none": lambda m: (
        b"\x80\x02ccollections\nOrderedDict\n)R}" + text("_metadata") + b"K\x01sb."
    ),
    "version that is none": lambda m: (
        b"\x80\x02ccollections\nOrderedDict\n)R}"
        + text("_metadata")
        + b"}"
        + text("")
        + b"K\x01ssb."
    ),
    "stack runs empty": lambda m: b"\x80\x02R.",
    "no end": lambda m: b"\x80\x02]",
    "nothing": lambda m: b"",
}


def zipped(path, pickled, **others):
    """An archive with the entries that torch.save writes, and a pickle of one's own."""
    entries = {"data.pkl": pickled, "byteorder": b"little", "version": b"3\n", **others}
    with zipfile.ZipFile(path, "w") as file:
        for name, content in entries.items():
            file.writestr(f"archive/{name}", content)
    return path


@pytest.mark.parametrize("name", HAND)
def test_no_pickle_by_hand_runs(name, marker):
    path = zipped(marker.parent / "last.ckpt", HAND[name](marker))
    if name == "after the end":  # what nobody reads
        assert read_tensors(path) is None
        assert not marker.exists()
    else:
        assert_refused(read_tensors, path, marker)


def test_the_name_is_told(marker):
    path = zipped(marker.parent / "last.ckpt", HAND["GLOBAL"](marker))
    message = assert_refused(read_tensors, path, marker)
    assert "it names `os.mkdir`, and only tensors, numbers and strings are read" in message


# --- other archives, and archives in archives -----------------------------------------------------


def nested(path, marker):
    inner = io.BytesIO()
    torch.save(Call(os.mkdir, str(marker)), inner)
    zipped(path, b"\x80\x02cos\nmkdir\n.", **{"data/0": inner.getvalue()})


def twice(path, marker):
    good = io.BytesIO()
    torch.save({"step": 1}, good)
    zipped(path, zipfile.ZipFile(good).read("archive/data.pkl"))
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(path, "a") as file:
        file.writestr("archive/data.pkl", HAND["GLOBAL"](marker))


def two_folders(path, marker):
    zipped(path, b"\x80\x02N.", **{"other/data.pkl": HAND["GLOBAL"](marker)})


def behind_junk(path, marker):
    torch.save({"step": 1}, path)
    path.write_bytes(pickle.dumps(Call(os.mkdir, str(marker)), 2) + path.read_bytes())


def deflated(path, marker):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("archive/data.pkl", HAND["GLOBAL"](marker))


def packed_tar(path, marker):
    with tarfile.open(path, "w") as file:
        entry = tarfile.TarInfo("pickle")
        content = pickle.dumps(Call(os.mkdir, str(marker)), 2)
        entry.size = len(content)
        file.addfile(entry, io.BytesIO(content))


def numpy_objects(path, marker):
    with open(path, "wb") as file:
        np.savez(file, a=np.array([Call(os.mkdir, str(marker))], object))


ARCHIVES = [nested, twice, two_folders, behind_junk, deflated, packed_tar, numpy_objects]


@pytest.mark.parametrize("make", ARCHIVES, ids=lambda make: make.__name__)
@pytest.mark.parametrize("name", ["last.ckpt", "last.safetensors", "http:a.pt"])
def test_no_archive_runs(make, name, marker):
    make(marker.parent / name, marker)
    assert_refused(read_tensors, marker.parent / name, marker)


def test_no_torchscript_runs(marker):
    path = zipped(marker.parent / "a.pt", b"\x80\x02N.", **{"constants.pkl": b"\x80\x02)."})
    assert_refused(read_tensors, path, marker)


# --- arrays whose headers or names want more ------------------------------------------------------


def header(descr, shape, extra=""):
    return f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, {extra}}}"


def with_header(folder, text, version=1, body=b""):
    """An archive whose reward has a header of one's own."""
    np.savez(folder / "data.npz", **arrays())
    line = (text + "\n").encode()
    size = struct.pack("<H" if version == 1 else "<I", len(line))
    content = b"\x93NUMPY" + bytes([version, 0]) + size + line + body
    with zipfile.ZipFile(folder / "data.npz") as old:
        entries = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(folder / "data.npz", "w") as file:
        for name, data in (entries | {"reward.npy": content}).items():
            file.writestr(name, data)
    return folder / "data.npz"


HEADERS = {
    "code": lambda m: f"__import__('os').mkdir({str(m)!r})",
    "code as type": lambda m: header(f"__import__('os').mkdir({str(m)!r})", (3, 40)),
    "code as shape": lambda m: header("'<f8'", f"(open({str(m)!r}, 'w'),)"),
    "objects": lambda m: header("'|O'", (3, 40)),
    "no objects": lambda m: header("'|O'", (0,)),
    "objects in fields": lambda m: header("[('a', '|O')]", (3, 40)),
    "objects in nested fields": lambda m: header("[('a', [('b', '|O', (2,))])]", (3, 40)),
    "a type that is none": lambda m: header("'os.system'", (3, 40)),
    "1e9 entries": lambda m: header("'<f8'", (3, 10**9)),
    "1e12 entries": lambda m: header("'<f8'", (10**12,)),
    "1e30 entries": lambda m: header("'<f8'", (10**15, 10**15)),
    "entries below 0": lambda m: header("'<f8'", (-3, -40)),
    "a string of 1e9": lambda m: header("'<U1000000000'", (1,)),
    "nested a thousand times": lambda m: "(" * 5000 + ")" * 5000,
    "very long": lambda m: header("'<f8'", (3, 40)) + " " * 60_000,
}


@pytest.mark.parametrize("version", [1, 2, 3, 9])
@pytest.mark.parametrize("name", HEADERS)
def test_no_header_runs_or_allocates(name, version, marker):
    body = pickle.dumps(np.array([Call(os.mkdir, str(marker))], object))
    path = with_header(marker.parent, HEADERS[name](marker), version, body)
    assert "`reward`" in assert_refused(StoredTransitions, path, marker)


def test_names_are_no_paths(marker):
    np.savez(marker.parent / "data.npz", **{"../../ran": np.zeros(3), str(marker): np.ones(2)})
    assert set(read_npz(marker.parent / "data.npz")) == {"../../ran", str(marker)}
    assert not marker.exists()


# --- folders that name what is not theirs ---------------------------------------------------------


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
        data._stored["action"].zero_()  # in memory, not on disk
    assert snapshot(marker.parent) == before
