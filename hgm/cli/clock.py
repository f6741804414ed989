"""When a run started: the first one of a process with the process, imports included."""

import time

_UNUSED = [time.perf_counter()]


def start_of_run() -> float:
    """On :func:`time.perf_counter`'s clock: for the first run, when this was imported."""
    return _UNUSED.pop() if _UNUSED else time.perf_counter()
