"""Files that are damaged, of another kind, or of another model: one line each, nothing written."""

import os
import pathlib
import struct
import zipfile

import numpy as np
import pytest
import torch
from tensordict import TensorDict
from torch import nn

from hgm import lie
from hgm.datamodules import StoredTransitions
from hgm.files import check_checkpoint, read_json, read_tensors, write_json, write_tensors
from hgm.geometry import Geometry, RewardModel, load_geometry
from hgm.policies.feedforward import Actor
from hgm.policies.stored import load_policy

NAN, INF = float("nan"), float("inf")


def message(call, *arguments):
    """The one line that a bad file ends with, and nothing is written."""
    before = sorted(os.listdir())
    with pytest.raises((ValueError, FileNotFoundError), match=r"[^ ]") as caught:
        call(*arguments)
    assert sorted(os.listdir()) == before
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 500
    assert "weights_only" not in text
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return text


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


# --- whatever the file is for ---------------------------------------------------------------------


def geometry(**changes):
    rotation, n, num = lie.so_generators(2), 2, 5
    reward = RewardModel(
        *(torch.zeros(n), torch.eye(n), torch.ones(num, n), torch.ones(num)),
        *(torch.ones(num + n + 1), torch.ones(num + n + 1, 4), torch.tensor(0.1)),
    )
    content = Geometry(
        *(rotation, rotation, torch.zeros(4, 1), n, "found", "so(2)", torch.ones(4, 2), reward)
    ).state()
    for name, value in changes.items():
        place, _, key = name.rpartition("__")
        target = content[place] if place else content
        target[key] = value
    return content


def policy(**changes):
    actor = Actor(3, 2, torch.zeros(2), torch.ones(2), 4, 1)
    content = {"sizes": dict(actor.arguments), "weights": dict(actor.state_dict())}
    for name, value in changes.items():
        place, _, key = name.rpartition("__")
        target = content[place] if place else content
        if value is None and key != "spread":
            del target[key]
        else:
            target[key] = value
    return content


READERS = {
    "geometry.pt": (load_geometry, geometry),
    "policy.pt": (load_policy, policy),
    "last.ckpt": (read_tensors, lambda: {"state_dict": nn.Linear(2, 2).state_dict()}),
    "data.npz": (StoredTransitions, None),
    "metrics.json": (read_json, None),
}


def whole(name):
    """What a good file of this name holds."""
    if name == "data.npz":
        np.savez(name, **arrays())
    elif name == "metrics.json":
        write_json(name, {"regret": [0.25] * 50})
    else:
        write_tensors(name, READERS[name][1]())
    return pathlib.Path(name).read_bytes()


def folder(name):
    pathlib.Path(name).unlink()
    (pathlib.Path(name) / "inside").mkdir(parents=True)


def other_zip(name):
    with zipfile.ZipFile(name, "w") as file:
        file.writestr("readme.txt", "hello")


DAMAGES = {
    "missing": os.remove,
    "empty": lambda name: os.truncate(name, 0),
    "one byte": lambda name: os.truncate(name, 1),
    "a quarter": lambda name: os.truncate(name, os.path.getsize(name) // 4),
    "half": lambda name: os.truncate(name, os.path.getsize(name) // 2),
    "all but 30 bytes": lambda name: os.truncate(name, os.path.getsize(name) - 30),
    "text": lambda name: pathlib.Path(name).write_text("hello\nworld"),
    "zeros": lambda name: pathlib.Path(name).write_bytes(bytes(10_000)),
    "noise": lambda name: pathlib.Path(name).write_bytes(bytes(range(256)) * 40),
    "a folder": folder,
    "another zip": other_zip,
    "web page": lambda name: pathlib.Path(name).write_text("<html>404</html>"),
    "a link that leads nowhere": lambda name: (os.remove(name), os.symlink("nowhere", name)),
}


def arrays(**changes):
    draw = np.random.default_rng(0)
    state, action = draw.normal(size=(2, 3, 40, 2))
    found = {"observation": state, "action": action, "next_observation": state + action}
    found |= {"reward": draw.normal(size=(3, 40)), **changes}
    return {name: value for name, value in found.items() if value is not None}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", READERS)
def test_damaged_files_are_named(name, damage):
    read = READERS[name][0]
    whole(name)
    read(name)
    DAMAGES[damage](name)
    assert name in message(read, name)


# --- geometry.pt and policy.pt --------------------------------------------------------------------

T = torch.ones
GEOMETRIES = {
    "a list": ([1, 2], ["the file to hold ['generators'", "got a list"]),
    "a policy": (policy(), ["to hold ['generators'", "lacks 'generators'"]),
    "one more": (geometry(other=1), ["also holds 'other'"]),
    "flat generators": (geometry(generators=T(2, 2)), ["generators", "(d, k, k)", "(2, 2)"]),
    "oblong generators": (geometry(generators=T(1, 2, 3)), ["generators", "(1, 2, 3)"]),
    "integers": (geometry(generators=T(1, 2, 2).long()), ["generators", "float", "int64"]),
    "half precision": (geometry(coords=T(4, 1).half()), ["coords", "float16"]),
    "complex": (geometry(generators=T(1, 2, 2) + 0j), ["generators", "complex64"]),
    "a list for a tensor": (geometry(coords=[[0.0]]), ["coords", "tensor", "[[0.0]]"]),
    "gradients": (geometry(coords=T(4, 1).requires_grad_()), ["coords", "gradients"]),
    "another state": (geometry(dim_state=4), ["4 or 5 columns", "`dim_state` 4", "got 2"]),
    "no state": (geometry(dim_state=0), ["dim_state", "at least 1", "0"]),
    "a huge state": (geometry(dim_state=10**12), ["dim_state", "1000000000000", "got 2"]),
    "a real state": (geometry(dim_state=2.0), ["dim_state", "2.0"]),
    "a true state": (geometry(dim_state=True), ["dim_state", "True"]),
    "another verdict": (geometry(verdict="maybe"), ["verdict", "'found'", "'maybe'"]),
    "a tensor for a verdict": (geometry(verdict=T(2)), ["verdict", "tensor"]),
    "a number for a name": (geometry(algebra_type=3), ["algebra_type", "string", "3"]),
    "fewer actions": (geometry(action_generators=T(2, 2, 2)), ["action_generators", "(1, m, m)"]),
    "no actions": (geometry(action_generators=T(1, 0, 0)), ["action_generators", "(1, 0, 0)"]),
    "more coordinates": (geometry(coords=T(4, 2)), ["coords", "(N, 1)", "(4, 2)"]),
    "no tasks": (geometry(coords=T(0, 1)), ["coords", "(0, 1)"]),
    "NaN": (geometry(generators=NAN * T(1, 2, 2)), ["generators", "finite", "NaN"]),
    "infinite": (geometry(coords=INF * T(4, 1)), ["coords", "finite"]),
    "calibration": (geometry(calibration=T(3, 2)), ["calibration", "(4, 2)", "(3, 2)"]),
    "reward is a number": (geometry(reward=3), ["`reward`", "'mean'", "int"]),
    "reward lacks": (geometry(reward={"mean": T(2)}), ["`reward`", "lacks 'root'"]),
    "reward's mean": (geometry(reward__mean=T(3)), ["reward.mean", "(2,)", "(3,)"]),
    "reward's waves": (geometry(reward__phases=T(0)), ["reward.phases", "(F,)", "(0,)"]),
    "reward's frequencies": (geometry(reward__frequencies=T(5, 3)), ["(5, 2)", "(5, 3)"]),
    "reward's weights": (geometry(reward__weights=T(7)), ["reward.weights", "(8,)", "(7,)"]),
    "reward's spread": (geometry(reward__spread=T(7, 2)), ["reward.spread", "(8, S)", "(7, 2)"]),
    "reward's noise": (geometry(reward__noise=T(1)), ["reward.noise", "()", "(1,)"]),
    "reward's type": (geometry(reward__root=torch.eye(2).double()), ["reward.root", "float64"]),
    "reward is NaN": (geometry(reward__noise=torch.tensor(NAN)), ["reward.noise", "finite"]),
}
W = "net.0.weight"
POLICIES = {
    "a list": ([1, 2], ["`sizes` and `weights`", "list"]),
    "a geometry": (geometry(), ["`sizes` and `weights`", "action_generators"]),
    "sizes are a number": (policy(sizes=3), ["`sizes` to hold", "'width'", "got 3"]),
    "no width": (policy(sizes__width=None), ["`sizes` to hold", "lacks 'width'"]),
    "one more size": (policy(sizes__run="rm"), ["`sizes` to hold", "'width'", "also holds 'run'"]),
    "width of 1e9": (policy(sizes__width=10**9), ["sizes.width", "16384", "1000000000"]),
    "width of 1e12": (policy(sizes__width=10**12), ["sizes.width", "1000000000000"]),
    "depth of 1e9": (policy(sizes__depth=10**9), ["sizes.depth", "64", "1000000000"]),
    "wide and deep": (policy(sizes__width=2**14, sizes__depth=64), [W, "(16384, 3)", "(4, 3)"]),
    "state of 1e12": (policy(sizes__dim_state=10**12), ["sizes.dim_state", "65536"]),
    "a latent below 0": (policy(sizes__dim_latent=-1), ["sizes.dim_latent", "from 0", "-1"]),
    "a true width": (policy(sizes__width=True), ["sizes.width", "True"]),
    "a real width": (policy(sizes__width=4.0), ["sizes.width", "4.0"]),
    "a tensor as width": (policy(sizes__width=T(1)), ["sizes.width", "tensor"]),
    "bounds are lists": (policy(sizes__low=[0.0, 0.0]), ["sizes.low", "tensor", "[0.0, 0.0]"]),
    "bounds of 3": (policy(sizes__low=-T(3)), ["`low` and `high`", "2 finite numbers"]),
    "bounds crossed": (policy(sizes__low=2 * T(2)), ["`low` and `high`", "[2.0, 2.0]"]),
    "bounds NaN": (policy(sizes__high=NAN * T(2)), ["`low` and `high`", "nan"]),
    "a spread of text": (policy(sizes__spread="wide"), ["sizes.spread", "'wide'"]),
    "a spread of 0": (policy(sizes__spread=0.0), ["sizes.spread", "above 0", "0.0"]),
    "another spread": (policy(sizes__spread=0.1), ["2.weight", "(2, 4)", "(4, 4)"]),
    "another width": (policy(sizes__width=5), [W, "(5, 3)", "(4, 3)", "another width?"]),
    "another depth": (policy(sizes__depth=2), ["`weights`", "lacks", "net.4.weight"]),
    "a latent": (policy(sizes__dim_latent=2), [W, "(4, 5)", "(4, 3)"]),
    "weights are a list": (policy(weights=[T(1)]), ["weights", "dictionary", "tensor"]),
    "a weight lacks": (policy(**{f"weights__{W}": None}), ["lacks", W]),
    "a weight of two lines": (policy(**{"weights__a\nb": T(1)}), [r"also holds 'a\nb'"]),
    "a weight more": (policy(weights__more=T(1)), ["also holds", "more"]),
    "integer weights": (policy(**{f"weights__{W}": T(4, 3).long()}), [W, "floats", "tensor"]),
    "a number as weight": (policy(**{f"weights__{W}": 1.0}), [W, "floats", "1.0"]),
    "NaN weights": (policy(**{f"weights__{W}": NAN * T(4, 3)}), [W, "finite", "NaN"]),
    "infinite weights": (policy(**{f"weights__{W}": -INF * T(4, 3)}), [W, "finite"]),
}


@pytest.mark.parametrize("name", GEOMETRIES)
def test_bad_geometries(name):
    content, parts = GEOMETRIES[name]
    torch.save(content, "geometry.pt")
    text = message(load_geometry, "geometry.pt")
    for part in ("no geometry in `geometry.pt`", *parts):
        assert part in text


@pytest.mark.parametrize("name", POLICIES)
def test_bad_policies(name):
    content, parts = POLICIES[name]
    torch.save(content, "policy.pt")
    before = torch.get_rng_state()
    text = message(load_policy, "policy.pt")
    for part in ("no policy in `policy.pt`", *parts):
        assert part in text
    assert torch.equal(torch.get_rng_state(), before)  # nothing was made


def test_expanded_tensors_claim_no_more_than_they_hold():
    torch.save(geometry(coords=torch.zeros(1, 1).expand(2**40, 1)), "geometry.pt")
    text = message(load_geometry, "geometry.pt")
    assert "`geometry.pt` to be a geometry" in text
    assert "a tensor of shape (1099511627776, 1) without its entries" in text


@pytest.mark.parametrize("value", [torch.eye(2).to_sparse(), torch.eye(2, device="meta")])
def test_tensors_that_are_not_plain(value):
    torch.save({"state_dict": {"weight": value}}, "last.ckpt")
    assert "last.ckpt` to be a checkpoint, but it names" in message(
        read_tensors, "last.ckpt", "a checkpoint"
    )


# --- checkpoints ----------------------------------------------------------------------------------


class Model(nn.Module):
    def __init__(self, width=32, layers=1):
        super().__init__()
        self.loss = nn.Sequential(*(nn.Linear(4, width) for _ in range(layers)))
        self.register_buffer("best", torch.tensor([-INF, 0.0]))
        self.register_buffer("count", torch.tensor(3))


def weights(width=32, layers=1, **changes):
    found = Model(width, layers).state_dict() | changes
    return {"state_dict": {key: value for key, value in found.items() if value is not None}}


CHECKPOINTS = {
    "a list": ([1], ["`state_dict`"]),
    "no weights": ({"epoch": 1}, ["`state_dict`"]),
    "weights are a list": ({"state_dict": [1]}, ["`state_dict`"]),
    "keys are numbers": ({"state_dict": {1: torch.ones(1)}}, ["`state_dict`"]),
    "another width": (weights(64), ["`loss.0.weight`", "(64, 4)", "(32, 4)", "another width"]),
    "another model": (
        {"state_dict": nn.Linear(2, 2).state_dict()},
        ["lacks `best`, `count`, `loss.0.bias` and 1 more", "Model", "another model's?"],
    ),
    "deeper": (weights(layers=3), ["also holds `loss.1.bias`, `loss.1.weight`, `loss.2.bias` and"]),
    "one of two lines": (weights(**{"a\nb": T(1)}), [r"also holds `a\nb`"]),
    "one is missing": (weights(count=None), ["lacks `count`: another model's?"]),
    "one is a number": (weights(count=3), ["`count`", "a tensor", "got 3"]),
    "one is real": (weights(count=torch.tensor(3.0)), ["`count`", "int64", "float32"]),
    "NaN": (weights(**{"loss.0.bias": NAN * T(32)}), ["`loss.0.bias`", "32 of 32", "NaN"]),
    "infinite": (weights(best=torch.tensor([-INF, INF])), ["`best`", "1 of 2", "infinite"]),
}


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_bad_checkpoints(name):
    content, parts = CHECKPOINTS[name]
    write_tensors("last.ckpt", content)
    model = Model()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    text = message(check_checkpoint, read_tensors("last.ckpt"), model, "last.ckpt")
    for part in ("`last.ckpt`", *parts):
        assert part in text
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_a_good_checkpoint_passes():
    check_checkpoint(weights(), Model(), "last.ckpt")  # an infinite buffer of the model's own, too
    check_checkpoint({"state_dict": {}}, nn.Identity(), "last.ckpt")


# --- stored transitions: archives -----------------------------------------------------------------

ZEROS = np.zeros
ARRAYS = {
    "none": (dict.fromkeys(arrays()), ["`observation`", "got []"]),
    "no action": ({"action": None}, ["an array `action`", "'next_observation'"]),
    "no columns of states": (
        {"observation": ZEROS((3, 40, 0)), "next_observation": ZEROS((3, 40, 0))},
        ["`observation`", "at least 1 column", "(3, 40, 0)"],
    ),
    "no columns of actions": ({"action": ZEROS((3, 40, 0))}, ["`action`", "at least 1 column"]),
    "scalar states": ({"observation": np.float64(3)}, ["`observation`", "(N, B, n)", "()"]),
    "scalar actions": ({"action": np.float64(3)}, ["`action`", "(3, 40, m)", "()"]),
    "scalar rewards": ({"reward": np.float64(3)}, ["`reward`", "(3, 40)", "()"]),
    "scalar flags": ({"done": np.bool_(True)}, ["`done`", "(3, 40)", "()"]),
    "one task without its dimension": ({"observation": ZEROS((40, 2))}, ["(N, B, n)", "(40, 2)"]),
    "no tasks": ({"observation": ZEROS((0, 40, 2))}, ["at least 2 tasks", "(0, 40, 2)"]),
    "four dimensions": ({"observation": ZEROS((3, 4, 10, 2))}, ["(3, 4, 10, 2)"]),
    "other tasks": ({"action": ZEROS((4, 40, 2))}, ["`action`", "(3, 40, 2)", "(4, 40, 2)"]),
    "actions without columns": ({"action": ZEROS((3, 40))}, ["`action`", "(3, 40, m)", "(3, 40)"]),
    "one reward a task": ({"reward": ZEROS(3)}, ["`reward`", "(3, 40) or (3, 40, 1)", "(3,)"]),
    "two rewards": ({"reward": ZEROS((3, 40, 2))}, ["`reward`", "(3, 40, 2)"]),
    "complex rewards": ({"reward": ZEROS((3, 40), complex)}, ["`reward`", "real", "complex128"]),
    "text": ({"reward": np.full((3, 40), "a")}, ["`reward`", "<U1", "not numbers"]),
    "dates": ({"reward": ZEROS((3, 40), "M8[s]")}, ["`reward`", "datetime64", "not numbers"]),
    "fields": ({"reward": ZEROS((3, 40), [("a", "f8")])}, ["`reward`", "not numbers"]),
    "ragged": (
        {"observation": np.array([ZEROS((40, 2)), ZEROS((30, 2))], object)},
        ["`observation`", "Python objects (ragged rows?)", "equally long"],
    ),
    "flags of 7": ({"done": np.full((3, 40), 7)}, ["`done`", "0 or 1", "got 7"]),
    "flags of NaN": ({"terminated": np.full((3, 40), NAN)}, ["`terminated`", "0 or 1", "nan"]),
    "obs": ({"observation": None, "obs": ZEROS((3, 40, 2))}, ["`observation`", "rename `obs`"]),
    "rewards twice": ({"rewards": ZEROS((3, 40))}, ["one array `reward`", "`rewards` besides"]),
    "Actions": ({"action": None, "Actions": ZEROS((3, 40, 2))}, ["rename `Actions`"]),
    "a name of two lines": (
        {"reward": None, "reward\n": ZEROS((3, 40))},
        ["`reward`", r"rename `reward\n`"],
    ),
    "next_obs": (
        {"next_observation": None, "next_obs": ZEROS((3, 40, 2))},
        ["`next_observation`", "rename `next_obs`"],
    ),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_bad_arrays(name):
    changes, parts = ARRAYS[name]
    np.savez("data.npz", **arrays(**changes))
    text = message(StoredTransitions, "data.npz")
    for part in ("data.npz", *parts):
        assert part in text


ELSEWHERE = {
    "data.h5": (b"\x89HDF\r\n\x1a\n", ["HDF5", "cannot be read"]),
    "data.HDF5": (b"hello", ["HDF5", "cannot be read"]),
    "data.pt": (b"PK\x03\x04", ["torch.save", "numpy.savez"]),
    "data.pkl": (b"\x80\x04N.", ["pickle", "run as code", "numpy.savez"]),
    "data.csv": (b"a,b\n1,2\n", ["text", "pandas", "numpy.savez"]),
    "data.parquet": (b"PAR1", ["pandas", "numpy.savez"]),
    "data.npy": (b"\x93NUMPY", ["single array", "numpy.savez"]),
    "data.mat": (b"MATLAB", ["scipy.io.loadmat", "numpy.savez"]),
    "data.tdz": (b"PK\x03\x04", ["unzip", "numpy.savez"]),
    "data": (b"text", ["no zip archive"]),
}


@pytest.mark.parametrize("name", ELSEWHERE)
def test_files_of_other_programs(name):
    content, parts = ELSEWHERE[name]
    pathlib.Path(name).write_bytes(content)
    text = message(StoredTransitions, name)
    for part in (name, *parts):
        assert part in text


@pytest.mark.parametrize("path", [None, 5, ["data.npz"], b"data.npz"])
def test_paths_that_are_none(path):
    assert "Expected `path` to be an .npz file or a folder" in message(StoredTransitions, path)


def test_archives_that_grow():
    np.savez_compressed("data.npz", **arrays(spare=ZEROS(10**8)))
    text = message(StoredTransitions, "data.npz")
    assert "it would grow from" in text
    assert "write it with numpy.savez, not savez_compressed" in text


def test_archives_packed_by_others():
    np.savez("data.npz", **arrays())
    with zipfile.ZipFile("data.npz") as old:
        entries = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile("data.npz", "w", zipfile.ZIP_LZMA) as file:
        for name, content in entries.items():
            file.writestr(name, content)
    assert "`observation.npy` is packed in a way" in message(StoredTransitions, "data.npz")
    with zipfile.ZipFile("data.npz", "w") as file:
        for name, content in entries.items():
            file.writestr(name, content)
    data = bytearray(pathlib.Path("data.npz").read_bytes())
    data[2000] ^= 1
    pathlib.Path("data.npz").write_bytes(data)
    assert "cut off or is damaged" in message(StoredTransitions, "data.npz")
    with zipfile.ZipFile("data.npz", "w") as file:
        file.writestr("reward.npy", entries["reward.npy"])
        with pytest.warns(UserWarning, match="Duplicate"):
            file.writestr("reward.npy", entries["reward.npy"])
    assert "two arrays of the same name" in message(StoredTransitions, "data.npz")
    with zipfile.ZipFile("data.npz", "w") as file:
        file.writestr("reward.npy", entries["reward.npy"] + b"more")
    assert "`reward` claims the shape (3, 40)" in message(StoredTransitions, "data.npz")
    data = pathlib.Path("data.npz").read_bytes()
    place = data.index(b"PK\x01\x02")
    flags = struct.unpack("<H", data[place + 8 : place + 10])[0] | 1
    data = data[: place + 8] + struct.pack("<H", flags) + data[place + 10 :]
    pathlib.Path("data.npz").write_bytes(data)
    assert "it cannot be read" in message(StoredTransitions, "data.npz")


def test_memory_that_is_not_there(monkeypatch):
    np.savez("data.npz", **arrays())

    def full(*_):
        raise MemoryError

    monkeypatch.setattr(np, "frombuffer", full)
    assert "does not fit into memory" in message(StoredTransitions, "data.npz")


# --- stored transitions: folders ------------------------------------------------------------------


def test_folders_of_other_programs(monkeypatch):
    os.mkdir("data")
    assert "`data`" in message(StoredTransitions, "data")
    pathlib.Path("data/part.parquet").write_bytes(b"PAR1")
    assert "has no meta.json" in message(StoredTransitions, "data")
    monkeypatch.setattr("hgm.files.memmaps.MAX_FILES", 3)
    for number in range(4):
        pathlib.Path(f"data/{number}").touch()
    assert "more than 3 files" in message(StoredTransitions, "data")


def test_long_metadata_are_not_parsed(monkeypatch):
    TensorDict({"observation": torch.zeros(3, 40, 2)}, [3, 40]).memmap("data")
    monkeypatch.setattr("hgm.files.memmaps.MAX_META_BYTES", 10)
    assert "larger than 10 bytes" in message(StoredTransitions, "data")


def test_folders_that_may_not_be_read(monkeypatch):
    TensorDict({"observation": torch.zeros(3, 40, 2)}, [3, 40]).memmap("data")

    def denied(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", denied)
    with pytest.raises(ValueError, match="`data` to be .* cannot be read: Permission denied"):
        StoredTransitions("data")
