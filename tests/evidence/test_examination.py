"""What held-out transitions say about findings, on rewards known exactly and on whole searches."""

import math
from types import SimpleNamespace

import pytest
import torch
from searched import searched
from systems import TURN, randn
from torch.testing import assert_close

from hgm import lie
from hgm.differentials import DifferentialEstimator
from hgm.evidence import examination
from hgm.evidence.actions import ACTION_TERMS
from hgm.evidence.dynamics import DYNAMICS, Equivariance
from hgm.evidence.examination import _copies, _order, covered, held_out
from hgm.evidence.rewards import REWARDS, OneReward
from hgm.evidence.statement import Statement
from hgm.numerics.fourier import Jet
from hgm.symmetry.losses import differential_invariance
from hgm.symmetry.phases import FLOOR
from hgm.symmetry.samples import Samples, Seen
from hgm.symmetry.view import Units, View

ANGLES = torch.tensor([0.0, 0.7, -2.0]).double()
TURNS = lie.exp(ANGLES[:, None, None] * TURN)


class Linear(DifferentialEstimator):
    """Knows the rewards ``r_i(p) = (L_i e_0) . p``; of task 2 it knows little."""

    noise = None

    def __init__(self):
        super().__init__(3, 2)

    def update(self, points, rewards, ranks=None):
        return points.new_zeros(())

    def jet(self, points, tasks):
        gradient = TURNS[tasks, :, 0][:, None].expand_as(points)
        spread = torch.where(tasks == 2, 0.5, 0.0).double()[:, None].expand(points.shape[:2])
        value = (gradient * points).sum(-1)
        return Jet(value, gradient, torch.zeros(*points.shape, 2).double(), spread, spread)


def test_true_elements_leave_no_residual():
    found = held_out(TURNS, Linear(), differential_invariance, randn(3, 8, 2))
    assert_close(found.loss, 0.0, atol=1e-12, rtol=0)
    assert_close(found.residual, 0.0, atol=1e-12, rtol=0)


def test_points_are_covered_where_another_task_has_data():
    """Of three tasks one has data elsewhere: of six ordered pairs, two meet."""
    train, held = 0.1 * randn(3, 400, 2), 0.05 * randn(3, 50, 2)
    train[2] += 5.0
    held[2] += 5.0
    assert covered(TURNS, train, held) == pytest.approx(1 / 3)
    assert covered(TURNS, 0.1 * randn(3, 400, 2), 0.05 * randn(3, 50, 2)) == pytest.approx(
        1, abs=0.05
    )


def test_false_elements_leave_the_misaligned_part_of_covered_pairs():
    identity = torch.eye(2).double().expand(3, 2, 2)
    found = held_out(identity, Linear(), differential_invariance, randn(3, 8, 2))
    misaligned = [1 - math.cos(float(ANGLES[i] - ANGLES[j])) for i, j in ((0, 1), (0, 2), (1, 2))]
    weights = [1 / FLOOR**2, 1 / (0.5 + FLOOR**2), 1 / (0.5 + FLOOR**2)]
    expected = sum(w * m for w, m in zip(weights, misaligned, strict=True)) / sum(weights)
    assert_close(found.residual, expected)
    loss = [math.log1p(2 * m * w) for w, m in zip(weights, misaligned, strict=True)]
    assert_close(found.loss, sum(loss) / 3)


# Copies, and elements of finite order.


def degrees(*angles):
    return torch.deg2rad(torch.tensor(angles).double())


def turned(*angles):
    return lie.exp(degrees(*angles)[:, None, None] * TURN)


def copies_of(elements, deviation_deg=0.01):
    return _copies(elements, degrees(*[deviation_deg] * (len(elements) - 1))).tolist()


@pytest.mark.parametrize(
    ("angles", "expected"),
    [
        ((0, 90, 200, 300), (False, False, False, False)),
        ((0, 0, 90, 90), (False, True, False, True)),
        ((0, 90, 90.3, 360.2), (False, False, True, True)),
        ((0, 1, 2, 3), (False, False, False, False)),
    ],
)
def test_tasks_that_repeat_an_earlier_one_are_copies(angles, expected):
    assert tuple(copies_of(turned(*angles))) == expected


def test_elements_that_are_not_sure_to_differ_are_copies():
    assert copies_of(turned(0, 2, 50), 0.1) == [False, False, False]
    assert copies_of(turned(0, 2, 50), 1.0) == [False, True, False]


def order_of(*angles, deviation_deg=0.01, generator=None):
    generator = TURN if generator is None else generator
    findings = SimpleNamespace(
        seen=generator,
        coords=degrees(*angles)[:, None],
        deviation=degrees(*[deviation_deg] * (len(angles) - 1)),
        problem=SimpleNamespace(leading=torch.arange(len(angles))),
    )
    return _order(findings, torch.zeros(len(angles), dtype=torch.bool))


@pytest.mark.parametrize(
    ("angles", "expected"),
    [
        ((0, 90, 180, -90), 4),
        ((0, 180, 0, 180), 2),
        ((0, 120, 240), 3),
        ((0, 45, 135), 8),
        ((0, 72, -72), 5),
        ((0, 360, 0), 1),
        ((0, 90.2, 180), 4),
        ((0, 91, 180), None),
        ((0, 80, 173), None),
        ((0, 40, 80), None),  # a ninth of a circle
    ],
)
def test_elements_of_a_finite_rotation_group_are_told(angles, expected):
    assert order_of(*angles) == expected


def test_elements_known_roughly_are_in_a_finite_group_as_far_as_two_degrees():
    assert order_of(0, 91, 180, deviation_deg=0.5) == 4
    assert order_of(0, 93, 180, deviation_deg=10.0) is None


@pytest.mark.parametrize(
    "generator",
    [
        torch.eye(2)[None],
        torch.tensor([[[0.0, 1.0], [0.0, 0.0]]]),
        torch.tensor([[[0.0, 1.0], [-1e-6, 0.0]]]),
        lie.so_generators(3),
    ],
)
def test_what_is_no_rotation_of_a_plane_has_no_order(generator):
    assert order_of(0, 90, 180, generator=generator.double()) is None


# Whole searches.

STATEMENTS = (
    "rewards",
    "homogeneous_dynamics",
    "equivariance",
    "action_set",
    "action_in_reward",
)


@pytest.mark.parametrize("name", ["cone", "inertia", "translations"])
def test_families_with_a_symmetry_are_found(name):
    metrics = searched(name).metrics
    assert metrics["verdict"] == "found", metrics["reasons"]
    assert metrics["reasons"] == []
    assert tuple(metrics["statements"]) == STATEMENTS
    for statement in metrics["statements"].values():
        low, high = statement["interval"]
        assert low <= statement["effect"] <= high
        assert statement["holds"] is True
        assert low <= statement["tolerance"]
    assert metrics["epsilon"] == max(
        0.0, *(one["effect"] for one in metrics["statements"].values())
    )
    assert metrics["undetermined"] == 0.0
    assert metrics["dynamics"] == "shared"
    assert metrics["calibration"] == "same"


def test_metrics_are_those_of_the_findings():
    found = searched("cone")
    metrics, findings = found.metrics, found.findings
    spectrum = findings.spectrum
    assert metrics["spectral_gap"] == pytest.approx(float(spectrum[0] / spectrum[1]))
    assert metrics["spectrum"] == spectrum.tolist()
    degrees = torch.rad2deg(findings.deviation)
    assert metrics["element_deviation_deg"] == pytest.approx(degrees.tolist())
    assert metrics["num_tasks"] == metrics["num_distinct_tasks"] == 4
    assert metrics["holdout_residual"] < 0.05 * metrics["holdout_residual_identity"]
    assert metrics["pooled"]
    assert metrics["reward_columns"] == [0, 1]
    assert metrics["reward_source"] == "next_observation"
    assert metrics["action_in_reward"] == "none"
    assert metrics["dynamics_model"] == "FourierDynamics"
    assert metrics["closure_residual"] == 0.0
    assert metrics["compactness"] < 0.05


def plain(value):
    """Whether a value is of plain numbers, strings and lists."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and plain(one) for key, one in value.items())
    if isinstance(value, list):
        return all(map(plain, value))
    return value is None or type(value) in (bool, int, float, str)


def test_metrics_are_plain():
    assert plain(searched("cone").metrics)
    assert math.isfinite(searched("cone").metrics["regret_bound"])


@pytest.mark.parametrize("num", [600, 1600])
def test_more_data_do_not_lose_what_was_found(num):
    assert searched("cone", num).metrics["verdict"] == "found"


def test_two_tasks_are_partial():
    metrics = searched("cone", num_tasks=2).metrics
    assert metrics["verdict"] == "partial"
    assert any("more tasks are needed" in reason for reason in metrics["reasons"])


def test_a_cost_of_actions_that_all_tasks_share_is_no_noise():
    metrics = searched("control_cost").metrics
    assert metrics["action_in_reward"] == "shared"
    # The terms, and how actions turn, are estimates: their errors are not told from a deviation.
    assert metrics["statements"]["action_in_reward"]["effect"] < 2e-3
    assert metrics["statements"]["rewards"]["holds"] is True
    assert metrics["reward_noise"] < 0.1


def test_dynamics_that_are_inherited_are_told():
    metrics = searched("turned_motors").metrics
    assert metrics["verdict"] == "found"
    assert metrics["dynamics"] == "inherited"


NEGATIVE = {
    "motors": "the tasks differ in their dynamics",
    "wind_wide": "the dynamics break the symmetry",
    "shapes": "rewards are not one reward moved",
}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "reason"), NEGATIVE.items(), ids=NEGATIVE)
def test_what_breaks_a_symmetry_is_named(name, reason):
    metrics = searched(name).metrics
    assert metrics["verdict"] != "found"
    assert any(reason in one for one in metrics["reasons"]), metrics["reasons"]


@pytest.mark.parametrize(
    ("looked", "asked"),
    [((0.004, 0.003, 0.005), True), ((0.1, 0.09, 0.11), False), ((0.0, -1e-4, 1e-4), False)],
)
def test_fresh_transitions_are_asked_about_small_deviations_alone(monkeypatch, looked, asked):
    first, settled = Statement(*looked, DYNAMICS), Statement(0.0, -1e-5, 1e-5, DYNAMICS)
    for name, found in (
        ("equivariant", Equivariance(first, 1.0)),
        ("one_in_all_frames", None),
        ("local", settled),
        ("preferred", settled),
    ):
        monkeypatch.setattr(examination, name, lambda *_, found=found: found)
    findings = SimpleNamespace(
        generators=TURN, action_generators=TURN, coords=ANGLES, dynamics=SimpleNamespace(model=None)
    )
    statement = examination._symmetric(findings, None, None).statement
    assert statement == (settled if asked else first)


@pytest.mark.parametrize(
    ("whole", "alone", "calls", "effect"),
    [
        (False, 0.02, [False], 0.02),
        (True, 0.02, [False], 0.02),  # broken: everything may tell tasks apart
        (True, 0.0, [False, True], 0.001),
    ],
)
def test_everything_is_asked_where_rewards_are_not_broken_by_themselves(
    monkeypatch, whole, alone, calls, effect
):
    asked = []

    def measured(*args):
        beyond, reward = args[-1], args[3].reward
        asked.append(beyond is not None)
        # Everything knows the actions, so rewards are as they are.
        assert_close(reward, raw.reward if beyond is not None else raw.reward - 1)
        size = 0.001 if beyond is not None else alone
        return OneReward(Statement(size, size - 0.0005, size + 0.0005, REWARDS), "same", 0.0, 0.0)

    monkeypatch.setattr(examination, "rewards_of_orbits", measured)
    raw = Samples(randn(3, 8, 2), randn(3, 8, 1), randn(3, 8), randn(3, 8, 2))
    seen = lambda samples: Seen(samples.next_state, samples.reward - 1)  # noqa: E731
    units = Units(torch.eye(2).double(), torch.ones(1).double(), 2)
    view = View(units, None, [0, 1])
    monkeypatch.setattr(View, "__call__", lambda self, samples: seen(samples))
    findings = SimpleNamespace(
        problem=SimpleNamespace(view=view, tails=None, leading=torch.arange(3)),
        coords=ANGLES[:, None],
        seen=TURN,
        generators=TURN,
        action_generators=torch.zeros(1, 1, 1).double(),
        deviation=torch.zeros(2).double(),
        bases=torch.zeros(3, dtype=torch.int64),
        orbits=(),
        whole=SimpleNamespace(tails=None, usual=0.1) if whole else None,
    )
    found = examination._rewards(findings, raw, raw)
    assert asked == calls
    assert found.statement.effect == effect


@pytest.mark.parametrize(
    ("alone", "beside", "told"),
    [
        ((0.0, 1e-4), (0.1, 0.01), "beside"),
        ((0.1, 0.01), (0.0, 1e-4), "alone"),  # is broken
        ((0.0, 0.1), (0.0, 1e-4), "beside"),
        ((0.0, 0.1), None, "alone"),
    ],
)
def test_terms_of_the_action_are_judged_beside_everything_unless_they_are_broken_alone(
    alone, beside, told
):
    both = {
        name: part and Statement(part[0], part[0] - part[1], part[0] + part[1], ACTION_TERMS)
        for name, part in (("alone", alone), ("beside", beside))
    }
    assert examination._in_action(both["alone"], both["beside"]) is both[told]
