"""The suite accepts what is right and names what is wrong."""

import dataclasses
import math
import random

import numpy as np
import pytest
import torch
from tensordict.nn import TensorDictModule
from torchrl.data import Unbounded

from hgm.envs import Navigation, PointEnv, RewardTransform, Scattered
from hgm.testing import ConformanceError, check_family


@pytest.mark.parametrize(
    "family",
    [
        Navigation(),
        Navigation(dim_state=3, num_train_tasks=8),
        Navigation(dim_state=4, num_train_tasks=8, noise=0.0),
        Navigation(action_bound="box", reward_noise=0.1),
        Navigation(
            chart=[[2.0, 0.5], [0.0, 1.0]],
            reward_transform=RewardTransform((0.5, 2.0), (-1.0, 1.0), (0.5, 2.0)),
        ),
        Navigation(num_train_tasks=2, train_goals=[[1, 0], [-1, 0]]),
        Scattered(num_train_tasks=8),
        Scattered(kind="quadrics"),
    ],
)
def test_accepts_families_and_leaves_global_randomness_alone(family):
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    check_family(family, seed=1)
    assert (torch.get_rng_state() == before[0]).all()
    assert (np.random.get_state()[1] == before[1]).all()
    assert random.getstate() == before[2]


def test_error_is_an_assertion_error():
    assert issubclass(ConformanceError, AssertionError)


# --- tasks --------------------------------------------------------------------------------------


class OneTask(Navigation):
    def __init__(self):
        super().__init__()
        self.num_train_tasks = 1


class WrongShape(Navigation):
    def sample_tasks(self, num, generator):
        return super().sample_tasks(num, generator).flatten()


class WrongNumber(Navigation):
    def sample_tasks(self, num, generator):
        return super().sample_tasks(4, generator)


class NanTasks(Navigation):
    def sample_tasks(self, num, generator):
        return super().sample_tasks(num, generator) * math.nan


class GlobalTasks(Navigation):
    def sample_tasks(self, num, generator):
        return torch.randn(num, 5).abs()


class EqualTasks(Navigation):
    def sample_tasks(self, num, generator):
        return super().sample_tasks(1, generator).expand(num, -1)


class FixedTasks(Navigation):
    def sample_tasks(self, num, generator):
        return super().sample_tasks(num, torch.Generator().manual_seed(0))


class QuietGlobal(Navigation):
    def sample_tasks(self, num, generator):
        torch.rand(1)
        return super().sample_tasks(num, generator)


class NumpyGlobal(Navigation):
    def sample_tasks(self, num, generator):
        np.random.rand()
        return super().sample_tasks(num, generator)


# --- environments ---------------------------------------------------------------------------------


def with_env(name, **methods):
    """A Navigation whose environment overrides ``methods``."""
    env = type(name, (PointEnv,), methods)

    def make_env(self, tasks, num_copies, seed, device=None):
        return env(
            tasks, num_copies, dim_state=2, reward=self.reward, seed=seed, max_steps=self.max_steps
        )

    return type(name, (Navigation,), {"make_env": make_env})


def changed_step(**changes):
    def _step(self, tensordict):
        out = PointEnv._step(self, tensordict)
        return out.update({key: change(self, out) for key, change in changes.items()})

    return _step


def changed_reset(**changes):
    def _reset(self, tensordict=None, **kwargs):
        out = PointEnv._reset(self, tensordict)
        return out.update({key: change(self, out, tensordict) for key, change in changes.items()})

    return _reset


def leaky_init(self, table, *args, **kwargs):
    PointEnv.__init__(self, table, *args, **kwargs)
    spec = self.observation_spec.clone()
    spec["hint"] = Unbounded((*self.batch_size, 1))
    self.observation_spec = spec


def hint(self, *_):
    return self._rows[..., :1].expand(*self.batch_size, 1).clone()


def no_task_init(self, *args, **kwargs):
    PointEnv.__init__(self, *args, **kwargs)
    spec = self.observation_spec.clone()
    del spec["task"]
    self.observation_spec = spec


def no_action_init(self, *args, **kwargs):
    PointEnv.__init__(self, *args, **kwargs)
    spec = self.full_action_spec.clone()
    spec["force"] = spec["action"]
    del spec["action"]
    self.full_action_spec = spec


def observation_of(self, out, tensordict):
    """Goes on with the copies that it should reset."""
    return (out if tensordict is None else tensordict).get("observation", out["observation"])


def task_of(self, out, tensordict):
    return out["task"] if tensordict is None else out["task"].flip(0)


def restless_reset(self, tensordict=None, **kwargs):
    if tensordict is not None and "observation" in tensordict:
        tensordict["observation"] += 1
    return PointEnv._reset(self, tensordict)


def own_clock_reset(self, tensordict=None, **kwargs):
    self._clock = 0
    return PointEnv._reset(self, tensordict)


def own_clock_step(self, tensordict):
    self._clock += 1
    out = PointEnv._step(self, tensordict)
    out["done"] = out["truncated"] = torch.full_like(out["done"], self._clock >= 100)
    return out


class WrongBatch(Navigation):
    def make_env(self, tasks, num_copies, seed, device=None):
        return super().make_env(tasks, num_copies + 1, seed)


class WrongDim(Navigation):
    @property
    def dim_state(self):
        return 2

    @property
    def dim_action(self):
        return 3


class IgnoresSeed(Navigation):
    def make_env(self, tasks, num_copies, seed, device=None):
        return super().make_env(tasks, num_copies, 0)


class GlobalNoise(Navigation):
    def make_env(self, tasks, num_copies, seed, device=None):
        return super().make_env(tasks, num_copies, int(torch.randint(1000, ())))


class BadPolicy(Navigation):
    def goal_policy(self, tasks):
        return TensorDictModule(lambda x: x[..., :1], ["observation"], ["action"])


class FewerSteps(Scattered):
    def make_env(self, tasks, num_copies, seed, device=None):
        env = super().make_env(tasks, num_copies, seed)
        env._max_steps = 10**6
        return env


class WrongSpec(Navigation):
    def make_env(self, tasks, num_copies, seed, device=None):
        env = super().make_env(tasks, num_copies, seed)
        env._rows = env._rows.double()  # rewards then leave as float64
        return env


# --- truth --------------------------------------------------------------------------------------


def with_truth(name, change, **kwargs):
    class Untrue(Navigation):
        def __init__(self):
            super().__init__(**kwargs)

        def truth(self, tasks):
            truth = super().truth(tasks)
            return dataclasses.replace(truth, **change(truth))

    Untrue.__name__ = name
    return Untrue


CASES = [
    (OneTask, "num_train_tasks: needs at least 2, got 1"),
    (WrongShape, "sample_tasks: expected a float tensor"),
    (WrongNumber, "sample_tasks: expected shape"),
    (NanTasks, "sample_tasks: parameters are not finite"),
    (GlobalTasks, "sample_tasks: the same generator seed gave other tasks"),
    (EqualTasks, "sample_tasks: some training tasks are equal"),
    (FixedTasks, "sample_tasks: another generator seed gave the same tasks"),
    (QuietGlobal, "global random state: it changed"),
    (NumpyGlobal, "global random state: it changed"),
    (WrongBatch, "make_env: expected batch size"),
    (WrongDim, "shapes: `action` is"),
    (
        with_env(
            "NoTask",
            __init__=no_task_init,
            _step=lambda self, td: PointEnv._step(self, td).exclude("task"),
            _reset=lambda self, td=None, **kw: PointEnv._reset(self, td).exclude("task"),
        ),
        "keys: `task` is missing",
    ),
    (with_env("NoAction", __init__=no_action_init), "make_env: no key `action`"),
    (
        with_env(
            "WrongTask",
            _step=changed_step(task=lambda s, o: o["task"] * 0),
            _reset=changed_reset(task=lambda s, o, t: o["task"] * 0),
        ),
        "keys: `task` is not the int64 row",
    ),
    (
        with_env("NanReward", _step=changed_step(reward=lambda s, o: o["reward"] * math.nan)),
        "finite values: `\\('next', 'reward'\\)`",
    ),
    (
        with_env(
            "Leaky",
            __init__=leaky_init,
            _step=changed_step(hint=hint),
            _reset=changed_reset(hint=hint),
        ),
        "hidden tasks: `hint` contains a task parameter",
    ),
    (IgnoresSeed, "seed: another seed gave the same starts"),
    (GlobalNoise, "seed: the same seed gave another"),
    (with_env("NoSetSeed", _set_seed=lambda self, seed: None), "seed: `set_seed` differs"),
    (FewerSteps, "episodes: some do not end within max_steps = 100"),
    (
        with_env("Stubborn", _reset=changed_reset(observation=observation_of)),
        "partial reset: the copy to reset went on",
    ),
    (
        with_env("Swaps", _reset=changed_reset(task=task_of)),
        "partial reset: it changed the task",
    ),
    (
        with_env("Restless", _reset=restless_reset),
        "partial reset: it changed `observation` of copies that go on",
    ),
    (
        with_env("OwnClock", _reset=own_clock_reset, _step=own_clock_step),
        "partial reset: it restarted the time of other copies",
    ),
    (BadPolicy, "goal_policy: expected a finite `action`"),
    (WrongSpec, "environment specs"),
    (
        with_truth("Long", lambda t: {"generators": 2 * t.generators}),
        "truth.generators: expected Frobenius norm sqrt 2",
    ),
    (
        with_truth("TooFew", lambda t: {"elements": t.elements[1:]}),
        "truth.elements: expected shape",
    ),
    (
        with_truth(
            "Open",
            lambda t: {
                "generators": t.generators[:2],
                "action_generators": t.action_generators[:2],
            },
            dim_state=3,
        ),
        "truth.generators: not closed under the bracket",
    ),
    (
        with_truth("NoIdentity", lambda t: {"elements": t.elements.flip(0)}),
        "truth.elements: the base task's element is not the identity",
    ),
    (
        with_truth("Unsure", lambda t: {"element_error_deg": lambda e: torch.ones(len(e))}),
        "truth.element_error_deg: expected zeros",
    ),
    (
        with_truth(
            "Identities",
            lambda t: {
                "elements": torch.eye(2).expand_as(t.elements).to(t.elements),
                "element_error_deg": lambda e: torch.zeros(len(e)),
            },
        ),
        r"inherited reward: r_1\(L p\) and r_0\(p\) order points differently",
    ),
    (
        with_truth("Reversed", lambda t: {"reward": lambda s: t.reward(s) * signs}),
        "inherited reward",
    ),
    (
        with_truth("Flat", lambda t: {"reward": lambda s: t.reward(s) * signs.clamp_min(0)}),
        "inherited reward",
    ),
    (
        with_truth("BoxDynamics", lambda t: {"dynamics": lambda s, a: s + a.clamp(-0.1, 0.1)}),
        "equivariant dynamics",
    ),
    (
        with_truth("WrongActions", lambda t: {"action_generators": -t.action_generators}),
        "equivariant dynamics",
    ),
]
signs = torch.tensor([[1.0], [-1.0], [-1.0], [-1.0]])


@pytest.mark.parametrize(("broken", "message"), CASES, ids=lambda v: getattr(v, "__name__", ""))
def test_names_what_is_broken(broken, message):
    with pytest.raises(ConformanceError, match=message):
        check_family(broken())


def test_refuses_what_is_no_family():
    with pytest.raises(ConformanceError, match="not a TaskFamily"):
        check_family(object())
