"""Agents: they meet tasks they do not know, learn from transitions, and act."""

from hgm.agents.base import Agent
from hgm.agents.hereditary import HereditaryActor, HereditaryAgent

__all__ = ["Agent", "HereditaryActor", "HereditaryAgent"]
