"""Runs that are kept as lines of a file, so that the same command goes on where it was cut off."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Protocol


class Case(Protocol):
    """A run."""

    @property
    def key(self) -> str:
        """What the run is kept for."""


Entry = dict[str, Any]
"""What came of a run; its ``key`` is the case's."""


def results(
    cases: Sequence[Case],
    run: Callable[[Any], Entry],
    cache: Path | None,
    jobs: int = 1,
    begin: Callable[[], object] | None = None,
) -> Iterator[Entry]:
    """Entries of all cases as they come, those in the cache first; new ones are added to it.

    Args:
        cases: The runs.
        run: Gives the entry of a case.
        cache: A file of lines of JSON; None keeps nothing.
        jobs: Number of processes; 1 is this one.
        begin: What a process does first.
    """
    known = {} if cache is None else {entry["key"]: entry for entry in _read(cache)}
    yield from (known[case.key] for case in cases if case.key in known)
    missing = [case for case in cases if case.key not in known]
    for entry in _entries(missing, run, jobs, begin):
        if cache is not None:
            cache.parent.mkdir(parents=True, exist_ok=True)
            with cache.open("a") as file:
                # A line of its own, whatever the line before was cut off in.
                file.write("\n" + json.dumps(entry))
        yield entry


def _entries(
    cases: Sequence[Case],
    run: Callable[[Any], Entry],
    jobs: int,
    begin: Callable[[], object] | None,
) -> Iterator[Entry]:
    if jobs == 1 or len(cases) < 2:
        if begin is not None:
            begin()
        yield from map(run, cases)
        return
    with ProcessPoolExecutor(jobs, get_context("spawn"), begin) as pool:
        for future in as_completed([pool.submit(run, case) for case in cases]):
            yield future.result()


def _read(cache: Path) -> Iterator[Entry]:
    if cache.exists():
        for line in cache.read_text().splitlines():
            try:
                yield json.loads(line)
            except json.JSONDecodeError:  # empty, or cut off in the middle of writing
                continue
