"""Discovery as pure functions and solvers on tensors: no Lightning, no RL."""

from hgm.symmetry.search import Findings, Search, SearchSteps, discover

__all__ = ["Findings", "Search", "SearchSteps", "discover"]
