"""What held-out transitions say of the findings of a search, and what may be claimed."""

from hgm.evidence.examination import examine
from hgm.evidence.statement import Statement
from hgm.evidence.verdict import Evidence, judge

__all__ = ["Evidence", "Statement", "examine", "judge"]
