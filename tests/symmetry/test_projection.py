"""Directions by values of rewards."""

import pytest
import torch
from systems import randn
from torch.testing import assert_close

from hgm.symmetry.projection import turned_by_values

MIX = torch.linalg.qr(randn(5, 5, seed=3)).Q
GOALS = torch.tensor([[1.0, 0.2], [-0.4, 0.9], [0.3, -1.1]]).double()


def smooth(seen):
    return -torch.log1p((seen - GOALS[:, None]).square().sum(-1))


def with_kinks(seen):
    return -(seen - GOALS[:, None]).abs().sum(-1)


def off(found):
    """The sine of the largest angle between what was found and what rewards see."""
    return float(torch.linalg.matrix_norm(found - found @ MIX[:2].mT @ MIX[:2], 2))


def start(angle):
    return torch.linalg.qr((MIX[:2] + angle * randn(2, 3, seed=4) @ MIX[2:]).mT).Q.mT


# Without noise 256 waves misfit by about 1e-5 of a smooth reward; kinks have a tenth of a per cent;
# noise of 5% on 4,500 rewards tells an angle to about .05 / sqrt(4500) = 7e-4.
@pytest.mark.parametrize(
    ("rewards", "noise", "tolerance"),
    [(smooth, 0.0, 3e-5), (with_kinks, 0.0, 2e-3), (smooth, 0.05, 3e-3)],
)
def test_values_tell_directions_from_a_rough_start(rewards, noise, tolerance):
    points = randn(3, 1500, 5)
    reward = rewards((points @ MIX.mT)[..., :2])
    reward = reward + noise * randn(*reward.shape, seed=9)
    assert off(start(0.1)) > 0.05
    found = turned_by_values(start(0.1), points, reward)
    assert_close(found @ found.mT, torch.eye(2).double(), atol=1e-12, rtol=0)
    assert off(found) < tolerance


def test_one_direction_is_turned_as_well():
    points = randn(2, 800, 3)
    axis = torch.tensor([[0.6, 0.0, 0.8]]).double()
    reward = ((points @ axis.mT)[..., 0] - torch.tensor([[0.3], [-0.5]])).square()
    found = turned_by_values(torch.tensor([[0.8, 0.0, 0.6]]).double(), points, reward)
    assert_close(found * found[0, 0].sign(), axis, atol=1e-6, rtol=0)


def test_tasks_have_rewards_of_their_own():
    """Each sees one direction only: together they tell both."""
    points = randn(2, 1000, 4)
    axes = torch.linalg.qr(randn(4, 4, seed=1)).Q[:2]
    seen = points @ axes.mT
    reward = torch.stack((seen[0, :, 0].sin(), seen[1, :, 1].cos()))
    rough = torch.linalg.qr((axes + 0.1 * randn(2, 4, seed=2)).mT).Q.mT
    found = turned_by_values(rough, points, reward)
    assert float((found - found @ axes.mT @ axes).norm()) < 1e-4


def test_noise_turns_nothing():
    points = randn(3, 60, 5)
    rough = start(0.1)
    found = turned_by_values(rough, points, randn(3, 60, seed=8))
    assert torch.equal(found, rough)
