"""benchmarks/finished.py: runs that are finished are not run again."""

import sys
from pathlib import Path
from typing import NamedTuple

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from finished import results


class Case(NamedTuple):
    key: str


CASES = [Case("one"), Case("two"), Case("three")]


def run(case):
    return {"key": case.key, "length": len(case.key)}


@pytest.mark.parametrize("jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_every_case_is_run_once(tmp_path, jobs):
    cache = tmp_path / "runs" / "cache.jsonl"
    first = list(results(CASES[:2], run, cache, jobs))
    assert sorted(entry["length"] for entry in first) == [3, 3]
    ran = []
    found = list(results(CASES, lambda case: ran.append(case) or run(case), cache))
    assert ran == CASES[2:]
    assert [entry["key"] for entry in found[:2]] == ["one", "two"]
    assert found[2] == {"key": "three", "length": 5}


def test_a_line_that_was_cut_off_is_run_again(tmp_path):
    cache = tmp_path / "cache.jsonl"
    list(results(CASES[:2], run, cache))
    text = cache.read_text()
    cache.write_text(text[: text.rindex(":")])
    ran = []
    list(results(CASES[:2], lambda case: ran.append(case) or run(case), cache))
    assert ran == CASES[1:2]
    assert len(list(results(CASES[:2], None, cache))) == 2


def test_without_a_cache_nothing_is_kept(tmp_path):
    assert len(list(results(CASES, run, None))) == 3
    assert not list(tmp_path.iterdir())


def test_a_process_begins_before_its_runs():
    order = []

    def ran(case):
        order.append("run")
        return run(case)

    list(results(CASES[:1], ran, None, begin=lambda: order.append("begin")))
    assert order == ["begin", "run"]
