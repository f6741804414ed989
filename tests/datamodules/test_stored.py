"""Stored transitions of every type, order and kind of file come back as they are."""

import zipfile

import numpy as np
import pytest
import torch
from tensordict import TensorDict
from torch.testing import assert_close

from hgm.datamodules import StoredTransitions
from hgm.datamodules.base import KEYS
from hgm.files import read_memmap, read_npz
from hgm.sizes import Sizes

REALS = ["f2", "f4", "f8", ">f4", ">f8", "g", "i1", "i2", "i4", "i8", ">i4", "u1", "u2", "u4", "u8"]


def arrays(dtype="f8", num_tasks=3, num=40, n=2, m=1):
    draw = np.random.default_rng(0)

    def some(*shape):
        return draw.integers(0, 100, size=(num_tasks, num, *shape)).astype(dtype)

    return {
        "observation": some(n),
        "action": some(m),
        "reward": some(),
        "next_observation": some(n),
    }


def assert_holds(data, content):
    stored = data.recording.read(slice(None))
    pairs = {
        "observation": stored["observation"],
        "action": stored["action"],
        "reward": stored["next", "reward"][..., 0],
        "next_observation": stored["next", "observation"],
    }
    for name, value in pairs.items():
        assert value.dtype == torch.float32
        assert_close(value.double().numpy(), np.asarray(content[name], "f8"), rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [*REALS, "?"])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_of_every_real_type(dtype, save, tmp_path):
    save(tmp_path / "data.npz", **arrays(dtype))
    data = StoredTransitions(tmp_path / "data.npz")
    assert_holds(data, arrays(dtype))
    assert set(next(iter(data.train_dataloader())).keys(True, True)) == set(KEYS)


def test_arrays_in_the_order_of_columns(tmp_path):
    turned = {name: np.asfortranarray(value) for name, value in arrays(n=3).items()}
    assert turned["observation"].flags.f_contiguous
    np.savez(tmp_path / "data.npz", **turned)
    assert_holds(StoredTransitions(tmp_path / "data.npz"), arrays(n=3))


def test_the_suffix_does_not_matter(tmp_path):
    np.savez(tmp_path / "data.npz", **arrays())
    (tmp_path / "data.npz").rename(tmp_path / "data.bin")
    assert_holds(StoredTransitions(str(tmp_path / "data.bin")), arrays())


def test_headers_of_version_2(tmp_path):
    with zipfile.ZipFile(tmp_path / "data.npz", "w") as file:
        for name, value in arrays().items():
            with file.open(f"{name}.npy", "w") as stream:
                np.lib.format.write_array(stream, value, version=(2, 0))
    assert_holds(StoredTransitions(tmp_path / "data.npz"), arrays())


@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 3), (4, 1)])
def test_one_column_is_enough(n, m, tmp_path):
    np.savez(tmp_path / "data.npz", **arrays(n=n, m=m))
    data = StoredTransitions(tmp_path / "data.npz")
    assert data.sizes == Sizes(3, n, m, "transitions")
    assert_holds(data, arrays(n=n, m=m))


def test_scalars_and_empty_arrays_may_lie_beside(tmp_path):
    extras = {"version": np.int64(3), "empty": np.zeros((0, 4)), "gamma": np.float16(0.5)}
    np.savez(tmp_path / "data.npz", **arrays(), **extras)
    assert_holds(StoredTransitions(tmp_path / "data.npz"), arrays())
    found = read_npz(tmp_path / "data.npz")
    assert found["version"] == 3
    assert found["version"].shape == ()
    assert found["empty"].shape == (0, 4)


@pytest.mark.parametrize("dtype", ["?", "u1", "i8", "f4", "u2", "u8"])
@pytest.mark.parametrize("columns", [(), (1,)])
def test_flags_of_every_type(dtype, columns, tmp_path):
    done = (np.arange(120) % 10 == 9).reshape(3, 40, *columns).astype(dtype)
    np.savez(tmp_path / "data.npz", **arrays(), done=done, terminated=0 * done)
    stored = StoredTransitions(tmp_path / "data.npz").recording.read(slice(None))["next"]
    assert_close(stored["done"][..., 0].numpy(), done.reshape(3, 40) != 0)
    assert stored["done"].sum() == 12
    assert not stored["terminated"].any()


def test_any_byte_but_0_is_true(tmp_path):
    flags = (np.arange(120) % 3).astype(np.uint8).reshape(3, 40)
    np.savez(tmp_path / "data.npz", **arrays(), done=flags.view(bool))
    stored = StoredTransitions(tmp_path / "data.npz").recording.read(slice(None))["next", "done"]
    assert_close(stored[..., 0].to(torch.uint8).numpy(), (flags != 0).astype(np.uint8))


# --- folders --------------------------------------------------------------------------------------


def folder(path, dtype=torch.float64, flags=True):
    given = {name: torch.from_numpy(value).to(dtype) for name, value in arrays().items()}
    following = {"observation": given["next_observation"], "reward": given["reward"][..., None]}
    if flags:
        done = (torch.arange(120) % 10 == 9).reshape(3, 40, 1)
        following |= {"done": done, "terminated": torch.zeros_like(done)}
    entries = {"observation": given["observation"], "action": given["action"]}
    content = {
        **entries,
        "next": TensorDict(following, [3, 40]),
        "info": TensorDict({"deep": TensorDict({"a/b": torch.ones(3, 40)}, [3, 40])}, [3, 40]),
        "note": "a string",
        "odd / name": torch.ones(3, 40),
        "empty": torch.zeros(3, 40, 0),
    }
    TensorDict(content, [3, 40]).memmap(str(path))
    return path


@pytest.mark.parametrize(
    "dtype",
    [
        *(torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.bool, torch.uint8),
        *(torch.int8, torch.int16, torch.int32, torch.int64, torch.uint16, torch.uint32),
    ],
)
def test_folders_of_every_real_type(dtype, tmp_path):
    data = StoredTransitions(folder(tmp_path / "data", dtype))
    expected = {
        name: torch.from_numpy(value).to(dtype).double() for name, value in arrays().items()
    }
    assert_holds(data, expected)
    assert data.recording.read(slice(None))["next", "done"].sum() == 12
    assert data.sizes == Sizes(3, 2, 1, "transitions")


def test_folders_give_tensors_by_their_keys(tmp_path):
    found = read_memmap(str(folder(tmp_path / "data")))
    assert set(found) == {
        *(("observation",), ("action",), ("next", "observation"), ("next", "reward")),
        *(("next", "done"), ("next", "terminated"), ("empty",)),
    }
    assert found["empty",].shape == (3, 40, 0)


def test_a_link_to_a_folder_is_followed(tmp_path):
    folder(tmp_path / "data", flags=False)
    (tmp_path / "link").symlink_to("data")
    data = StoredTransitions(tmp_path / "link")
    assert_holds(data, arrays())
    assert not data.recording.read(slice(None))["next", "done"].any()


def test_flat_names_in_a_folder(tmp_path):
    given = {name: torch.from_numpy(value) for name, value in arrays().items()}
    TensorDict(given, [3, 40]).memmap(str(tmp_path / "data"))
    assert_holds(StoredTransitions(tmp_path / "data"), arrays())
