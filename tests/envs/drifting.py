"""A small environment of Gymnasium, and Reacher, with hidden tasks."""

import math

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Box

BOX = Box(-1.0, 1.0, (2,), np.float64)


class Drift(gymnasium.Env):
    """A point that drifts in the wind towards a hidden goal, and may not be stepped when done."""

    def __init__(self, action_space=BOX, space=None, render_mode=None, private=True):
        self.action_space = action_space
        self.observation_space = space or Box(-np.inf, np.inf, (4,))
        self.render_mode, self.private = render_mode, private
        self.goal, self.log, self.closed = np.zeros(2), [], 0

    def seen(self):
        return np.concatenate((self.place, self.goal)).astype(self.observation_space.dtype)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.log.append(("reset", self.goal.copy()))
        draw = self.np_random if self.private else np.random.default_rng()
        self.place, self.over = draw.normal(0.0, 0.1, 2), False
        self.goal = draw.normal(0.0, 1.0, 2)  # as Reacher does: the task must be set after this
        return self.seen(), {}

    def step(self, action):
        assert not self.over
        assert action in self.action_space
        assert action.dtype == self.action_space.dtype
        self.log.append(("step", action.copy()))
        self.place = self.place + 0.2 * action + self.np_random.normal(0.0, 0.01, 2)
        self.over = bool(np.abs(self.place).max() > 1.0)
        return self.seen(), -np.linalg.norm(self.place - self.goal), self.over, False, {}

    def close(self):
        self.closed += 1


def sample_tasks(num, generator):
    angle = 2 * math.pi * torch.rand(num, 1, generator=generator)
    return 0.15 * torch.cat((angle.cos(), angle.sin()), -1)


def set_task(env, task):
    env.unwrapped.goal = task.copy()


def observe(observation):
    return observation[..., :2]


def set_target(env, task):
    env = env.unwrapped
    env.set_state(np.append(env.data.qpos[:2], task), env.data.qvel)


def observe_arm(seen):
    """cos q, sin q, qdot, and where the fingertip is: Reacher shows it relative to the goal."""
    return np.concatenate((seen[..., :4], seen[..., 6:8], seen[..., 4:6] + seen[..., 8:10]), -1)
