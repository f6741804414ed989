"""LightningModules: what a Trainer trains."""

from hgm.modules.contextual import Contextual
from hgm.modules.discovery import Discovery
from hgm.modules.hereditary import Hereditary
from hgm.modules.metagenrl import MetaGenRL
from hgm.modules.metarnn import MetaRNN
from hgm.modules.mixed_effects import MixedEffects
from hgm.modules.planning import Planning
from hgm.modules.policy import Policy
from hgm.modules.ppo import PPO
from hgm.modules.random import Random
from hgm.modules.rl2 import RL2
from hgm.modules.symla import SymLA

__all__ = [
    "PPO",
    "RL2",
    "Contextual",
    "Discovery",
    "Hereditary",
    "MetaGenRL",
    "MetaRNN",
    "Planning",
    "Policy",
    "Random",
    "SymLA",
    "MixedEffects",
    "Planning",
    "Policy",
    "Random",
]
