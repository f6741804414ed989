"""Goals on several circles: the contract of families, and rewards that pin the scale."""

import math

import pytest
import torch
from torch.testing import assert_close

from hgm.envs import Circles
from hgm.testing import check_family


def test_it_keeps_the_contract():
    check_family(Circles())


def test_tasks_take_turns_on_the_circles():
    family = Circles(num_train_tasks=5, radii=[0.5, 1.0, 2.0])
    radii = family.goals(family.train_tasks(3)).norm(dim=-1)
    assert_close(radii, torch.tensor([0.5, 1.0, 2.0, 0.5, 1.0]))
    assert_close(family.goals(family.test_tasks(3, 3)).norm(dim=-1), radii[:3])
    other = Circles(test_radii=1.5)
    assert_close(other.goals(other.test_tasks(4, 3)).norm(dim=-1), torch.full((4,), 1.5))
    assert_close(other.goals(other.train_tasks(3)).norm(dim=-1), torch.tensor([1.0, 2.0] * 4))


def test_rewards_are_wells_of_one_width():
    family = Circles(width=0.5)
    tasks = family.train_tasks(0)
    goals = family.goals(tasks)
    assert_close(family.reward(goals, tasks), torch.zeros(8))
    away = goals + torch.tensor([0.3, 0.4])
    assert_close(family.reward(away, tasks), torch.full((8,), math.exp(-0.5) - 1))


def test_only_rotations_of_one_circle_are_near():
    family = Circles()
    tasks = family.train_tasks(0)
    apart = family.separation(tasks, tasks)
    same = torch.arange(8) % 2
    assert (apart[same[:, None] != same] == math.pi).all()
    assert_close(apart.diagonal(), torch.zeros(8).double())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"radii": []}, "Expected `radii` to list 1 radius or more"),
        ({"radii": [0.1]}, "radii"),
        ({"test_radii": [-1.0]}, "test_radii"),
        ({"width": 0.0}, "width"),
    ],
)
def test_arguments_out_of_range_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        Circles(**arguments)
