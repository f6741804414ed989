"""Recordings from TensorDicts and replay buffers of TorchRL."""

import pytest
import torch
from episodes import assert_true, counts, rows
from tensordict import TensorDict
from torchrl.data import LazyMemmapStorage, LazyTensorStorage, ReplayBuffer

from hgm.datamodules import StoredTransitions


def batch():
    content = rows(following=True)
    given = {key: torch.from_numpy(value) for key, value in content.items()}
    names = {"next_observation": "observation", "reward": "reward", "done": "done"}
    after = {names[key]: given.pop(key) for key in names}
    after = {key: value.view(129, -1) for key, value in after.items()}
    given["task"] = given["task"].view(129, 1)
    return TensorDict({**given, "next": TensorDict(after, [129])}, [129])


def test_a_tensordict_in_memory():
    data = StoredTransitions.from_tensordict(batch())
    assert counts(data) == [("7.5", 88, 88, 41), ("-2", 41, 41, 41)]
    assert_true(data)
    two = torch.stack((batch()[:30], batch()[30:60]))
    data = StoredTransitions.from_tensordict(two)
    assert counts(data) == [("7.5", 30, 30, 30), ("-2", 30, 30, 30)]
    data = StoredTransitions.from_tensordict(two, order=[-2, 7.5])
    assert [count.task for count in data.counts] == ["-2", "7.5"]
    assert (data.recording.read(slice(None))["observation"][0, :, 0] == 1).all()
    mixed = torch.stack((batch()[:64], batch()[64:128]))  # trajectories, not tasks, are in rows
    assert [count.transitions for count in StoredTransitions.from_tensordict(mixed).counts] == [
        87,
        41,
    ]


@pytest.mark.parametrize("change", [torch.Tensor.bfloat16, torch.Tensor.requires_grad_])
def test_a_tensordict_of_a_network_is_data(change):
    given = batch()
    given["task"], given["action"] = change(given["task"]), change(given["action"])
    data = StoredTransitions.from_tensordict(given)
    assert counts(data) == [("7.5", 88, 88, 41), ("-2", 41, 41, 41)]
    assert_true(data)
    assert not data.recording.read(slice(None))["action"].requires_grad


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("kind", [LazyMemmapStorage, LazyTensorStorage])
def test_a_replay_buffer_on_the_disk(kind, tmp_path):
    buffer = ReplayBuffer(storage=kind(500))
    buffer.extend(batch())
    buffer.dumps(tmp_path / "buffer")
    data = StoredTransitions(tmp_path / "buffer")  # and not the 371 rows that were never written
    assert counts(data) == [("7.5", 88, 88, 41), ("-2", 41, 41, 41)]
    assert_true(data)
    assert counts(StoredTransitions.from_tensordict(buffer[:])) == counts(data)
    assert counts(StoredTransitions(tmp_path / "buffer" / "storage")) == counts(data)
    (tmp_path / "buffer" / "storage" / "storage_metadata.json").write_text('{"len": 501}')
    with pytest.raises(ValueError, match="`len` in .* to count rows, got 501"):
        StoredTransitions(tmp_path / "buffer")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_replay_buffer_tells_where_steps_lead(tmp_path):
    """A ring of 100 rows, of which the newest are first, and before the oldest."""
    buffer = ReplayBuffer(storage=LazyMemmapStorage(100))
    buffer.extend(batch().exclude(("next", "observation")))
    buffer.dumps(tmp_path / "buffer")
    with pytest.raises(ValueError, match=r"\('next', 'observation'\).* not in the order of time"):
        StoredTransitions(tmp_path / "buffer")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_storage_that_is_not_full(tmp_path):
    buffer = ReplayBuffer(storage=LazyMemmapStorage(500, scratch_dir=str(tmp_path / "scratch")))
    buffer.extend(batch())
    with pytest.raises(ValueError, match=r"last row is all zeros.* ReplayBuffer\.dumps"):
        StoredTransitions(tmp_path / "scratch")
    full = ReplayBuffer(storage=LazyMemmapStorage(129, scratch_dir=str(tmp_path / "full")))
    full.extend(batch())
    assert counts(StoredTransitions(tmp_path / "full"))[0] == ("7.5", 88, 88, 41)


def test_an_order_needs_labels():
    with pytest.raises(ValueError, match="no `order` for .* which has no column `task`"):
        StoredTransitions.from_tensordict(
            torch.stack([batch()[:40]] * 2).exclude("task"), order=[1]
        )
