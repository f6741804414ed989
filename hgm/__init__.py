"""Hereditary geometric meta-RL: find the Lie group that carries tasks into tasks, then use it."""

from hgm.geometry import Geometry, load_geometry

__all__ = ["Geometry", "load_geometry"]
__version__ = "0.1.0"
