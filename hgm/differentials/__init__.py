"""Estimators of reward differentials from transitions."""

from hgm.differentials.base import DifferentialEstimator
from hgm.differentials.fourier import FourierEstimator
from hgm.differentials.level_set import LevelSetEstimator
from hgm.differentials.local import LocalEstimator
from hgm.differentials.network import NetworkEstimator

__all__ = [
    "DifferentialEstimator",
    "FourierEstimator",
    "LevelSetEstimator",
    "LocalEstimator",
    "NetworkEstimator",
]
