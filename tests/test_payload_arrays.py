"""Arrays whose headers or names want more: none of it runs or allocates."""

import os
import pickle
import struct
import zipfile

import numpy as np
import pytest
from payloads import Call, arrays, assert_refused

from hgm.datamodules import StoredTransitions
from hgm.files import read_npz


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
