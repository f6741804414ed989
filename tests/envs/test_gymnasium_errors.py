"""What a stranger gets wrong with an environment of Gymnasium is named, with what is right."""

import gymnasium
import numpy as np
import pytest
import torch
from drifting import Drift, observe, sample_tasks, set_task
from gymnasium.spaces import Box, Discrete, Sequence

from hgm.envs import GymnasiumFamily, GymnasiumTasks, NamedFamily

GOOD = {
    "make_env": Drift,
    "sample_tasks": sample_tasks,
    "set_task": set_task,
    "observe": observe,
    "max_steps": 20,
}
ONE = Drift()


def nowhere(env, task):
    raise AttributeError("no `goal`")


def on_wrapper(env, task):
    env.goal = task


def limited():
    return gymnasium.wrappers.TimeLimit(Drift(), 10)


class Fragile(Drift):
    def step(self, action):
        raise RuntimeError("it broke")


class Short(Drift):
    def step(self, action):
        observation, *others = super().step(action)
        return observation[:1], *others


def rewarding(reward):
    return {"make_env": lambda: gymnasium.wrappers.TransformReward(Drift(), lambda _: reward)}


CASES = {
    "tasks": ({"num_train_tasks": 1}, ["`num_train_tasks`", "at least 2", "got 1"]),
    "workers": ({"num_workers": -1}, ["`num_workers`", "at least 0", "got -1"]),
    "steps": ({"max_steps": 0}, ["`max_steps`", "at least 1", "got 0"]),
    "no function": ({"sample_tasks": 3}, ["`sample_tasks`", "a function", "got 3"]),
    "no observe": ({"observe": 3}, ["`observe`", "a function", "got 3"]),
    "an environment": ({"make_env": ONE}, ["`make_env`", "a function", "Drift"]),
    "always the same": ({"make_env": lambda: ONE}, ["`make_env`", "new environment", "inside"]),
    "no environment": ({"make_env": dict}, ["`make_env`", "gymnasium.Env", "{}"]),
    "raises": ({"make_env": lambda: 1 / 0}, ["`make_env`", "ZeroDivisionError: division by zero"]),
    "no id": ({"make_env": "Raecher-v5"}, ["`id`", "registered", "'Raecher-v5'"]),
    "a module": ({"make_env": "robots:Arm-v0"}, ["'robots:Arm-v0'", "`import robots`", "'Arm-v0'"]),
    "a window": ({"make_env": lambda: Drift(render_mode="human")}, ["'human'", "leave it out"]),
    "discrete": ({"make_env": lambda: Drift(Discrete(3))}, ["Discrete(3)", "ActionWrapper"]),
    "integers": (
        {"make_env": lambda: Drift(Box(0, 3, (2,), np.int64))},
        ["Box of floats", "int64"],
    ),
    "unbounded": (
        {"make_env": lambda: Drift(Box(-np.inf, np.inf, (2,)))},
        ["finite bounds", "TransformAction"],
    ),
    "no numbers": (
        {"make_env": lambda: Drift(space=Sequence(Discrete(2)))},
        ["1 to 4096 numbers", "Sequence", "TransformObservation"],
    ),
    "pictures": (
        {"make_env": lambda: Drift(space=Box(0, 255, (84, 84), np.uint8))},
        ["1 to 4096 numbers", "(84, 84)"],
    ),
    "no limit": ({"max_steps": None}, ["`max_steps`", "no time limit", "max_steps=200"]),
    "beyond its limit": (
        {"make_env": limited},
        ["`max_steps`", "at most 10", "got 20", "max_episode_steps=20"],
    ),
    "a list": ({"sample_tasks": lambda num, generator: [1.0]}, ["`sample_tasks`", "(2, k)", "[1"]),
    "flat tasks": (
        {"sample_tasks": lambda num, generator: torch.rand(num, generator=generator)},
        ["`sample_tasks`", "(2, k)", "got (2,)"],
    ),
    "tasks of NaN": (
        {"sample_tasks": lambda num, generator: torch.full((num, 2), torch.nan)},
        ["`sample_tasks`", "finite tasks", "nan"],
    ),
    "tasks from elsewhere": (
        {"sample_tasks": lambda num, generator: torch.rand(num, 2)},
        ["`sample_tasks`", "equal seeds", "draw from `generator` only"],
    ),
    "task raises": ({"set_task": nowhere}, ["`set_task`", "AttributeError: no `goal`"]),
    "task on a wrapper": (
        {"make_env": limited, "max_steps": None, "set_task": on_wrapper},
        ["`goal`", "TimeLimit", "`env.unwrapped`"],
    ),
    "task returns": ({"set_task": lambda env, task: 3.0}, ["`set_task`", "or nothing", "got 3.0"]),
    "observe raises": ({"observe": lambda seen: seen["place"]}, ["`observe`", "IndexError"]),
    "observe rows": (
        {"observe": lambda seen: seen[:2]},
        ["`observe`", "(5, n)", "got shape (2, 4)"],
    ),
    "observe nothing": ({"observe": lambda seen: seen[:, :0]}, ["`observe`", "got shape (5, 0)"]),
    "observe NaN": ({"observe": lambda seen: seen * np.nan}, ["finite states", "NaN"]),
    "observe words": ({"observe": lambda seen: seen.astype(str)}, ["`observe`", "numbers", "<U"]),
    "step raises": ({"make_env": Fragile}, ["`step`", "RuntimeError: it broke"]),
    "rewards of NaN": (rewarding(np.nan), ["finite rewards", "NaN"]),
    "no rewards": (rewarding(None), ["`step`", "rewards to be numbers, got None"]),
    "vectors of rewards": (rewarding(np.ones(1)), ["`step`", "rewards to be numbers, got array"]),
    "one number for all": (
        {"make_env": lambda: gymnasium.wrappers.TransformReward(Short(), float)},
        ["`step`", "observations of Box", "got shape (1,)"],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_mistakes_are_named(name):
    changes, words = CASES[name]
    with pytest.raises(ValueError, match=".") as caught:
        GymnasiumFamily(**{**GOOD, **changes})
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


class Wrong(Drift):
    def reset(self, *, seed=None, options=None):
        return super().reset(seed=seed)[0][:3], {}


def test_observations_of_another_size_are_named():
    with pytest.raises(ValueError, match=r"`reset` to return an observation of Box.*\(3,\)"):
        GymnasiumFamily(**{**GOOD, "make_env": Wrong})


def test_tasks_that_change_nothing_are_told_of():
    with pytest.warns(UserWarning, match="are equal over 16 steps"):
        GymnasiumFamily(**{**GOOD, "set_task": lambda env, task: setattr(env, "gaol", task)})


@pytest.mark.parametrize("relative", [False, True])
def test_observations_that_show_the_task_are_told_of(relative):
    def seen(rows):
        return rows[:, :2] - rows[:, 2:] if relative else rows

    where = r"\[0, 1\]" if relative else r"\[2, 3\]"
    with pytest.warns(UserWarning, match=f"components {where} differ"):
        GymnasiumFamily(**{**GOOD, "observe": seen})


def test_named_families_need_one_environment():
    task = GymnasiumTasks(sample_tasks, set_task)
    with pytest.raises(ValueError, match="either `id` or the task's `make_env`.*None"):
        NamedFamily(task)
    with pytest.raises(ValueError, match="either `id` or the task's `make_env`.*Reacher"):
        NamedFamily(GymnasiumTasks(sample_tasks, set_task, make_env=Drift), "Reacher-v5")
    with pytest.raises(ValueError, match="`task` to be a hgm.envs.GymnasiumTasks, got 'a:b'"):
        NamedFamily("a:b")


def test_a_registered_environment_may_run_longer():
    def set_mass(env, task):
        env.unwrapped.m = task[0] + 2

    family = GymnasiumFamily("Pendulum-v1", sample_tasks, set_mass, max_steps=300)
    assert family.max_steps == 300
