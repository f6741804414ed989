"""Pickles written by hand, and archives that are not what torch.save writes: none of it runs."""

import io
import os
import pickle
import struct
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from payloads import Call, assert_refused

from hgm.files import read_tensors


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
