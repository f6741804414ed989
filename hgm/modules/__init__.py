"""LightningModules: what a Trainer trains."""

from hgm.modules.discovery import Discovery

__all__ = ["Discovery"]
