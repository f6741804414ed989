"""Actors and critics, with TorchRL's keys, and learners that learn in their memory."""

from hgm.policies.in_context import InContextLearner, Population
from hgm.policies.lstm import LSTMLearner
from hgm.policies.symmetric import SymmetricLearner

__all__ = ["InContextLearner", "LSTMLearner", "Population", "SymmetricLearner"]
