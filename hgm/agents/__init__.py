"""Agents: they meet tasks they do not know, learn from transitions, and act."""

from hgm.agents.base import Agent
from hgm.agents.context import ContextAgent
from hgm.agents.hereditary import HereditaryAgent
from hgm.agents.in_context import InContextAgent
from hgm.agents.planner import Planner
from hgm.agents.planning import PlanningAgent
from hgm.agents.random import RandomAgent
from hgm.agents.recurrent import RecurrentAgent

__all__ = [
    "Agent",
    "ContextAgent",
    "HereditaryAgent",
    "InContextAgent",
    "Planner",
    "PlanningAgent",
    "RandomAgent",
    "RecurrentAgent",
]
