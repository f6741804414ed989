"""What a policy is trained on: losses of an actor and its critics."""

from hgm.objectives.base import ActorCritic, Objective
from hgm.objectives.ddpg import DDPG
from hgm.objectives.learned import LearnedObjective
from hgm.objectives.reinforce import Reinforce
from hgm.objectives.sac import SAC
from hgm.objectives.stacked import ActorCritics
from hgm.objectives.td3 import TD3

__all__ = [
    "DDPG",
    "SAC",
    "TD3",
    "ActorCritic",
    "ActorCritics",
    "LearnedObjective",
    "Objective",
    "Reinforce",
]
