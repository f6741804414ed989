"""The bound on the regret against its formula, written out."""

import math

import pytest
import torch

from hgm.evidence.regret import regret_bound
from hgm.evidence.statement import Statement, Tolerance
from hgm.symmetry.samples import Samples

NAMES = (
    "rewards",
    "action_in_reward",
    "homogeneous_dynamics",
    "equivariance",
    "action_set",
)
TOLERANCE = Tolerance(small=0.001, large=0.1, approximate=0.05)


def samples(size=1.0):
    """Displacements of one length, and rewards of standard deviation 2."""
    state = torch.zeros(2, 100, 2).double()
    following = state + size * torch.tensor([0.3, 0.4]).double()
    reward = torch.tensor([-1.0, 1.0]).double().repeat(2, 50)
    return Samples(state, state, 2 * reward / reward[0].std(), following)


def bound(largest=0.0, horizon=9, slope=1.5, size=1.0, **shares):
    """Shares are the interval's upper ends; those of 0.01 or more are broken."""
    statements = {
        name: Statement(0.0, high / 4 if high < math.inf else -high, high, TOLERANCE)
        for name, high in (dict.fromkeys(NAMES, 0.0) | shares).items()
    }
    return regret_bound(statements, largest, slope, samples(size), horizon)


def test_nothing_costs_nothing():
    assert bound() == (0.0, 0.0)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("rewards", 4 * 3 * 0.2 * 2),
        ("action_in_reward", 2 * 3 * 0.2 * 2),
        ("homogeneous_dynamics", 10 * 1.5 * 0.2 * 0.5),
        ("equivariance", 10 * 1.5 * 0.2 * 0.5),
        ("action_set", 10 * 1.5 * 0.2 * 0.5),
    ],
)
def test_broken_statements_cost_what_they_leave_open(name, expected):
    seen, unseen = bound(**{name: 0.04})
    assert seen == pytest.approx(expected)
    assert unseen == 0.0
    # A tenth of the amplitude is too little to be seen.
    seen, unseen = bound(**{name: 0.0004})
    assert seen == 0.0
    assert unseen == pytest.approx(expected / 10)


def test_rewards_count_by_the_larger_of_two_estimates():
    assert bound(largest=0.3) == (1.2, 0.0)
    seen, unseen = bound(largest=0.03, rewards=0.0004)
    assert (seen, unseen) == (pytest.approx(0.12), pytest.approx(0.48 - 0.12))
    assert sum(bound(largest=0.03, rewards=0.04)) == pytest.approx(4.8)


def test_what_is_not_known_is_not_bounded():
    assert bound(largest=0.1, equivariance=math.inf).unseen == math.inf


def test_costs_of_the_dynamics_grow_with_their_size():
    one, two = (bound(equivariance=0.04, size=size).seen for size in (1.0, 2.0))
    assert two == pytest.approx(2 * one)
