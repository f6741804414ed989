"""Sources of transitions for Lightning: collected from a family, or stored on disk."""

from hgm.datamodules.stored import StoredTransitions
from hgm.datamodules.transitions import Transitions

__all__ = ["StoredTransitions", "Transitions"]
