"""What discovery leaves behind: the group, and the one reward of all tasks."""

from hgm.geometry.action_reward import ActionReward
from hgm.geometry.geometry import Geometry, load_geometry
from hgm.geometry.orbit import Orbit
from hgm.geometry.reward_model import RewardModel

__all__ = ["ActionReward", "Geometry", "Orbit", "RewardModel", "load_geometry"]
