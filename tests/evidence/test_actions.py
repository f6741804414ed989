"""Whether the group keeps the set of actions, and what the reward owes to them."""

import math

import pytest
import torch
from systems import TURN, Known, randn

from hgm import lie
from hgm.evidence.actions import inherited_terms, keeps_actions
from hgm.symmetry.relevance import ActionTerms
from hgm.symmetry.samples import Samples

COORDS = torch.tensor([[0.0], [1.0], [-2.0]]).double()


def rand(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def box(seed, num=300):
    return 2 * rand(3, num, 2, seed=seed) - 1


def disc(seed, num=300):
    radius, angle = rand(3, num, seed=seed).sqrt(), 2 * math.pi * rand(3, num, seed=seed + 50)
    return radius[..., None] * torch.stack((angle.cos(), angle.sin()), -1)


def bell(seed, num=300):
    return randn(3, num, 2, seed=seed)


def moved(draw, change=lambda state, action: 0.1 * action, turns=TURN):
    def some(seed):
        state, action = randn(3, 300, 2, seed=seed + 9), draw(seed)
        return Samples(state, action, state[..., 0], state + change(state, action))

    return keeps_actions(Known(2, change), TURN, turns, COORDS, some(0), some(1))


def test_of_a_square_the_corners_leave():
    found = moved(box)
    # The distance of the strongest actions to the square, over all angles, as a share of theirs.
    action = box(1).flatten(0, 1)
    strong = action[action.norm(dim=-1).argsort(descending=True)[:60]]
    angles = torch.linspace(0, 2 * math.pi, 721).double()[:-1, None, None]
    left = (lie.act(lie.exp(angles * TURN), strong).abs() - 1).clamp_min(0)
    expected = left.square().sum(-1).mean() / strong.square().sum(-1).mean()
    assert found.effect == pytest.approx(float(expected), rel=0.25)
    assert found.low > 0


def test_a_narrow_box_is_not():
    narrow = torch.tensor([1.0, 0.2]).double()
    found = moved(lambda seed: narrow * box(seed))
    assert found.broken
    assert not found.tolerable


def test_a_disc_is():
    found = moved(disc)
    assert not found.broken
    assert found.holds is True


def among_eight(draw):
    """The statement where the group turns two of eight actions, and the others say how strongly."""
    turn = torch.zeros(1, 8, 8).double()
    turn[:, :2, :2] = TURN

    def push(state, action):
        return 0.1 * action[..., :2] * (1 + 0.2 * action[..., 2:].mean(-1, keepdim=True))

    def some(seed):
        state = randn(3, 300, 2, seed=seed + 9)
        action = torch.cat((draw(seed), 2 * rand(3, 300, 6, seed=seed + 30) - 1), -1)
        return Samples(state, action, state[..., 0], state + push(state, action))

    return keeps_actions(Known(2, push), TURN, turn, COORDS, some(0), some(1))


def test_of_eight_actions_those_that_turn_are_compared():
    assert among_eight(disc).holds is True
    narrow = torch.tensor([1.0, 0.2]).double()
    found, alone = among_eight(lambda seed: narrow * box(seed)), moved(lambda s: narrow * box(s))
    assert found.broken
    assert found.effect == pytest.approx(alone.effect, rel=0.4)


def test_what_has_no_edge_bounds_nothing():
    assert moved(bell).effect == 0.0
    assert moved(bell).holds is True


def test_a_group_that_turns_no_actions_keeps_them():
    found = moved(box, turns=torch.zeros(1, 2, 2).double())
    assert (found.effect, found.holds) == (0.0, True)


def test_a_box_whose_corners_do_nothing_is_kept():
    """Actions are cut to a disc by the system: what they do can be done."""

    def cut(state, action):
        return 0.1 * action / action.norm(dim=-1, keepdim=True).clamp_min(0.6) * 0.6

    assert not moved(box, cut).broken


@pytest.mark.parametrize(("draw", "kept"), [(box, False), (disc, True)])
def test_inherited_dynamics_need_actions_that_are_kept(draw, kept):
    """A task does to ``K a`` what the base task does to ``a``: it must be able to do ``K a``."""

    def some(seed):
        action = draw(seed)
        return Samples(action, action, action[..., 0], action)

    model = Known(2, lambda state, action: 0.1 * action)
    found = keeps_actions(model, TURN, -TURN, COORDS, some(0), some(1), inherited=True)
    assert found.holds is kept
    if not kept:
        assert found.effect == pytest.approx(moved(box).effect, rel=0.3)


# What rewards owe to actions.


def terms_of(forms, halves=None):
    """Quadratic terms ``a^T F_i a`` of each task, exactly or differently by half."""

    def weights(some):
        entries = torch.stack((some[:, 0, 0], some[:, 0, 1] + some[:, 1, 0], some[:, 1, 1]), -1)
        return torch.cat((torch.zeros_like(entries[:, :2]), entries), -1) / 3.0

    both = torch.stack([weights(half) for half in halves or (forms, forms)])
    none = torch.zeros(0, 2).double()
    return ActionTerms(torch.ones(2).double(), none, none[:, 0], weights(forms), both, False)


def held():
    state, action = randn(3, 400, 2, seed=1), randn(3, 400, 2, seed=2)
    return Samples(state, action, randn(3, 400, seed=3), state)


TURNS = lie.exp(COORDS[..., None] * TURN)
EFFORT = torch.eye(2).double().expand(3, 2, 2)
LOPSIDED = torch.diag(torch.tensor([1.0, 0.2])).double().expand(3, 2, 2)
CARRIED = TURNS @ LOPSIDED @ TURNS.mT


def test_the_features_are_the_quadratic_forms():
    action, form = randn(3, 7, 2), randn(3, 2, 2, seed=5)
    expected = torch.einsum("nbi,nij,nbj->nb", action, form, action)
    torch.testing.assert_close(terms_of(form)(action), expected)


def test_rewards_without_actions_owe_them_nothing():
    found = inherited_terms(None, TURNS, held())
    assert (found.effect, found.holds) == (0.0, True)


@pytest.mark.parametrize("forms", [EFFORT, CARRIED], ids=["effort", "carried"])
def test_terms_that_the_group_keeps_or_carries_are_inherited(forms):
    found = inherited_terms(terms_of(forms), TURNS, held())
    assert abs(found.effect) < 1e-12
    assert found.holds is True


def test_a_lopsided_cost_that_all_tasks_share_is_not_inherited():
    found = inherited_terms(terms_of(LOPSIDED), TURNS, held())
    deviation = LOPSIDED - TURNS.mT @ LOPSIDED @ TURNS
    # The variance of a^T D a over standard normal actions is 2 |D|^2; that of rewards is 1.
    expected = 2 * float(deviation[1:].square().sum((1, 2)).mean())
    assert found.effect == pytest.approx(expected, rel=0.2)
    assert found.broken


def test_what_one_half_of_the_data_says_alone_is_noise():
    off = EFFORT + torch.tensor([0.0, 1.0, 1.0]).double()[:, None, None] * LOPSIDED
    found = inherited_terms(terms_of(off, (EFFORT, off)), TURNS, held())
    assert abs(found.effect) < 1e-12


def test_constants_are_nobody_s_own():
    shifted = terms_of(EFFORT)
    action = held().action
    assert inherited_terms(shifted, TURNS, held()._replace(action=action)).effect == pytest.approx(
        0
    )
