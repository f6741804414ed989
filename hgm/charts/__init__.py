"""Charts: coordinates of states in which a group acts linearly."""

from hgm.charts.base import Chart, chart_of_state
from hgm.charts.flow import Flow
from hgm.charts.identity import Identity

__all__ = ["Chart", "Flow", "Identity", "chart_of_state"]
