"""Hereditary geometric meta-RL: discover the Lie group that carries tasks into tasks."""

__version__ = "0.1.0"
