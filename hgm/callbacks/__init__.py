"""What a person sees: progress, the summary, figures, and the files of the run folder."""

from hgm.callbacks.checkpoint_io import AtomicCheckpointIO
from hgm.callbacks.effects import EffectsReport
from hgm.callbacks.experiment import report_experiment
from hgm.callbacks.meta_test import MetaTestReport
from hgm.callbacks.policy import PolicyReport
from hgm.callbacks.population import PopulationReport
from hgm.callbacks.progress import PhaseProgress
from hgm.callbacks.report import DiscoveryReport

__all__ = [
    "AtomicCheckpointIO",
    "DiscoveryReport",
    "EffectsReport",
    "MetaTestReport",
    "PhaseProgress",
    "PolicyReport",
    "PopulationReport",
    "report_experiment",
]
