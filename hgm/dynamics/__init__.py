"""Models of the dynamics that all tasks share, each fitted twice on disjoint halves of the data."""

from hgm.dynamics.base import DynamicsModel, Prediction, choose
from hgm.dynamics.fourier import FourierDynamics
from hgm.dynamics.network import NetworkDynamics

__all__ = ["DynamicsModel", "FourierDynamics", "NetworkDynamics", "Prediction", "choose"]
