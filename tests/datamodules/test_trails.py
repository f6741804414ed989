"""Pieces of trajectories: consecutive steps of one copy, whatever was overwritten."""

import pytest
import torch
from tensordict import TensorDict

from hgm.datamodules.trails import Trails

CPU = torch.device("cpu")


def steps(first, num, agents=2, copies=3):
    """Steps that say who and when: agent * 10,000 + copy * 1,000 + time."""
    who = torch.arange(agents)[:, None] * 10_000 + torch.arange(copies) * 1_000
    what = who[..., None] + torch.arange(first, first + num)
    return TensorDict(
        id=what, next=TensorDict(id=what + 1, batch_size=what.shape)
    ).auto_batch_size_(3)


@pytest.mark.parametrize("rounds", [(4,), (4, 4, 4), (4, 7, 3), (30,)])
def test_pieces_are_consecutive_steps_of_one_copy(rounds):
    trails, time = Trails(10, CPU), 0
    for num in rounds:
        trails.extend(steps(time, num))
        time += num
    kept = min(time, 10)
    assert len(trails) == kept
    found = trails.sample(400, 4, torch.Generator().manual_seed(0))["id"]
    assert found.shape == (2, 400, 4)
    assert (found.diff(dim=-1) == 1).all()
    assert (found // 10_000 == torch.arange(2)[:, None, None]).all()
    assert set((found[..., 0] // 1_000 % 10).unique().tolist()) == {0, 1, 2}
    starts = set((found[..., 0] % 1_000).unique().tolist())
    assert starts == set(range(time - kept, time - 3))


def test_pieces_are_shorter_while_there_are_fewer_steps():
    trails = Trails(10, CPU)
    trails.extend(steps(0, 3))
    assert trails.sample(5, 8, torch.Generator()).shape == (2, 5, 3)


def test_state_goes_on_where_it_was():
    one, other = Trails(10, CPU), Trails(10, CPU)
    assert one.state_dict() == {}
    one.extend(steps(0, 13))
    other.load_state_dict(one.state_dict())
    for trails in (one, other):
        trails.extend(steps(13, 2))
    first, second = (x.sample(50, 4, torch.Generator().manual_seed(1)) for x in (one, other))
    assert (first == second).all()


def test_nothing_to_draw_from_is_said():
    with pytest.raises(ValueError, match="none yet"):
        Trails(10, CPU).sample(1, 2, torch.Generator())
