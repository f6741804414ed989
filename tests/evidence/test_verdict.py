"""Every reason and every outcome of the verdict."""

import math
from dataclasses import replace

import pytest

from hgm.evidence.statement import Statement, Tolerance, ignorance, nothing
from hgm.evidence.verdict import Evidence, judge

TOLERANCE = Tolerance(small=0.01, large=0.1, approximate=0.05)
HOLDS = nothing(TOLERANCE)
SLIGHT = Statement(0.03, 0.02, 0.04, TOLERANCE)
GROSS = Statement(0.5, 0.4, 0.6, TOLERANCE)
OPEN = Statement(0.05, 0.0, 0.2, TOLERANCE)
UNKNOWN = ignorance(TOLERANCE)
NAMES = ("rewards", "homogeneous_dynamics", "equivariance", "action_set", "action_in_reward")

GOOD = Evidence(
    statements=dict.fromkeys(NAMES, HOLDS),
    num_tasks=4,
    num_copies=0,
    dim=1,
    dim_seen=2,
    closure=0.0,
    deviation_deg=0.05,
    aligned=True,
    coverage=0.9,
    carried=0.9,
    order=None,
    spare=None,
)


def stating(**statements):
    return replace(GOOD, statements={**GOOD.statements, **statements})


PARTIAL = {
    "mostly alone": ({"num_alone": 5, "num_all": 9}, "5 of 9 tasks are alone"),
    "two tasks": ({"num_tasks": 2}, "2 tasks give 1 element"),
    "a circle through any three goals": ({"spare": 0}, "any 4 tasks are on an orbit"),
    "copies": (
        {"num_tasks": 2, "num_copies": 2},
        "2 tasks (2 more are copies) give 1 element(s)",
    ),
    "as many dimensions as elements": ({"dim": 3}, "more tasks are needed"),
    "everything": ({"num_tasks": 8, "dim": 4}, "generate all of gl(2)"),
    "finite order": ({"order": 4}, "cyclic group of order 4"),
    "not aligned": ({"aligned": False}, "no element of the group aligns"),
    "not closed": ({"closure": 0.2}, "closure residual 0.2, at most 0.1"),
    "imprecise": ({"deviation_deg": 4.0}, "in degrees 4, at most 3"),
    "points not covered": ({"coverage": 0.2}, "coverage 0.20, at least 0.25: points"),
    "transitions not covered": ({"carried": 0.04}, "coverage 0.04, at least 0.05: transitions"),
}

ABOUT = {
    "homogeneous_dynamics": "the tasks differ in their dynamics: 0.5 of the motion",
    "equivariance": "the dynamics break the symmetry: 0.5 of the motion",
    "action_set": "does not keep the set of actions: 0.5 of what actions cause",
    "action_in_reward": "what rewards owe to the action is not inherited: 0.5 of",
}


def test_found_when_everything_holds():
    assert judge(GOOD) == ("found", [])


@pytest.mark.parametrize(("change", "reason"), PARTIAL.values(), ids=PARTIAL)
def test_partial_for_each_reason_alone(change, reason):
    verdict, reasons = judge(replace(GOOD, **change))
    assert verdict == "partial"
    assert len(reasons) == 1
    assert reason in reasons[0]


@pytest.mark.parametrize(("name", "reason"), ABOUT.items(), ids=ABOUT)
def test_partial_where_dynamics_or_actions_break_the_symmetry(name, reason):
    verdict, reasons = judge(stating(**{name: GROSS}))
    assert verdict == "partial"
    assert len(reasons) == 1
    assert reason in reasons[0]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("statement", "reason"),
    [(OPEN, "the deviation may be up to 0.2"), (UNKNOWN, "the deviation cannot be told")],
)
def test_partial_where_data_are_too_few_to_tell(name, statement, reason):
    verdict, reasons = judge(stating(**{name: statement}))
    assert verdict == "partial"
    assert reasons == [f"too little data for {name}: {reason}"]


@pytest.mark.parametrize("name", NAMES)
def test_approximate_where_a_deviation_has_a_price(name):
    verdict, reasons = judge(stating(**{name: SLIGHT}))
    assert verdict == "approximate"
    assert len(reasons) == 1
    assert "0.03" in reasons[0]


def test_approximate_tells_every_deviation():
    verdict, reasons = judge(stating(**dict.fromkeys(NAMES, SLIGHT)))
    assert verdict == "approximate"
    assert len(reasons) == len(NAMES)
    assert len(set(reasons)) == len(NAMES)


def test_none_where_rewards_are_not_one_reward_moved():
    verdict, reasons = judge(stating(rewards=GROSS))
    assert verdict == "none"
    assert reasons == [
        "the tasks' rewards are not one reward moved by the group: 0.5 of their variance is a "
        "task's own"
    ]


def test_none_outweighs_everything_else():
    worst = stating(**dict.fromkeys(NAMES, GROSS))
    verdict, reasons = judge(replace(worst, num_tasks=2, closure=1.0, order=3))
    assert verdict == "none"
    assert len(reasons) == 1


def test_partial_outweighs_approximate():
    verdict, reasons = judge(replace(stating(rewards=SLIGHT), num_tasks=2))
    assert verdict == "partial"
    assert len(reasons) == 1
    assert "more tasks" in reasons[0]


def test_partial_lists_every_reason():
    changes = {key: value for change, _ in PARTIAL.values() for key, value in change.items()}
    evidence = stating(**dict.fromkeys(ABOUT, GROSS), rewards=OPEN)
    verdict, reasons = judge(replace(evidence, **{**changes, "num_tasks": 2}))
    assert verdict == "partial"
    # All about the number of tasks are one.
    assert len(reasons) == len(PARTIAL) - 3 + len(ABOUT) + 1


@pytest.mark.parametrize(
    ("key", "limit"),
    [
        ("closure", 0.1),
        ("deviation_deg", 3.0),
        ("coverage", 0.25),
        ("carried", 0.1),
        ("num_tasks", 3),
        ("dim", 2),
    ],
)
def test_limits_themselves_are_allowed(key, limit):
    assert judge(replace(GOOD, **{key: limit}))[0] == "found"


@pytest.mark.parametrize("key", ["closure", "deviation_deg", "coverage", "carried"])
def test_what_could_not_be_measured_is_not_found(key):
    assert judge(replace(GOOD, **{key: math.nan}))[0] == "partial"


@pytest.mark.parametrize("name", NAMES)
def test_statements_that_could_not_be_measured_do_not_hold(name):
    broken = Statement(math.nan, math.nan, math.nan, TOLERANCE)
    assert judge(stating(**{name: broken}))[0] == ("none" if name == "rewards" else "partial")


def test_on_a_line_all_scalings_are_a_group_like_any_other():
    assert judge(replace(GOOD, dim_seen=1))[0] == "found"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("effect", [0.0, 0.004, 0.01])
def test_more_data_never_turn_found_into_not_found(name, effect):
    """Narrower intervals about a deviation that does not matter."""
    verdicts = [
        judge(stating(**{name: Statement(effect, effect - w, effect + w, TOLERANCE)}))[0]
        for w in (1.0, 0.3, 0.1, 0.05, 0.01, 1e-3, 0.0)
    ]
    first = verdicts.index("found")
    assert set(verdicts[:first]) <= {"partial"}
    assert set(verdicts[first:]) == {"found"}


def test_a_task_that_is_alone_spoils_nothing():
    assert judge(replace(GOOD, num_alone=4, num_all=8)) == ("found", [])
