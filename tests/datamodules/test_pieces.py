"""Recordings that are read piece by piece: what is in a piece, on one process and on several."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from hgm.datamodules import StoredTransitions, Transitions, recorded
from hgm.datamodules.writing import write_recording
from hgm.envs import Navigation

NUM = 4000


@pytest.fixture
def path(tmp_path):
    draw = np.random.default_rng(0).normal
    state, action = draw(size=(2, 2, NUM, 2))
    state[..., 0] = np.arange(NUM)  # tells the time
    content = {"observation": state, "action": action, "next_observation": state + action}
    np.savez(tmp_path / "a.npz", **content, reward=draw(size=(2, NUM)))
    return tmp_path / "a.npz"


def on_rank(path, rank, size, **options):
    data = StoredTransitions(path, **options)
    data.trainer = SimpleNamespace(global_rank=rank, world_size=size, current_epoch=0)
    return data


def times(batches):
    return [batch["observation"][0, :, 0] for batch in batches]


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(recorded, "PIECE", 1000)  # transitions of both tasks
    monkeypatch.setattr(recorded, "HELD", 1000)


def test_few_transitions_are_one_piece_in_the_order_of_time(path):
    (batch,) = times(StoredTransitions(path).train_dataloader())
    assert len(batch) == 3600
    assert (batch.diff() > 0).all()


def test_pieces_are_a_partition_and_each_is_of_the_whole_time(path, small):
    data = StoredTransitions(path)
    pieces, (held,) = times(data.train_dataloader()), times(data.val_dataloader())
    assert len(pieces) == len(data.train_dataloader()) == 8
    assert len(held) == 400
    assert sorted(torch.cat((*pieces, held)).tolist()) == list(range(NUM))
    for piece in pieces:
        assert abs(len(piece) - 450) < 70
        assert piece.min() < 700
        assert piece.max() > 3300
        assert (piece.diff() > 0).all()
    assert all((a == b).all() for a, b in zip(pieces, times(data.train_dataloader()), strict=True))


def test_no_more_is_held_out_than_fits(path, small):
    (held,) = times(StoredTransitions(path, holdout_fraction=0.5).val_dataloader())
    assert len(held) == 500  # of each of two tasks: the rest is trained on
    pieces = times(StoredTransitions(path, holdout_fraction=0.5).train_dataloader())
    assert sum(map(len, pieces)) == 3500


@pytest.mark.parametrize("size", [2, 3])
def test_processes_share_every_piece(size, path, small):
    alone = StoredTransitions(path)
    ranks = [on_rank(path, rank, size) for rank in range(size)]
    for whole, parts in (
        (times(alone.train_dataloader()), [times(data.train_dataloader()) for data in ranks]),
        (times(alone.val_dataloader()), [times(data.val_dataloader()) for data in ranks]),
    ):
        assert len({len(part) for part in parts}) == 1
        for piece, *shares in zip(whole, *parts, strict=True):
            assert (torch.cat(shares) == piece).all()
            lengths = [len(share) for share in shares]
            assert max(lengths) - min(lengths) <= 1


def test_batches_of_a_given_size_are_drawn_anew_in_every_pass(path, small):
    data = StoredTransitions(path, batch_size=500)
    first, second = (times(data.train_dataloader()) for _ in range(2))
    assert [len(batch) for batch in first] == [500] * 7 + [100]
    assert sorted(torch.cat(first).tolist()) == sorted(torch.cat(second).tolist())
    assert (first[0] != second[0]).any()


def test_many_tasks_have_pieces_too(monkeypatch, tmp_path):
    monkeypatch.setattr(recorded, "PIECE", 320)  # 5 transitions of 64 tasks
    shape = (64, 100)
    content = dict.fromkeys(("observation", "next_observation", "action"), np.ones((*shape, 1)))
    np.savez(tmp_path / "a.npz", **content, reward=np.arange(6400.0).reshape(shape))
    data = StoredTransitions(tmp_path / "a.npz")
    rewards = [batch["next", "reward"][0, :, 0] for batch in data.train_dataloader()]
    assert len(rewards) == 18
    assert all(len(some) == 5 for some in rewards)
    assert len(torch.cat(rewards).unique()) == 90


@pytest.mark.parametrize(("num_tasks", "num"), [(3, 971), (10, 200), (50, 33), (2, 1000)])
def test_no_piece_is_larger_than_is_said(num_tasks, num, monkeypatch, tmp_path):
    monkeypatch.setattr(recorded, "PIECE", 1310)
    ones = np.ones((num_tasks, num, 1))
    content = dict.fromkeys(("observation", "next_observation", "action", "reward"), ones)
    np.savez(tmp_path / "a.npz", **content)
    data = StoredTransitions(tmp_path / "a.npz")
    sizes = [batch.numel() for batch in data.train_dataloader()]
    assert len(sizes) == len(data.train_dataloader()) > 1
    assert max(sizes) <= 1310
    assert min(sizes) > 400


def test_a_folder_stays_on_the_disk(tmp_path):
    """What is read is a view of the file until a piece is taken."""
    write_recording(Transitions(Navigation(), num_transitions=500), tmp_path / "a")
    data = StoredTransitions(tmp_path / "a")
    file = np.memmap(tmp_path / "a" / "observation.memmap", np.float32, "r+", shape=(4, 500, 2))
    before = data.recording.read(slice(None))["observation"].clone()
    file[:, 7] += 1
    after = data.recording.read(slice(None))["observation"]
    assert (after - before).nonzero()[:, 1].unique().tolist() == [7]
    assert (data.recording.read(torch.tensor([7]))["observation"][:, 0] == after[:, 7]).all()


def test_what_is_not_finite_is_found_wherever_it_is(path, small):
    data = StoredTransitions(path)
    data.recording._arrays["reward"][1, 3999] = torch.inf
    with pytest.raises(ValueError, match=r"`\('next', 'reward'\)` of task 1 has NaN"):
        list(data.train_dataloader()) + list(data.val_dataloader())
