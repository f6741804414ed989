"""What discovery leaves behind: the group, and the one reward of all tasks."""

from hgm.geometry.geometry import Geometry, load_geometry
from hgm.geometry.reward_model import RewardModel

__all__ = ["Geometry", "RewardModel", "load_geometry"]
