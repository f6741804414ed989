"""What dynamics say of what rewards do not see, on systems known exactly and on noisy ones."""

import pytest
import torch
from systems import PACE, TURN, Known, LeastSquares, drawn, flat, integrator, randn, spin
from torch.testing import assert_close

from hgm import lie
from hgm.symmetry.completion import complete, shadow
from hgm.symmetry.invariance import equivariance_form

X = torch.tensor([0, 1])
"""Rewards see the position alone."""
WHOLE = torch.cat((spin(4, 0, 2)[0].flatten(), TURN[0].flatten()))


def form_of(change, dim_state, dim_action=2, size=None, num=300):
    state, action = randn(num, dim_state), randn(num, dim_action, seed=1)
    return equivariance_form(Known(dim_state, change), state, action, size or dim_state)


def test_rows_that_rewards_do_not_see_are_recovered_exactly():
    found = complete(form_of(integrator(), 4), TURN, X)
    assert_close(found.entries[0], WHOLE, atol=1e-6, rtol=0)
    assert (found.deviation < 1e-3).all()
    assert found.given.tolist() == 8 * [True] + 12 * [False]
    assert (found.deviation[0, :8] == 0).all()
    # Entries that are clear of zero are those of the velocity and of the action.
    assert found.not_zero(3.0).nonzero()[:, 0].tolist() == (WHOLE != 0).nonzero()[2:, 0].tolist()


def test_every_generator_is_completed_for_itself():
    every = lie.gl_generators(2).double()
    found = complete(form_of(integrator(), 4), every, X)
    for generator, entries in zip(every, found.entries, strict=True):
        expected = torch.block_diag(generator, generator)
        assert_close(entries[:16].view(4, 4), expected, atol=1e-6, rtol=0)
        assert_close(entries[16:].view(2, 2), generator, atol=1e-6, rtol=0)


def test_no_generators_are_completed_to_none():
    found = complete(form_of(integrator(), 4), TURN[:0], X)
    assert found.entries.shape == found.deviation.shape == (0, 20)
    assert not found.not_zero(3.0).any()


def test_actions_are_turned_as_what_they_do():
    mix = torch.tensor([[1.0, 0.4], [-0.2, 0.7]]).double()
    form = form_of(lambda s, a: a @ mix.mT, 2)
    found = complete(form, TURN, X)
    assert_close(found.entries[0, :4], TURN.flatten())
    expected = torch.linalg.inv(mix) @ TURN[0] @ mix
    assert_close(found.entries[0, 4:].view(2, 2), expected, atol=1e-6, rtol=0)


def test_translations_turn_no_actions():
    shifts = torch.zeros(2, 3, 3).double()
    shifts[0, 0, 2] = shifts[1, 1, 2] = 1.0
    found = complete(form_of(lambda s, a: a, 2, size=3), shifts, torch.arange(3))
    assert_close(found.entries[:, :6], shifts[:, :2].flatten(1))
    assert_close(found.entries[:, 6:], torch.zeros(2, 4).double(), atol=1e-8, rtol=0)


def idle(state, action):
    """A double integrator beside a coordinate that never moves, and an action without effect."""
    rest = torch.zeros_like(state[..., :1])
    return torch.cat((integrator()(state[..., :4], action[..., :2]), rest), -1)


def test_what_no_data_tell_stays_zero_and_is_not_sure():
    found = complete(form_of(idle, 5, 3), TURN, X)
    states, actions = found.entries[0, :25].view(5, 5), found.entries[0, 25:].view(3, 3)
    of_state = found.deviation[0, :25].view(5, 5)
    of_action = found.deviation[0, 25:].view(3, 3)
    assert_close(states[:4, :4], spin(4, 0, 2)[0], atol=1e-6, rtol=0)
    assert_close(actions[:2, :2], TURN[0], atol=1e-6, rtol=0)
    # What it does to itself, and what the others do to the idle action.
    assert_close(of_state[4, 4], torch.tensor(1.0).double(), atol=1e-3, rtol=0)
    assert_close(of_action[2], torch.ones(3).double(), atol=1e-3, rtol=0)
    assert states[4, 4].abs() < 1e-6
    assert (actions[2].abs() < 1e-6).all()
    told = of_state[2:4, :4]
    assert (told < 1e-3).all()
    stays = found.not_zero(3.0)
    assert not stays[24]
    assert not stays[-3:].any()


def noisy(seed, num, noise):
    data = drawn(integrator(), 4, 2, num, noise, seed, num_tasks=1)
    inputs, change, half = flat(data)
    model = LeastSquares()
    model.fit(inputs, change, half)
    return complete(equivariance_form(model, inputs[:, :4], inputs[:, 4:], 4), TURN, X)


@pytest.mark.parametrize(("num", "noise"), [(300, 0.05), (1000, 0.1), (300, 0.01)])
def test_deviations_are_those_of_repeated_fits(num, noise):
    found = [noisy(seed, num, noise) for seed in range(60)]
    free = ~found[0].given
    error = torch.stack([one.entries[0] - WHOLE for one in found])[:, free]
    deviation = torch.stack([one.deviation[0] for one in found])[:, free]
    score = error / deviation
    assert 0.85 < float(score.square().mean().sqrt()) < 1.35
    assert float((score.abs() < 1.96).double().mean()) > 0.88
    assert float((score.abs() < 3.0).double().mean()) > 0.95
    assert (score.square().mean(0).sqrt() < 1.6).all()


def test_more_data_make_entries_surer():
    few, many = noisy(0, 200, 0.1), noisy(0, 3200, 0.1)
    free = ~few.given
    ratio = few.deviation[0, free] / many.deviation[0, free]
    # Sixteen times the data; twins' errors are products of two where the truth leaves nothing.
    assert float(ratio.min()) > 3.0
    assert float(ratio.max()) < 9.0


# What the dynamics say of the seen entries.

FRICTION = torch.diag(torch.tensor([1.0, 0.2])).double()
CASES = {
    # friction, and the directions of gl(2) that the dynamics keep: what commutes with it
    "of one axis": (FRICTION, lie.gl_generators(2).double()[[0, 3]]),
    "magnetic": (TURN[0], torch.stack((torch.eye(2).double(), TURN[0]))),
}


@pytest.mark.parametrize(("friction", "kept"), CASES.values(), ids=CASES)
def test_dynamics_keep_what_commutes_with_the_friction(friction, kept):
    found = shadow(form_of(integrator(friction), 4), X)
    basis = lie.gl_generators(2).double().flatten(1)
    directions = found.kept(basis)
    assert_close(directions @ directions.mT, torch.eye(len(kept)).double())
    spans = [some.view(-1, 2, 2) for some in (directions @ basis, kept)]
    assert_close(lie.span_cosine(*spans), torch.tensor(1.0).double(), atol=1e-8, rtol=0)


def noisy_shadow(friction, seed):
    inputs, change, half = flat(drawn(integrator(friction), 4, 2, 1000, 0.02, seed))
    model = LeastSquares()
    model.fit(inputs, change, half)
    return shadow(equivariance_form(model, inputs[:, :4], inputs[:, 4:], 4), X)


@pytest.mark.parametrize("seed", range(5))
def test_noisy_dynamics_keep_the_same(seed):
    basis = lie.gl_generators(2).double().flatten(1)
    kept = noisy_shadow(FRICTION, seed).kept(basis)
    assert lie.span_cosine((kept @ basis).view(-1, 2, 2), CASES["of one axis"][1]) > 0.99


def test_without_friction_noisy_dynamics_keep_nearly_all_linear_maps():
    basis = lie.gl_generators(2).double().flatten(1)
    num = [len(noisy_shadow(None, seed).kept(basis)) for seed in range(12)]
    assert min(num) >= 3
    assert sum(num) > 3.5 * 12


@pytest.mark.parametrize("friction", [FRICTION, TURN[0]])
def test_price_is_positive_and_the_four_entries_cost_one_on_average(friction):
    price = shadow(form_of(integrator(friction), 4), X).price
    values = torch.linalg.eigvalsh(price)
    assert values[0] > -1e-9
    assert_close(price, price.mT)
    assert_close(price.trace(), torch.tensor(4.0).double())
    assert (values[:2] < 1e-5).all()  # what commutes with the friction is free
    assert_close(values[2:], torch.full((2,), 2.0).double(), atol=0.3, rtol=0)


def test_what_rewards_do_not_see_follows_at_no_cost():
    """The least over all completions, in closed form, of the form itself."""
    form = form_of(integrator(FRICTION), 4)
    gram = shadow(form, X).gram
    seen = randn(4, seed=9)
    states = torch.zeros(4, 4).double()
    states[:2, :2] = seen.view(2, 2)
    known = torch.cat((states.flatten(), torch.zeros(4).double()))
    free = torch.ones(20, dtype=torch.bool)
    free[:8] = False
    block, cross = form.gram[free][:, free], form.gram[free] @ known
    least = known @ form.gram @ known - cross @ torch.linalg.pinv(block, hermitian=True) @ cross
    assert_close(seen @ gram @ seen, least, atol=1e-6, rtol=1e-4)


def test_units_of_time_do_not_matter_to_what_is_kept():
    basis = lie.gl_generators(2).double().flatten(1)
    change = integrator(FRICTION)
    slow = shadow(form_of(lambda s, a: 1e-3 / PACE * change(s, a), 4), X).kept(basis)
    assert_close(
        lie.span_cosine((slow @ basis).view(-1, 2, 2), CASES["of one axis"][1]),
        torch.tensor(1.0).double(),
        atol=1e-8,
        rtol=0,
    )
