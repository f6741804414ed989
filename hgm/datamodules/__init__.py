"""Sources of transitions for Lightning: collected from a family, or stored on disk."""

from hgm.datamodules.replay import Replay
from hgm.datamodules.stored import StoredTransitions
from hgm.datamodules.tasks import Tasks
from hgm.datamodules.transitions import Transitions

__all__ = ["Replay", "StoredTransitions", "Tasks", "Transitions"]
