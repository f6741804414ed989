"""benchmarks/regret_bound.py: its plans and regrets, against what is known exactly."""

import sys
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import regret_bound as benchmark

from hgm.envs.bank import BANK, blocks
from hgm.envs.bank.goals import effort
from hgm.geometry import Geometry

SHORT = replace(BANK["cone"], max_steps=6, start=blocks.normal(0.3, 2))
TASKS = torch.tensor([[0.0, 0.8], [1.0, 0.8]]).double()


def straight(task):
    goal = blocks.goal(task)
    return lambda time, state: blocks.disc(goal - state)


def geometry(rate=1.0):
    turn = blocks.spin(2, 0)
    coords = torch.tensor([[0.0], [1.0]]).double()
    return Geometry(turn, rate * turn, coords, 2, "found", "so(2)")


def test_the_plan_goes_straight_to_the_goal():
    plan, best = (make(TASKS[1]) for make in (lambda t: benchmark.plan(SHORT, t), straight))
    away = torch.tensor([[0.0, 0.0], [-0.5, 0.5], [0.9, -0.4]]).double()
    assert_close(plan(0, away), best(0, away), atol=0.05, rtol=0)
    mine, theirs = (benchmark.returns(SHORT, TASKS[1], one, 200, 0) for one in (plan, best))
    assert float((theirs - mine).mean()) == pytest.approx(0, abs=0.001)


def test_the_plan_knows_the_wind_and_the_price_of_actions():
    windy = replace(benchmark._windy(0.03), max_steps=6)
    task = torch.tensor([0.0, 0.8, 0.03, 1.5]).double()
    goal = blocks.goal(task)[None]
    against = -0.03 * blocks.unit(task[3:])
    assert_close(benchmark.plan(windy, task)(0, goal)[0], against, atol=0.01, rtol=0)
    dear = replace(SHORT, reward=blocks.plus(blocks.cone, effort(1e3)))
    assert benchmark.plan(dear, TASKS[0])(0, torch.zeros(1, 2).double()).norm() < 0.02


def test_a_symmetry_has_no_regret_and_a_wrong_one_has():
    (none,) = benchmark.regrets(SHORT, TASKS, geometry(), 100)
    (some,) = benchmark.regrets(SHORT, TASKS, geometry(0.0), 100)
    assert abs(none) < 1e-3
    assert some > 0.05


def test_the_summary_counts_what_agents_may_use():
    entries = [
        {"bound": 0.1, "undetected": 1.0, "regret": 0.05},
        {"bound": 0.1, "undetected": 1.0, "regret": 0.2},
        {"bound": 0.1, "undetected": 1.0, "regret": -1e-5},
        {"bound": None, "undetected": None},
    ]
    found = benchmark.summary(entries)
    assert (found["runs"], found["counted"]) == (4, 3)
    assert found["seen"] == {"holds": 2, "ratio": [0.5, 1.25, 2.0]}
    assert found["seen and unseen"] == {"holds": 3, "ratio": [5.5, 13.8, 22.0]}
