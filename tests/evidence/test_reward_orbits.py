"""Rewards of several orbits are judged orbit by orbit."""

import math
from types import SimpleNamespace

import torch
from systems import TURN, randn

from hgm import lie
from hgm.evidence.orbits import judged_tasks, rewards_of_orbits
from hgm.evidence.rewards import one_reward
from hgm.symmetry.orbit import Orbit
from hgm.symmetry.samples import Seen

ANGLES = torch.tensor([0.0, 0.9, -1.4, 0.0, 2.1, 0.4]).double()
TURNS = lie.exp(ANGLES[:, None, None] * TURN)
SURE = torch.zeros(6).double()


def seen(kinds, num=500, seed=0):
    """Rewards of one of three shapes, moved by the elements."""
    points = randn(6, num, 2, seed=seed)
    x, y = lie.act(torch.linalg.inv(TURNS), points).unbind(-1)
    shapes = torch.stack((torch.sin(1.3 * x - 0.4) + y, torch.cos(x * y), torch.tanh(2 * y)))
    rewards = shapes[torch.tensor(kinds), torch.arange(6)]
    return Seen(points, rewards)


def judged(kinds, bases):
    parts = (seen(kinds), seen(kinds, 250, seed=60))
    return rewards_of_orbits(TURNS, TURN, SURE, *parts, torch.tensor(bases))


def test_one_orbit_is_judged_as_it_always_was():
    kinds, parts = [0] * 6, (seen([0] * 6), seen([0] * 6, 250, seed=60))
    assert judged(kinds, [0] * 6) == one_reward(TURNS, TURN, SURE, *parts)


def test_every_orbit_has_a_reward_of_its_own():
    kinds = [0, 0, 0, 1, 1, 1]
    assert judged(kinds, [0] * 6).statement.broken
    found = judged(kinds, [0, 0, 0, 3, 3, 3])
    assert not found.statement.broken
    assert found.calibration == "same"


def test_an_orbit_that_has_none_breaks_the_statement():
    assert judged([0, 0, 0, 1, 1, 2], [0, 0, 0, 3, 3, 3]).statement.broken


def test_a_task_that_is_alone_breaks_nothing():
    assert not judged([0, 0, 0, 1, 1, 2], [0, 0, 0, 3, 3, 5]).statement.broken


def test_where_all_tasks_are_alone_nothing_is_known():
    found = judged([0, 1, 2, 0, 1, 2], [0, 1, 2, 3, 4, 5])
    assert found.statement.holds is None
    assert not found.statement.broken
    assert found.largest == math.inf


def test_orbits_of_which_no_task_led_the_search_are_judged_too():
    leading = torch.tensor([0, 2, 4])
    deviation = torch.tensor([0.25, 0.5]).double()
    orbits = (Orbit([0, 2, 4, 5], None), Orbit([1, 3], None))
    findings = SimpleNamespace(
        problem=SimpleNamespace(leading=leading), deviation=deviation, orbits=orbits
    )
    judged, doubt = judged_tasks(findings)
    assert judged.tolist() == [0, 2, 4, 1, 3]
    assert doubt.tolist() == [0.0, 0.25, 0.5, 0.0, 0.0]
    findings.orbits = ()
    assert judged_tasks(findings)[0].tolist() == [0, 2, 4]
