"""HDF5 files that hold, name or claim what is not theirs: nothing runs, nothing else is read."""

import os
import pickle

import h5py
import numpy as np
import pytest
from payloads import Call, arrays, assert_refused

from hgm.datamodules import StoredTransitions
from hgm.files import read_hdf5


def put(name, value, **options):
    def change(file, marker):
        del file[name]
        file.create_dataset(name, data=value, **options)

    return change


def pickled(file, marker):
    content = np.frombuffer(pickle.dumps(Call(os.mkdir, str(marker))), np.uint8)
    del file["reward"]
    file.create_dataset("reward", (3, 40), h5py.special_dtype(vlen=np.uint8))
    file["reward"][0, 0] = content


def opaque(file, marker):
    content = pickle.dumps(Call(os.mkdir, str(marker)))
    put("reward", np.full((3, 40), np.void(content)))(file, marker)


def link(kind):
    def change(file, marker):
        other = marker.parent / "other.h5"
        with h5py.File(other, "w") as there:
            there["reward"] = np.zeros((3, 40))
        del file["reward"]
        file["spare"] = np.zeros((3, 40))
        file["reward"] = (
            h5py.ExternalLink(str(other), "reward")
            if kind == "external"
            else h5py.SoftLink("spare")
        )

    return change


def elsewhere(file, marker):
    (marker.parent / "raw").write_bytes(bytes(960))
    del file["reward"]
    file.create_dataset("reward", (3, 40), "f8", external=[(marker.parent / "raw", 0, 960)])


def virtual(file, marker):
    with h5py.File(marker.parent / "other.h5", "w") as there:
        there["reward"] = np.zeros((3, 40))
    layout = h5py.VirtualLayout((3, 40), "f8")
    layout[:] = h5py.VirtualSource(marker.parent / "other.h5", "reward", (3, 40))
    del file["reward"]
    file.create_virtual_dataset("reward", layout)


def claimed(file, marker):
    del file["reward"]
    file.create_dataset("reward", (3, 10**11), "f8", chunks=(3, 1000))


def plugin(file, marker):
    del file["reward"]
    settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    settings.set_chunk((3, 40))
    settings.set_filter(32015, h5py.h5z.FLAG_OPTIONAL, (3,))  # Zstandard, a library of its own
    space = h5py.h5s.create_simple((3, 40))
    h5py.h5d.create(file.id, b"reward", h5py.h5t.IEEE_F64LE, space, settings)


def circle(file, marker):
    del file["next_observation"]
    file.create_group("next")
    file["next/next"] = file["next"]


FILES = {
    "a pickle in bytes of any length": (pickled, ["`reward`", "numbers"]),
    "a pickle that is opaque": (opaque, ["`reward`", "numbers"]),
    "text": (put("reward", np.full((3, 40), b"a")), ["`reward`", "numbers"]),
    "complex": (put("reward", np.zeros((3, 40), complex)), ["`reward`", "real"]),
    "no shape": (put("reward", h5py.Empty("f8")), ["`reward`", "no shape"]),
    "a link to another file": (link("external"), ["`reward` is a link"]),
    "a link within": (link("soft"), ["`reward` is a link"]),
    "data in another file": (elsewhere, ["`reward` is kept in other files"]),
    "a view of another file": (virtual, ["`reward` is kept in other files"]),
    "more than there is": (claimed, ["it would grow from"]),
    "a library to load": (plugin, ["`reward` is packed by a plugin, filter 32015"]),
    "a circle": (circle, ["nested more than 16 deep"]),
}


@pytest.fixture
def marker(tmp_path):
    return tmp_path / "marker"


def write(path, change=None, marker=None):
    with h5py.File(path, "w") as file:
        for name, value in arrays().items():
            file[name] = value
        if change is not None:
            change(file, marker)
    return path


@pytest.mark.parametrize("name", FILES)
def test_no_file_runs_or_is_changed(name, marker):
    change, parts = FILES[name]
    path = write(marker.parent / "data.h5", change, marker)
    message = assert_refused(StoredTransitions, path, marker)
    for part in parts:
        assert part in message


def test_what_is_not_read_does_not_matter(tmp_path):
    path = write(tmp_path / "data.h5")
    with h5py.File(path, "a") as file:
        file["policy"] = h5py.ExternalLink("/etc/passwd", "/")
        file["algorithm"] = "SAC"
        file.attrs["note"], file.attrs["odd"] = "text", h5py.Reference()
    assert StoredTransitions(path).num_transitions == 40
    found = read_hdf5(path, lambda key: key[0] == "reward")
    assert set(found.arrays) == {("reward",)}
    assert found.attributes[()] == {"note": "text"}


@pytest.mark.parametrize("size", [0, 4, 100, 2000])
def test_files_that_were_cut_off(size, marker):
    path = write(marker.parent / "data.h5")
    os.truncate(path, size)
    assert_refused(StoredTransitions, path, marker)


def test_every_type_of_number_comes_back(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for kind in ("f2", ">f4", "f8", "g", "i1", ">i8", "u4", "?"):
            file[kind] = np.arange(6).reshape(2, 3).astype(kind)
    found = read_hdf5(tmp_path / "a.h5", lambda key: True).arrays
    for (kind,), value in found.items():
        assert (
            value.double().tolist()
            == np.arange(6).reshape(2, 3).astype(kind).astype(float).tolist()
        )


def test_without_h5py(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(ModuleNotFoundError, match=r"a.h5` needs h5py: pip install 'hgm\[data\]'"):
        read_hdf5(tmp_path / "a.h5", lambda key: True)
