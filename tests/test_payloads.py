"""Files with code in them, one of every kind that hgm reads: none of it runs, nothing is changed.

Every payload would create a marker, and `test_payloads_are_live` shows that it does where pickle is
let loose.
"""

import builtins
import cProfile
import functools
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
import subprocess
import sys
import timeit
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import torch
from payloads import Call, arrays, assert_refused, transitions
from tensordict import TensorDict

from hgm import lie
from hgm.callbacks import AtomicCheckpointIO
from hgm.datamodules import StoredTransitions
from hgm.files import read_tensors, readable_checkpoint
from hgm.geometry import Geometry, load_geometry
from hgm.policies.feedforward import Actor
from hgm.policies.stored import load_policy


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


@pytest.mark.parametrize("gadget", GADGETS)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_payloads_are_live(gadget, marker):
    data = pickle.dumps({"key": GADGETS[gadget](marker)})
    assert not marker.exists()
    pickle.loads(data)
    assert marker.exists()


# --- every gadget in every kind of file -----------------------------------------------------------


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
