"""How a policy infers its task from transitions of it: one method a file."""

from hgm.inference.base import TaskInference
from hgm.inference.contrastive import Contrastive
from hgm.inference.told import Told
from hgm.inference.variational import Variational

__all__ = ["Contrastive", "TaskInference", "Told", "Variational"]
