"""Families seen through a bent map: the contract, and what the truth says there."""

import pytest
import torch
from torch.testing import assert_close

from hgm import lie
from hgm.envs import Navigation, Scattered, Warped
from hgm.testing import check_family


@pytest.mark.parametrize("family", [Warped(), Warped(Scattered(kind="quadrics"), bend=-0.3)])
def test_it_keeps_the_contract(family):
    check_family(family)


def test_what_is_seen_is_the_state_through_the_map():
    plain, seen = Navigation(), Warped()
    tasks = plain.train_tasks(3)
    assert torch.equal(seen.train_tasks(3), tasks)
    assert torch.equal(seen.test_tasks(5, 3), plain.test_tasks(5, 3))
    first, second = (family.make_env(tasks, 2, 7) for family in (plain, seen))
    start, same = first.reset(), second.reset()
    assert_close(seen.chart(same["observation"]).float(), start["observation"])
    action = torch.full((4, 2, 2), 0.07)
    after, reached = (
        env.step(one.set("action", action))["next"] for env, one in ((first, start), (second, same))
    )
    assert_close(seen.chart(reached["observation"]).float(), after["observation"])
    assert_close(reached["reward"], after["reward"])
    goals = seen.chart(seen.goals(tasks)).float()
    assert_close(goals, plain.goals(tasks))


def test_no_linear_map_does_what_the_true_elements_do():
    family = Warped()
    states = torch.randn(300, 2, generator=torch.Generator().manual_seed(0)).double()
    truth = family.truth(family.train_tasks(0).double())
    moved = truth.chart.inverse(lie.act(truth.elements[1], truth.chart(states)))
    linear = torch.linalg.lstsq(states, moved).solution
    assert (states @ linear - moved).norm() > 0.05 * moved.norm()


def test_the_optimum_goes_straight_where_nobody_sees_it():
    family = Warped(Navigation(noise=0.0))
    tasks = family.train_tasks(0)
    policy, env = family.optimal_policy(tasks), family.make_env(tasks, 1, 0)
    end = env.rollout(20, policy, break_when_any_done=False)
    assert end["next", "terminated"].any(2).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"family": Navigation(dim_state=3)}, "2 state dimensions"),
        ({"family": 3}, "`family` to be a TaskFamily"),
        ({"stretch": 0.0}, "stretch"),
        ({"bend": float("inf")}, "bend"),
    ],
)
def test_arguments_out_of_range_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        Warped(**arguments)
