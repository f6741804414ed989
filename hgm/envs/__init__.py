"""Task families and their batched environments."""

from hgm.envs.acrobot import Acrobot
from hgm.envs.angles import AngleFamily
from hgm.envs.ant import Ant
from hgm.envs.bandit import Bandit
from hgm.envs.base import TaskFamily, Truth
from hgm.envs.batched import BatchedEnv
from hgm.envs.cartpole import CartPole
from hgm.envs.circles import Circles
from hgm.envs.discrete import DiscreteEnv, DiscreteFamily
from hgm.envs.double_integrator import DoubleIntegrator
from hgm.envs.grid_world import GridWorld
from hgm.envs.gymnasium import GymnasiumFamily, GymnasiumTasks, NamedFamily
from hgm.envs.mountain_car import MountainCar
from hgm.envs.mujoco import MujocoFamily
from hgm.envs.navigation import Navigation
from hgm.envs.pendulum import Pendulum
from hgm.envs.point import PointEnv
from hgm.envs.reacher import Reacher
from hgm.envs.rewards import RewardTransform
from hgm.envs.scattered import Scattered
from hgm.envs.single import SingleTask
from hgm.envs.swimmer import Swimmer
from hgm.envs.translation import Translation
from hgm.envs.two_goals import TwoGoals
from hgm.envs.unicycle import Unicycle
from hgm.envs.warped import Warped
from hgm.registration import register

__all__ = [
    "Acrobot",
    "AngleFamily",
    "Ant",
    "Bandit",
    "BatchedEnv",
    "CartPole",
    "Circles",
    "DiscreteEnv",
    "DiscreteFamily",
    "DoubleIntegrator",
    "GridWorld",
    "GymnasiumFamily",
    "GymnasiumTasks",
    "MountainCar",
    "MujocoFamily",
    "NamedFamily",
    "Navigation",
    "Pendulum",
    "PointEnv",
    "Reacher",
    "RewardTransform",
    "Scattered",
    "SingleTask",
    "Swimmer",
    "TaskFamily",
    "Translation",
    "Truth",
    "TwoGoals",
    "Unicycle",
    "Warped",
]

register()
