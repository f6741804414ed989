"""Discovery as pure functions and solvers on tensors: no Lightning, no RL."""

from hgm.symmetry.findings import Findings
from hgm.symmetry.samples import Samples
from hgm.symmetry.search import Search, discover
from hgm.symmetry.snapshot import Snapshot
from hgm.symmetry.steps import SearchSteps

__all__ = ["Findings", "Samples", "Search", "SearchSteps", "Snapshot", "discover"]
