"""What a policy is trained on: TorchRL losses with their targets and learning rates."""

from hgm.objectives.base import Objective, Targets
from hgm.objectives.sac import SAC
from hgm.objectives.td3 import TD3

__all__ = ["SAC", "TD3", "Objective", "Targets"]
