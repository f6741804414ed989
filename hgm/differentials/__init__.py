"""Estimators of reward differentials from transitions."""

from hgm.differentials.base import DifferentialEstimator
from hgm.differentials.fourier import FourierEstimator

__all__ = ["DifferentialEstimator", "FourierEstimator"]
