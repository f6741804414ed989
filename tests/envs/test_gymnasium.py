"""Environments of Gymnasium as task families: they keep the contract, and hide what they should."""

import os
import signal
import time
import warnings

import gymnasium
import numpy as np
import pytest
import torch
from drifting import BOX, Drift, observe, observe_arm, sample_tasks, set_target, set_task
from gymnasium.spaces import Box, Dict, Discrete
from torch.testing import assert_close

from hgm.datamodules import Transitions
from hgm.envs import GymnasiumFamily
from hgm.envs.rollouts import returns, walk
from hgm.testing import check_family


def drift(make_env=Drift, **arguments):
    arguments = {"observe": observe, "max_steps": 12, **arguments}
    return GymnasiumFamily(make_env, sample_tasks, set_task, 3, **arguments)


def run(family, num_steps=30, seed=0, copies=2, size=1.0):
    """Transitions ``[3, copies, num_steps]`` of random actions, with resets on the way."""
    draw = torch.Generator().manual_seed(1)
    env = family.make_env(family.train_tasks(0), copies, seed)

    def act(now):
        return size * (2 * torch.rand(*now.shape, 2, generator=draw) - 1)

    steps = [moved for moved, _ in walk(env, act, num_steps)]
    env.close()
    return torch.stack(steps, 2)


def copies_of(env):
    return env._copies._envs


def test_reacher_keeps_the_contract():
    family = GymnasiumFamily("Reacher-v5", sample_tasks, set_target, 4, observe_arm)
    assert (family.dim_state, family.dim_action, family.max_steps) == (8, 2, 50)
    check_family(family)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_pendulum_keeps_the_contract(num_workers):
    def lengths(num, generator):
        return 1 + torch.rand(num, 1, generator=generator)

    def set_length(env, task):
        env.unwrapped.l = task[0]

    check_family(
        GymnasiumFamily(
            "Pendulum-v1", lengths, set_length, 2, max_steps=40, num_workers=num_workers
        )
    )


def test_a_noisy_environment_that_ends_keeps_the_contract():
    check_family(drift())


def test_the_goal_of_reacher_is_the_tasks_after_every_reset():
    family = GymnasiumFamily("Reacher-v5", sample_tasks, set_target, 4, observe_arm, max_steps=3)
    tasks = family.train_tasks(0)
    env = family.make_env(tasks, 2, 0)
    for moved, _ in walk(env, lambda now: torch.zeros(4, 2, 2), 8):
        tip, goals = moved["next", "observation"][..., 6:], tasks[:, None]
        assert_close(moved["next", "reward"][..., 0], -(tip - goals).norm(dim=-1))


def test_the_task_is_told_before_and_after_every_reset():
    env = drift().make_env(tasks := drift().train_tasks(0), 1, 0)
    env.reset()
    env.reset()
    for made, task in zip(copies_of(env), tasks.double().numpy(), strict=True):
        before = [goal for what, goal in made.log if what == "reset"]
        assert len(before) == 3  # the first only tells it the task, and is never seen
        assert (before[1:] == np.stack((task, task))).all()
        assert (made.goal == task).all()


def test_an_environment_that_changes_what_it_was_told_does_not_change_the_task():
    class Moving(Drift):
        def step(self, action):
            self.goal += 1.0
            return super().step(action)

    def hand_over(env, task):
        env.goal = task

    family = GymnasiumFamily(Moving, sample_tasks, hand_over, 3, observe, max_steps=4)
    data = run(family, 12, size=0.1)
    goals = family.train_tasks(0)[:, None, None] + 1 + torch.arange(12)[:, None] % 4
    expected = -(data["next", "observation"] - goals).norm(dim=-1)
    assert_close(data["next", "reward"][..., 0], expected)


def test_observations_stay_as_they_are_whatever_observe_does_to_them():
    def halved(seen):
        seen *= 0.5
        return seen[..., :2]

    family = drift(observe=halved)
    env = family.make_env(family.train_tasks(0), 1, 0)
    start = env.reset()["observation"]
    rows = env.get_extra_state()["rows"]
    assert_close(rows[:, :2].float(), 2 * start[:, 0])


def test_states_of_another_size_than_at_first_are_refused():
    family = drift(observe=lambda seen: seen[:, : 2 if len(seen) < 6 else 1])
    with pytest.raises(ValueError, match=r"`observe` to make states \(6, 2\), got \(6, 1\)"):
        run(family)


def test_what_set_task_returns_is_what_is_observed():
    def set_and_see(env, task):
        env.goal = task.copy()
        return env.seen()

    with pytest.warns(UserWarning, match=r"components \[2, 3\]"):
        shown = GymnasiumFamily(Drift, sample_tasks, set_and_see, 3, max_steps=5)
    tasks = shown.train_tasks(0)
    start = shown.make_env(tasks, 1, 0).reset()["observation"][:, 0]
    assert_close(start[:, 2:], tasks)
    with pytest.warns(UserWarning, match="hide the task"):
        stale = GymnasiumFamily(Drift, sample_tasks, set_task, 3, max_steps=5)
    other = stale.make_env(tasks, 1, 0).reset()["observation"][:, 0]
    assert not torch.isclose(other[:, 2:], tasks).any()
    assert torch.equal(other[:, :2], start[:, :2])


def test_time_limits_truncate_and_never_terminate():
    data = run(drift(), 30, size=0.1)
    ends = torch.arange(1, 31) % 12 == 0
    assert (data["next", "truncated"][..., 0] == ends).all()
    assert not data["next", "terminated"].any()
    limited = drift(lambda: gymnasium.wrappers.TimeLimit(Drift(), 7), max_steps=None)
    assert limited.max_steps == 7
    assert (run(limited, 14, size=0.1)["next", "truncated"][..., 6, 0]).all()


def test_a_time_limit_whose_wrapper_was_taken_off_does_not_count():
    def set_mass(env, task):
        env.m = 1 + task[0]

    def bare():
        return gymnasium.make("Pendulum-v1").unwrapped

    assert GymnasiumFamily(bare, sample_tasks, set_mass, max_steps=300).max_steps == 300


def test_ends_terminate_and_show_the_last_state():
    data = run(drift(max_steps=200), 60)
    over = data["next", "observation"].abs().amax(-1, keepdim=True) > 1
    assert over.any()
    assert (data["next", "terminated"] == over).all()
    assert not data["next", "truncated"].any()
    after = data["observation"][:, :, 1:][over[:, :, :-1, 0]]
    assert (after.abs() < 0.6).all()  # the next episode's start


def test_copies_that_are_done_stand_still_until_they_start_anew():
    env = drift(max_steps=200).make_env(drift().train_tasks(0), 1, 0)
    out = lambda now: torch.ones(3, 1, 2)  # noqa: E731
    steps = [moved["next"] for moved, _ in walk(env, out, 12, reset=False)]
    assert steps[-1]["terminated"].all()
    assert torch.equal(steps[-1]["observation"], steps[-2]["observation"])
    assert (steps[-1]["reward"] == 0).all()
    assert all(made.over for made in copies_of(env))
    assert not env.reset()["done"].any()


def test_two_policies_meet_the_same_starts_and_noise():
    family, found = drift(), []
    for num in (0, 1):
        env = family.make_env(family.train_tasks(0), 2, 3)
        policy = lambda now: now.set("action", now["observation"] * 0)  # noqa: E731
        if num:  # a copy that ends at once changes nothing for the others
            policy = lambda now: now.set("action", torch.eye(2)[0] * torch.ones(3, 2, 1))  # noqa: E731
        found.append(returns(env, policy, 12).trajectories)
    assert torch.equal(found[0]["observation"][:, :, 0], found[1]["observation"][:, :, 0])
    gap = found[1]["next", "observation"][:, :, 0] - found[0]["next", "observation"][:, :, 0]
    assert_close(gap, torch.tensor([0.2, 0.0]).expand_as(gap))


@pytest.mark.parametrize("num_workers", [2, 3, 4])
def test_workers_change_nothing(num_workers):
    one, many = run(drift()), run(drift(num_workers=num_workers))
    for key in ("observation", ("next", "observation"), ("next", "reward"), ("next", "done")):
        assert torch.equal(one[key], many[key])


def test_a_worker_that_raises_says_what():
    family = drift(lambda: Drift(Box(-1.0, 1.0, (2,), np.float32)), num_workers=2)
    family._recipe.action_space.high[:] = 2.0  # so that the environment's own assertion fails
    env = family.make_env(family.train_tasks(0), 1, 0)
    with (
        warnings.catch_warnings(action="ignore"),  # Gymnasium's, with the worker's traceback
        pytest.raises(ValueError, match="AssertionError"),
    ):
        list(walk(env, lambda now: torch.full((3, 1, 2), 2.0), 1))


def test_ctrl_c_leaves_workers_to_the_process_that_started_them():
    family = drift(num_workers=2)
    env = family.make_env(family.train_tasks(0), 1, 0)
    env.reset()
    workers = env._copies._vector.processes
    for worker in workers:
        os.kill(worker.pid, signal.SIGINT)
    time.sleep(0.05)
    assert env.reset()["observation"].isfinite().all()
    env.close()
    assert not any(worker.is_alive() for worker in workers)


def test_actions_are_within_bounds_of_double_precision():
    tenth = Box(-0.1, 0.1, (2,), np.float64)  # below the nearest number of single precision
    data = run(drift(lambda: Drift(tenth)), 3, size=1.0)
    assert (data["action"].abs() > 0.1).any()
    assert torch.equal(drift(lambda: Drift(tenth)).action_box()[1], torch.full((2,), 0.1))


def test_observations_of_double_precision_become_single():
    data = run(drift(lambda: Drift(space=Box(-np.inf, np.inf, (4,), np.float64))), 3)
    assert data["observation"].dtype == data["next", "reward"].dtype == torch.float32


class Parts(gymnasium.ObservationWrapper):
    """The same in a Dict, as environments with goals have it."""

    def __init__(self):
        super().__init__(Drift())
        place = Box(-np.inf, np.inf, (2,))
        self.observation_space = Dict({"achieved": place, "kind": Discrete(3), "desired": place})

    def observation(self, observation):
        return {"achieved": observation[:2], "kind": 1, "desired": observation[2:]}


def test_observations_of_a_dict_are_given_by_name():
    family = drift(Parts, observe=lambda seen: seen["achieved"])
    assert torch.equal(run(family)["observation"], run(drift())["observation"])
    kinds = drift(Parts, observe=lambda seen: np.hstack((seen["achieved"], seen["kind"])))
    assert (run(kinds)["observation"][..., 2:] == torch.tensor([0.0, 1.0, 0.0])).all()


def test_actions_of_any_shape_are_flat():
    wide = drift(lambda: gymnasium.wrappers.TransformAction(
        Drift(), lambda action: action[0], Box(-1.0, 1.0, (1, 2), np.float64)
    ))  # fmt: skip
    assert wide.dim_action == 2
    assert torch.equal(run(wide)["next", "observation"], run(drift())["next", "observation"])


def test_transitions_are_collected_from_it():
    data = Transitions(drift(), num_transitions=40)
    batch = next(iter(data.train_dataloader()))
    assert batch["next", "observation"].shape == (3, 36, 2)
    gaps = batch["next", "observation"] - batch["observation"] - 0.2 * batch["action"]
    assert gaps.abs().max() < 0.06  # noise of 0.01: no transition runs across a reset


def test_closing_closes_every_environment():
    family = drift()
    env = family.make_env(family.train_tasks(0), 2, 0)
    env.reset()
    made = list(copies_of(env))
    env.close()
    assert [one.closed for one in made] == [1] * 6
    assert BOX.high.max() == 1.0
