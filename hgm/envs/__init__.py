"""Task families and their batched environments."""

from hgm.envs.acrobot import Acrobot
from hgm.envs.bandit import Bandit
from hgm.envs.base import TaskFamily, Truth
from hgm.envs.cartpole import CartPole
from hgm.envs.circles import Circles
from hgm.envs.discrete import DiscreteEnv, DiscreteFamily
from hgm.envs.grid_world import GridWorld
from hgm.envs.mountain_car import MountainCar
from hgm.envs.navigation import Navigation
from hgm.envs.point import PointEnv
from hgm.envs.rewards import RewardTransform
from hgm.envs.scattered import Scattered

__all__ = [
    "Acrobot",
    "Bandit",
    "CartPole",
    "Circles",
    "DiscreteEnv",
    "DiscreteFamily",
    "GridWorld",
    "MountainCar",
    "Navigation",
    "PointEnv",
    "RewardTransform",
    "Scattered",
    "TaskFamily",
    "Truth",
]
