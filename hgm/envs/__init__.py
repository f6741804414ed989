"""Task families and their batched environments."""

from hgm.envs.base import TaskFamily, Truth
from hgm.envs.circles import Circles
from hgm.envs.navigation import Navigation
from hgm.envs.point import PointEnv
from hgm.envs.rewards import RewardTransform
from hgm.envs.scattered import Scattered
from hgm.envs.warped import Warped

__all__ = [
    "Circles",
    "Navigation",
    "PointEnv",
    "RewardTransform",
    "Scattered",
    "TaskFamily",
    "Truth",
    "Warped",
]
