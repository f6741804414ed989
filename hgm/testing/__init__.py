"""Conformance suites for charts, groups and task families, to run in one's own tests."""

from hgm.testing.charts import check_chart
from hgm.testing.errors import ConformanceError
from hgm.testing.families import check_family
from hgm.testing.groups import check_group

__all__ = ["ConformanceError", "check_chart", "check_family", "check_group"]
