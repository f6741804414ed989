"""How a policy infers its task from transitions of it: one method a file."""

from hgm.inference.base import TaskInference
from hgm.inference.contrastive import Contrastive
from hgm.inference.oracle import Oracle
from hgm.inference.variational import Variational

__all__ = ["Contrastive", "Oracle", "TaskInference", "Variational"]
