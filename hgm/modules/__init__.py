"""LightningModules: what a Trainer trains."""

from hgm.modules.discovery import Discovery
from hgm.modules.hereditary import Hereditary
from hgm.modules.policy import Policy

__all__ = ["Discovery", "Hereditary", "Policy"]
