"""What a person sees: progress, the summary, figures, and the files of the run folder."""

from hgm.callbacks.progress import PhaseProgress
from hgm.callbacks.report import DiscoveryReport

__all__ = ["DiscoveryReport", "PhaseProgress"]
