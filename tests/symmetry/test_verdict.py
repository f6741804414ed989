"""Every reason and every outcome of the verdict."""

from dataclasses import replace

import pytest

from hgm.symmetry.verdict import Evidence, judge

GOOD = Evidence(
    num_tasks=4,
    dim=1,
    dim_space=2,
    misalignment=0.8,
    free_misalignment=0.8,
    gap=200.0,
    closure=0.0,
    deviation_deg=0.05,
    coverage=0.9,
    dynamics=0.01,
)

PARTIAL = {
    "too few tasks": ({"num_tasks": 2}, "2 tasks give 1 element"),
    "as many dimensions as elements": ({"dim": 3}, "more tasks are needed"),
    "everything": ({"num_tasks": 8, "dim": 4}, "generate all of gl(2)"),
    "span misaligned": ({"misalignment": 1.6}, "misalignment 1.6, at most 1.5"),
    "not closed": ({"closure": 0.2}, "closure residual 0.2, at most 0.1"),
    "imprecise": ({"deviation_deg": 4.0}, "in degrees 4, at most 3"),
    "no gap": ({"gap": 2.0}, "spectral gap 2, at least 3"),
    "not covered": ({"coverage": 0.1}, "coverage 0.10, at least 0.25"),
    "dynamics": ({"dynamics": 0.4}, "40% of the motion is not equivariant, at most 11%"),
}


def test_found_when_everything_holds():
    assert judge(GOOD) == ("found", [])


def test_found_without_a_next_direction():
    assert judge(replace(GOOD, gap=None)) == ("found", [])


@pytest.mark.parametrize(("change", "reason"), PARTIAL.values(), ids=PARTIAL)
def test_partial_for_each_reason_alone(change, reason):
    verdict, reasons = judge(replace(GOOD, **change))
    assert verdict == "partial"
    assert len(reasons) == 1
    assert reason in reasons[0]


def test_partial_lists_every_reason():
    changes = {key: value for change, _ in PARTIAL.values() for key, value in change.items()}
    verdict, reasons = judge(replace(GOOD, **{**changes, "num_tasks": 2}))
    assert verdict == "partial"
    assert len(reasons) == len(PARTIAL) - 1  # both about tasks are one


def test_none_when_no_element_aligns():
    verdict, reasons = judge(replace(GOOD, misalignment=9.0, free_misalignment=2.0))
    assert verdict == "none"
    assert len(reasons) == 1
    assert "misalignment 2.0 times what the data's noise explains, at most 1.5" in reasons[0]


@pytest.mark.parametrize("key", ["misalignment", "free_misalignment"])
def test_aligned_elements_of_either_kind_are_not_none(key):
    assert judge(replace(GOOD, **{key: 9.0}))[0] != "none"


@pytest.mark.parametrize(
    ("key", "limit"),
    [
        ("misalignment", 1.5),
        ("gap", 3.0),
        ("closure", 0.1),
        ("deviation_deg", 3.0),
        ("coverage", 0.25),
        ("dynamics", 0.11),
        ("num_tasks", 3),
        ("dim", 2),
    ],
)
def test_limits_themselves_are_allowed(key, limit):
    assert judge(replace(GOOD, **{key: limit}))[0] == "found"


@pytest.mark.parametrize(
    "key", ["misalignment", "gap", "closure", "deviation_deg", "coverage", "dynamics"]
)
def test_what_could_not_be_measured_is_not_found(key):
    assert judge(replace(GOOD, **{key: float("nan")}))[0] != "found"
