"""Tasks that took no part are found in the group, by the one reward of those that did."""

import math

import pytest
import torch
from systems import TURN, randn

from hgm import lie
from hgm.groups import SO
from hgm.symmetry.location import located
from hgm.symmetry.pooling import PooledModel
from hgm.symmetry.scaled import Spanned
from hgm.symmetry.subgroup import LeftActions, Subgroup

NOISE = 0.02
LED = torch.tensor([[0.9], [-1.4]]).double()
GROUP = Spanned(TURN, 2)


def reward(points):
    return torch.sin(1.3 * points[..., 0] - 0.4) + 0.5 * torch.cos(points[..., 1])


def data(group, coords, num, seed):
    """Points of tasks at coordinates ``(N, d)``, and rewards ``R(L^{-1} p)`` with noise."""
    points = randn(len(coords), num, 2, seed=seed)
    back = torch.linalg.inv(group.exp(coords))
    return points, reward(lie.act(back, points)) + NOISE * randn(len(coords), num, seed=seed + 1)


def pooled(group, led, num=400):
    """The one reward of the base task and of two others, which led."""
    subgroup = Subgroup(group, LeftActions(torch.eye(group.dim_algebra).double(), led), fixed=True)
    noise = torch.full((3,), NOISE).double()
    model = PooledModel(subgroup, subgroup.start, noise)
    points, values = data(group, torch.cat((torch.zeros_like(led[:1]), led)), num, seed=0)
    for _ in range(3):
        model.step(points, values)
    return model


@pytest.fixture(scope="module")
def pool():
    with torch.no_grad():
        return pooled(SO(2).double(), LED)


def apart(found, truth):
    """Angles between, whichever way round."""
    return (torch.remainder(found - truth + math.pi, 2 * math.pi) - math.pi).abs()


@pytest.mark.parametrize(("num_tasks", "num"), [(5, 300), (1, 800), (65, 40)])
@torch.no_grad()
def test_other_tasks_are_found_wherever_they_are(pool, num_tasks, num):
    truth = torch.linspace(-3.1, 3.1, num_tasks)[:, None].double()
    points, values = data(GROUP, truth, num, seed=20)
    found = located(GROUP, pool, points, values, GROUP.spread(24, LED))
    assert found.shape == (num_tasks, 1)
    error = apart(found, truth)[:, 0]
    # About what the noise allows: a slope of one half over `num` points.
    assert (error < 6 * NOISE / (0.4 * num**0.5)).all()


@torch.no_grad()
def test_every_task_is_found_for_itself(pool):
    truth = torch.tensor([[0.3], [-2.0], [2.9]]).double()
    points, values = data(GROUP, truth, 200, seed=30)
    starts = GROUP.spread(24, LED)
    together = located(GROUP, pool, points, values, starts)
    for task in range(3):
        alone = located(GROUP, pool, points[task : task + 1], values[task : task + 1], starts)
        torch.testing.assert_close(alone[0], together[task])


@torch.no_grad()
def test_a_few_gross_errors_hardly_pull(pool):
    truth = torch.tensor([[1.9]]).double()
    points, values = data(GROUP, truth, 400, seed=40)
    values[:, ::10] += 3.0
    found = located(GROUP, pool, points, values, GROUP.spread(24, LED))
    assert apart(found, truth) < math.radians(1.5)


@torch.no_grad()
def test_tasks_are_found_in_groups_of_several_dimensions():
    shifts = torch.zeros(2, 3, 3).double()
    shifts[0, 0, 2] = shifts[1, 1, 2] = 1.0
    group = Spanned(shifts, 2)
    led = torch.tensor([[0.8, -0.3], [-0.5, 0.7]]).double()
    pool = pooled(group, led)
    truth = torch.tensor([[0.6, 0.6], [-0.7, -0.2], [0.1, -0.5]]).double()
    points, values = data(group, truth, 400, seed=50)
    found = located(group, pool, points, values, group.spread(48, led))
    assert (found - truth).norm(dim=1).max() < 0.02
