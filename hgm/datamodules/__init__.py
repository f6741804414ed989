"""Sources of transitions for Lightning: collected from a family, or stored on disk."""

from hgm.datamodules.clustered import Clustered
from hgm.datamodules.lifetimes import Lifetimes
from hgm.datamodules.meta_replay import MetaReplay
from hgm.datamodules.minari import MinariTransitions
from hgm.datamodules.on_policy import OnPolicy
from hgm.datamodules.populations import Populations
from hgm.datamodules.replay import Replay
from hgm.datamodules.stored import StoredTransitions
from hgm.datamodules.tasks import Tasks
from hgm.datamodules.transitions import Transitions
from hgm.datamodules.trials import Trials

__all__ = [
    "MetaReplay",
    "MinariTransitions",
    "Lifetimes",
    "Clustered",
    "MetaReplay",
    "OnPolicy",
    "Populations",
    "Replay",
    "StoredTransitions",
    "Tasks",
    "Transitions",
    "Trials",
]
