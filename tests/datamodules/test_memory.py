"""The latest rows, drawn evenly, and a state that holds them and nothing else."""

import pytest
import torch
from tensordict import TensorDict

from hgm.datamodules.memory import Memory

CPU = torch.device("cpu")


def rows(start, stop):
    value = torch.arange(start, stop)
    return TensorDict({"x": value, "next": {"y": 2.0 * value[:, None]}}, [stop - start])


def filled(num, size=10):
    memory = Memory(size, CPU)
    for start in range(0, num, 4):
        memory.extend(rows(start, min(start + 4, num)))
    return memory


@pytest.mark.parametrize("num", [1, 4, 9, 10, 11, 27])
def test_the_latest_rows_are_kept(num):
    memory = filled(num)
    assert len(memory) == min(num, 10)
    assert set(memory[:]["x"].tolist()) == set(range(max(0, num - 10), num))
    assert (memory[:]["next", "y"][:, 0] == 2 * memory[:]["x"]).all()


@pytest.mark.parametrize("num", [0, 3, 10, 27])
def test_a_restored_memory_goes_on_as_the_other(num, tmp_path):
    memory = filled(num)
    torch.save(memory.state_dict(), tmp_path / "memory.pt")
    again = filled(5)
    again.load_state_dict(torch.load(tmp_path / "memory.pt", weights_only=True))
    assert len(again) == len(memory)
    for each in (memory, again):
        each.extend(rows(100, 103))
    assert torch.equal(again[:]["x"], memory[:]["x"])
    assert torch.equal(again[:]["next", "y"], memory[:]["next", "y"])


def test_the_state_holds_what_was_filled_and_nothing_else(tmp_path):
    state = filled(3, size=1_000_000).state_dict()
    assert state["rows"]["x"].tolist() == [0, 1, 2]
    torch.save(state, tmp_path / "memory.pt")
    assert (tmp_path / "memory.pt").stat().st_size < 10_000
    assert filled(0).state_dict() == {}


def test_the_state_is_a_copy():
    memory = filled(3)
    state = memory.state_dict()
    memory.extend(rows(3, 13))
    assert state["rows"]["x"].tolist() == [0, 1, 2]


def test_samples_are_drawn_from_all_rows_and_repeat():
    memory = filled(10)
    draws = [memory.sample(4000, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    assert torch.equal(draws[0]["x"], draws[1]["x"])
    assert not torch.equal(draws[0]["x"], draws[2]["x"])
    counts = draws[0]["x"].bincount(minlength=10)
    assert (counts - 400).abs().max() < 5 * 400**0.5
