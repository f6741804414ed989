"""Task families and their batched environments."""

from hgm.envs.bandit import Bandit
from hgm.envs.base import TaskFamily, Truth
from hgm.envs.circles import Circles
from hgm.envs.discrete import DiscreteEnv, DiscreteFamily
from hgm.envs.navigation import Navigation
from hgm.envs.point import PointEnv
from hgm.envs.rewards import RewardTransform
from hgm.envs.scattered import Scattered

__all__ = [
    "Bandit",
    "Circles",
    "DiscreteEnv",
    "DiscreteFamily",
    "Navigation",
    "PointEnv",
    "RewardTransform",
    "Scattered",
    "TaskFamily",
    "Truth",
]
