"""Hereditary geometric meta-RL: find the Lie group that carries tasks into tasks, then use it."""

from importlib import import_module
from typing import Any

from hgm.geometry import Geometry, load_geometry

_LATER = {  # imported when asked for: TorchRL takes seconds
    "HereditaryActor": "hgm.policies.symmetric",
    "HereditaryAgent": "hgm.agents",
    "adapt": "hgm.adaptation",
    "load_policy": "hgm.policies.feedforward",
}

__all__ = [
    "Geometry",
    "HereditaryActor",
    "HereditaryAgent",
    "adapt",
    "load_geometry",
    "load_policy",
]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(import_module(_LATER[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
