"""What rewards say of actions, and what of a group they do not tell."""

import math
from types import SimpleNamespace

import pytest
import torch
from systems import TURN, randn

from hgm import lie
from hgm.groups import GL
from hgm.symmetry.conclusion import left_alone, price_of_turns
from hgm.symmetry.findings import Problem
from hgm.symmetry.relevance import Sight
from hgm.symmetry.samples import Samples
from hgm.symmetry.view import Units, View

ACTION = randn(3, 4000, 2)
TURNS = lie.exp(torch.tensor([0.0, 0.7, -1.1]).double()[:, None, None] * TURN)


class Cost:
    """Squares of the action."""

    def __init__(self, shared=True):
        self.shared = shared

    def __call__(self, action):
        return -0.5 * action.square().sum(-1)


def price(terms, turns, noise=0.1):
    view = SimpleNamespace(sight=SimpleNamespace(terms=terms))
    estimator = SimpleNamespace(noise=torch.full((3,), noise).double())
    within = SimpleNamespace(problem=SimpleNamespace(view=view), estimator=estimator)
    return price_of_turns(within, ACTION, turns)


def test_turns_that_keep_the_cost_are_free():
    assert price(Cost(), TURNS) == pytest.approx(0, abs=1e-12)


def test_what_changes_the_cost_is_paid_for_in_its_noise():
    """Actions of half the size cost four times as much: 3/2 of the square, against 0.1."""
    square = ACTION.square().sum(-1).var(1).mean()
    halved = 0.5 * TURNS
    expected = 0.5 * math.log1p(float((1.5**2) * square) / 0.1**2)
    assert price(Cost(), halved) == pytest.approx(expected)


def test_rewards_without_noise_are_known_as_well_as_any_model_knows_them():
    assert price(Cost(), TURNS, noise=0.0) == pytest.approx(0, abs=1e-12)
    assert 1 < price(Cost(), 0.5 * TURNS, noise=0.0) < 20


@pytest.mark.parametrize("terms", [None, Cost(shared=False)])
def test_terms_of_a_task_s_own_say_nothing(terms):
    assert price(terms, 0.5 * TURNS) == 0.0


class Bowls:
    """Gradients of ``|L^{-1} p|^2`` of tasks that are scaled."""

    def __init__(self, coords):
        self.scales = (-2 * coords).exp()

    def jet(self, points, tasks):
        return SimpleNamespace(gradient=2 * self.scales[tasks][:, None] * points)


def test_of_scalings_bowls_do_not_tell_the_turns():
    """Among the second and third of three coordinates, of the tasks that lead."""
    coords, leading = torch.tensor([[0.0], [0.4], [-0.3]]).double(), torch.tensor([0, 2])
    kept = Samples(randn(3, 400, 3), randn(3, 400, 1), randn(3, 400), randn(3, 400, 3, seed=1))
    units = Units(torch.eye(3).double(), torch.ones(1).double(), 3)
    view = View(units, Sight("next_observation", [1, 2], None, torch.zeros(3)), [1, 2])
    problem = Problem(view, GL(2).double(), Bowls(coords[leading]), leading, True)
    scaling = torch.eye(2).double()[None]
    still = left_alone(problem, scaling, coords, kept)
    assert still.shape == (1, 3, 3)
    turn = torch.zeros(3, 3).double()
    turn[1, 2], turn[2, 1] = -(0.5**0.5), 0.5**0.5
    assert float((still[0] * turn).sum().abs()) == pytest.approx(1, abs=1e-6)
    # What leaves rewards alone says nothing of itself, and several would be no algebra.
    two = torch.cat((scaling, TURN))
    places = torch.cat((coords, coords), 1)
    assert not len(left_alone(problem, TURN, coords, kept))
    assert not len(left_alone(problem, two, places, kept))
