"""Task families and their batched environments."""

from hgm.envs.base import TaskFamily, Truth
from hgm.envs.circles import Circles
from hgm.envs.gymnasium import GymnasiumFamily, GymnasiumTasks, NamedFamily
from hgm.envs.navigation import Navigation
from hgm.envs.point import PointEnv
from hgm.envs.rewards import RewardTransform
from hgm.envs.scattered import Scattered
from hgm.envs.single import SingleTask

__all__ = [
    "Circles",
    "GymnasiumFamily",
    "GymnasiumTasks",
    "NamedFamily",
    "Navigation",
    "PointEnv",
    "RewardTransform",
    "Scattered",
    "SingleTask",
    "TaskFamily",
    "Truth",
]
