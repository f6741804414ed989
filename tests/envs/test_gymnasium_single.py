"""Families as environments of Gymnasium: registered, checked by Gymnasium, with a hidden task."""

import subprocess
import sys
import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from numpy.testing import assert_allclose, assert_array_equal

from hgm.envs import CartPole, Circles, Navigation, SingleTask
from hgm.registration import FAMILIES, register

TASK = [0.0, 1.0, 1.0, 0.0, 1.0]  # the goal, and the reward as it is


@pytest.mark.parametrize("name", FAMILIES)
def test_gymnasiums_own_check_has_nothing_to_say(name):
    env = gymnasium.make(f"hgm/{name}-v0")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env.unwrapped)


def test_families_are_registered_when_they_are_imported():
    code = "import hgm.envs, gymnasium; print('hgm/Navigation-v0' in gymnasium.registry)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"
    register()  # a second time, without a warning


def test_arguments_of_the_family_are_those_of_make():
    env = gymnasium.make("hgm/Navigation-v0", dim_state=3, max_steps=7, task=[0, 0, 1, 1, 0, 1])
    observation, _ = env.reset(seed=0)
    assert observation.shape == (3,)
    ends = [env.step(np.zeros(3, np.float32))[2:4] for _ in range(7)]
    assert ends == [(False, False)] * 6 + [(False, True)]
    assert_array_equal(env.unwrapped.task, [0, 0, 1, 1, 0, 1])


def test_an_episode_to_the_goal():
    env = SingleTask(Navigation(noise=0.0))
    observation, info = env.reset(seed=0, options={"task": TASK})
    for count in range(1, 12):
        observation, reward, terminated, truncated, info = env.step(np.array([0.0, 0.2]))
        assert_allclose(observation, [0.0, 0.1 * count], atol=1e-6)
        assert reward == pytest.approx(-abs(1 - 0.1 * count), abs=1e-6)
        assert not truncated
        assert info == {"success": terminated}
        if terminated:
            break
    assert count == 9


@pytest.mark.parametrize("limit", [5, 60])
def test_where_episodes_end_by_a_fall_success_is_to_stand_till_the_end(limit):
    env = SingleTask(CartPole(max_steps=limit))
    env.reset(seed=0)
    for _ in range(limit):
        *_, terminated, truncated, info = env.step(np.array([0.0, 1.0]))
        assert info == {"success": truncated and not terminated}
        if terminated or truncated:
            break
    assert info["success"] == (limit == 5)  # pushed one way, it falls after about ten steps


def test_every_reset_draws_a_task_and_its_seed_says_which():
    env = SingleTask(Navigation())
    drawn = []
    for seed in (3, None, 3, None):
        start, _ = env.reset(seed=seed)
        drawn.append((*env.task.tolist(), *start.tolist()))
    assert drawn[:2] == drawn[2:]
    assert drawn[0] != drawn[1]
    fixed = SingleTask(Navigation(), TASK)
    starts = [fixed.reset(seed=seed)[0].tolist() for seed in (3, None, 3)]
    assert fixed.task.tolist() == TASK
    assert starts[0] == starts[2] != starts[1]
    fixed.reset(options={"task": [1.0, 0.0, 1.0, 0.0, 1.0]})
    assert fixed.task[0] == 1
    fixed.reset()
    assert fixed.task.tolist() == TASK


def test_the_task_stays_hidden():
    env = SingleTask(Circles())
    observation, info = env.reset(seed=0)
    assert info == {"success": False}
    seen = np.concatenate([observation, *(env.step(env.action_space.sample())[0] for _ in "abc")])
    assert not np.isin(env.task.numpy()[:2], seen).any()


def test_several_at_once():
    envs = gymnasium.make_vec("hgm/Navigation-v0", num_envs=3)
    observation, _ = envs.reset(seed=0)
    assert observation.shape == (3, 2)
    *_, info = envs.step(envs.action_space.sample())
    assert info["success"].tolist() == [False] * 3
    envs.close()


@pytest.mark.parametrize("task", [[0.0, 1.0], [[0.0]], [np.nan] * 5])
def test_tasks_of_another_size_are_named(task):
    with pytest.raises(ValueError, match="`task` to be 5 finite numbers.*Navigation.sample_tasks"):
        SingleTask(Navigation(), task)


def test_what_else_is_wrong_is_named():
    with pytest.raises(TypeError, match="`family` to be a hgm.envs.TaskFamily, got 5"):
        SingleTask(5)
    env = SingleTask(Navigation())
    with pytest.raises(gymnasium.error.ResetNeeded, match="`reset` before `step`"):
        env.step(np.zeros(2))
    with pytest.raises(ValueError, match=r"key 'task' at most, got \{'goal': 3\}"):
        env.reset(options={"goal": 3})
