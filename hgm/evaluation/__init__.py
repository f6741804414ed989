"""The meta-test: any agent, any family, scored on each task's own reward."""

from hgm.evaluation.meta_test import MetaTest, explore, meta_test, run_episodes
from hgm.evaluation.references import load_references, refuse_optimum
from hgm.evaluation.regret import regret_metrics
from hgm.evaluation.statistics import CONFIDENCE, Estimate, estimate, slope
from hgm.evaluation.truth import truth_metrics

__all__ = [
    "CONFIDENCE",
    "Estimate",
    "MetaTest",
    "estimate",
    "explore",
    "load_references",
    "meta_test",
    "refuse_optimum",
    "regret_metrics",
    "run_episodes",
    "slope",
    "truth_metrics",
]
