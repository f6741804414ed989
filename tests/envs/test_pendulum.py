"""The pendulum: Gymnasium's, step by step and from the start."""

import gymnasium
import numpy as np
import pytest
import torch
from torch.testing import assert_close

from hgm.envs import Pendulum
from hgm.testing import check_family


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_keeps_the_contract():
    check_family(Pendulum(max_steps=30), seed=1)


@pytest.mark.parametrize(("mass", "length"), [(1.0, 1.0), (0.7, 1.3)])
def test_is_gymnasium_step_by_step(mass, length):
    """Three episodes, also with torques out of range, next states and rewards to 1e-12."""
    env = gymnasium.make("Pendulum-v1").unwrapped
    env.m, env.l = mass, length
    family, tasks = Pendulum(), torch.tensor([mass, length], dtype=torch.float64)
    assert family.max_steps == gymnasium.spec("Pendulum-v1").max_episode_steps
    torques, fastest = np.random.default_rng(0), 0.0
    for episode in range(3):
        env.reset(seed=episode)
        action = 0.0
        for _ in range(200):
            angle, speed = env.state
            before = torch.tensor([np.cos(angle), np.sin(angle), speed])
            if torques.random() < 0.1:  # long pushes, to see fast states too
                action = torques.uniform(-4, 4)
            _, reward, *_ = env.step(np.array([action]))
            angle, speed = env.state
            expected = torch.tensor([np.cos(angle), np.sin(angle), speed])
            torque = torch.tensor([action], dtype=torch.float64)
            after = family.motion(before, torque, tasks)
            assert_close(after, expected, rtol=0, atol=1e-12)
            mine = family.reward(before, torque, after, tasks)
            assert_close(float(mine), float(reward), rtol=0, atol=1e-12)
            fastest = max(fastest, abs(speed))
    assert fastest == 8.0


def test_starts_are_gymnasiums():
    ours = Pendulum().start(torch.randn(20_000, 3, generator=generator(), dtype=torch.float64))
    env, theirs = gymnasium.make("Pendulum-v1").unwrapped, []
    for seed in range(2000):
        theirs.append(env.reset(seed=seed)[0])
    theirs = torch.tensor(np.stack(theirs)).double()
    assert_close(ours[:, :2].norm(dim=1), torch.ones(20_000).double())
    for part in (lambda s: torch.atan2(s[:, 1], s[:, 0]), lambda s: s[:, 2]):
        share = torch.linspace(0.0, 1.0, 9).double()
        found, expected = (part(states).quantile(share) for states in (ours, theirs))
        assert_close(found, expected, rtol=0, atol=0.15)


def test_tasks_are_run_by_the_environment():
    """A lighter rod is accelerated more by the same torque; with no spread all are Gymnasium's."""
    family = Pendulum(num_train_tasks=3, spread=0.5)
    tasks = family.train_tasks(0)
    assert tasks.shape == (3, 2)
    assert tasks.amin() >= 1 / 1.5
    assert tasks.amax() <= 1.5
    env = family.make_env(tasks, 4, 0)
    before = env.reset()
    before["action"] = torch.ones(3, 4, 1)
    moved = env.step(before)
    expected = family.motion(before["observation"], before["action"], tasks[:, None])
    assert_close(moved["next", "observation"], expected)
    assert (Pendulum(spread=0.0).train_tasks(0) == 1).all()


def test_it_ends_when_time_is_up():
    family = Pendulum(max_steps=7)
    env = family.make_env(family.train_tasks(0), 2, 0)
    after = env.rollout(7, break_when_any_done=False)["next"]
    assert after["truncated"][:, :, -1].all()
    assert not after["done"][:, :, :-1].any()
    assert not after["terminated"].any()


@pytest.mark.parametrize(
    ("name", "value"), [("num_train_tasks", 1), ("spread", -0.1), ("max_steps", 0)]
)
def test_bad_arguments_are_named(name, value):
    with pytest.raises(ValueError, match=name):
        Pendulum(**{name: value})
