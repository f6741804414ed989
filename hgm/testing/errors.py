"""The error of the conformance suites."""


class ConformanceError(AssertionError):
    """An implementation breaks its contract; the message names the law and by how much."""
