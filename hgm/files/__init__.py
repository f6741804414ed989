"""Files that are read without running or changing anything, and written in one go."""

from hgm.files.arrays import read_npz
from hgm.files.checkpoints import check_checkpoint, readable_checkpoint, write_checkpoint
from hgm.files.hdf5 import read_hdf5
from hgm.files.memmaps import read_memmap
from hgm.files.records import read_json, write_json
from hgm.files.tensors import read_tensors, write_tensors

__all__ = [
    "check_checkpoint",
    "read_hdf5",
    "read_json",
    "read_memmap",
    "read_npz",
    "read_tensors",
    "readable_checkpoint",
    "write_checkpoint",
    "write_json",
    "write_tensors",
]
