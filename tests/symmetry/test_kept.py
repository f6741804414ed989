"""Directions that the dynamics keep, sharpened by finite elements."""

import math
from types import SimpleNamespace

import pytest
import torch
from systems import Known, drawn, flat, randn
from torch.testing import assert_close

from hgm import lie
from hgm.dynamics import FourierDynamics, choose, fourier
from hgm.groups import GL, Compact
from hgm.symmetry import kept
from hgm.symmetry.completion import shadow
from hgm.symmetry.findings import Problem
from hgm.symmetry.finite import finite_misses, squares
from hgm.symmetry.invariance import equivariance_form, equivariance_rows
from hgm.symmetry.kept import Sharp, allowed_entries, keep, sharpen, unbroken


def modes(state, action):
    """A mode that is driven, and one of thrice the rate, which its cube drives."""
    first, third = (torch.view_as_complex(part.contiguous()) for part in state.split(2, -1))
    push = torch.view_as_complex((action / (1 + action.square().sum(-1, True)).sqrt()).contiguous())
    change = (-0.1 * first + 0.3 * push, -0.4 * third + 0.6 * first**3)
    return torch.cat([torch.view_as_real(part) for part in change], -1)


TURN = torch.tensor([[0.0, -1.0], [1.0, 0.0]]).double()
TRUTH = torch.cat((torch.block_diag(TURN, 3 * TURN).flatten(), TURN.flatten()))[None]
ALL = torch.eye(20).double()


def data():
    inputs, _, _ = flat(drawn(modes, 4, 2, 400))
    return inputs[:, :4], inputs[:, 4:]


def cosine(entries):
    return torch.cosine_similarity(entries.flatten(), TRUTH.flatten(), 0)


@pytest.mark.parametrize("seed", range(3))
def test_with_known_dynamics_it_ends_near_the_truth(seed):
    start = TRUTH + 0.15 * randn(1, 20, seed=seed)
    assert cosine(start) < 0.993
    found = sharpen(Known(4, modes), *data(), start, ALL, 4).entries
    assert cosine(found) > 0.999


def test_directions_do_not_shrink():
    """The zero generator is a symmetry of everything."""
    found = sharpen(Known(4, modes), *data(), TRUTH + 0.1 * randn(1, 20), ALL, 4).entries
    assert float(found.norm()) == pytest.approx(math.sqrt(2), rel=0.2)


def test_what_rewards_do_not_see_stays_zero():
    free = torch.ones(20, dtype=torch.bool)
    free[[2, 3, 6, 7]] = False
    form = ALL[free]
    start = (TRUTH + 0.1 * randn(1, 20)) * free
    found = sharpen(Known(4, modes), *data(), start, form, 4).entries
    assert (found[:, ~free] == 0).all()
    assert cosine(found) > 0.999


def test_too_many_unknowns_are_left_alone(monkeypatch):
    monkeypatch.setattr(kept, "_MOST", 18)
    start = TRUTH + 0.1 * randn(1, 20)
    assert sharpen(Known(4, modes), *data(), start, ALL, 4).entries is start


def test_what_is_told_less_well_has_more_doubt():
    state, action = data()
    inputs = torch.cat((state, action), -1)
    sizes = []
    for noise in (0.02, 1.0):
        change = modes(state, action) + noise * randn(len(inputs), 4, seed=5)
        half = torch.arange(len(inputs)) // 20 % 2
        model = choose([FourierDynamics(4, 2)], inputs, change, half)
        found, doubt = sharpen(model, state, action, TRUTH, ALL, 4)
        assert doubt.shape[:2] == found.shape
        # Changes of the generator's own length are none.
        assert (TRUTH @ doubt[0]).abs().max() < 1e-6
        sizes.append(float(doubt.norm()))
    assert 0 < 1.2 * sizes[0] < sizes[1]


def missed(seed):
    """Of the true generator, by what is kept and by what finite elements make of it."""
    state, action = data()
    inputs = torch.cat((state, action), -1)
    change = modes(state, action) + 0.1 * randn(len(inputs), 4, seed=seed)
    half = torch.arange(len(inputs)) // 20 % 2
    model = choose([FourierDynamics(4, 2)], inputs, change, half)
    form = shadow(equivariance_form(model, state, action, 4), torch.arange(4))
    basis = lie.gl_generators(4).double().flatten(1)
    before = form.kept(basis) @ basis @ form.follow.mT
    allowed = allowed_entries(lie.gl_generators(4).double(), torch.arange(4), form, 4, 4)
    after = sharpen(model, state, action, before, allowed, 4).entries
    truth = TRUTH[:, :16].view(1, 4, 4)
    spans = [lie.orthonormalise(squares(entries, 4, 4)) for entries in (before, after)]
    return [1 - float((truth * span).sum((-1, -2)).norm() / truth.norm()) for span in spans]


def test_jacobians_tell_rates_less_well_than_values_do(monkeypatch):
    monkeypatch.setattr(fourier, "_ROUNDS", 0)  # waves that fill the space alone
    # By noise they may tell as much in one recording.
    before, after = (sum(one) for one in zip(*map(missed, range(5, 8)), strict=True))
    assert after < 0.6 * before
    assert after < 2e-3


def small_and_large(state, action):
    """Scales keep the second state, which is ten times as large as what the first one moves by."""
    first, second = state.split(1, -1)
    return torch.cat((0.1 * action[..., :1] - 0.05 * first.tanh(), 0.1 * second), -1)


SCALES = torch.zeros(2, 8).double()
SCALES[0, 0] = SCALES[1, 3] = 2**0.5


@pytest.mark.parametrize("mixed", [False, True])
def test_directions_that_finite_elements_break_are_dropped(mixed):
    state, action = randn(800, 2, seed=1), randn(800, 2, seed=2)
    entries = torch.tensor([[0.6, 0.8], [-0.8, 0.6]]).double() @ SCALES if mixed else SCALES
    model = Known(2, small_and_large)
    model.scale = small_and_large(state, action).std(0)
    left = unbroken(model, state, action, entries, 2)
    assert len(left) == 1
    assert torch.cosine_similarity(left[0], SCALES[1], 0).abs() > 0.999


@pytest.mark.parametrize(("size", "left"), [(0.1, 0), (3.0, 2)])
def test_what_may_be_noise_breaks_nothing(size, left):
    """Errors of the twins differ: where these are large, nothing is dropped for what they share."""

    def twin(sign):
        return lambda state, action: (
            (0.6 + sign * size) * torch.stack((state[..., 1].sin(), state[..., 0].cos()), -1)
        )

    state, action = randn(800, 2, seed=1), randn(800, 2, seed=2)
    assert len(unbroken(Known(2, twin(1), twin(-0.1)), state, action, SCALES, 2)) == left


def test_misses_are_rates_of_what_is_odd_in_the_element():
    """Near the identity, those of the equivariance residual."""
    state, action = (some[:50] for some in data())
    far = torch.tensor([1e-3]).double()
    found = finite_misses(Known(4, modes), state, action, ALL[3:4], far, 4)
    model, inputs = Known(4, modes), torch.cat((state, action), -1)
    value, jacobian = model.predict(inputs)
    rows = equivariance_rows(state, action, value, jacobian, 4)
    assert_close(found[0], rows[..., 3], atol=1e-6, rtol=1e-4)
    exact = finite_misses(model, state, action, TRUTH, torch.tensor([0.5]).double(), 4)
    assert exact.abs().max() < 1e-12


@pytest.mark.parametrize(("few", "sizes"), [(1, [1, 2]), (2, [2]), (0, [2])])
def test_what_finite_elements_keep_comes_before_what_the_form_keeps(monkeypatch, few, sizes):
    """Unless they break all of it, or nothing."""
    problem, dynamics, samples = posed(GL(2).double(), monkeypatch)
    monkeypatch.setattr(kept, "unbroken", lambda *parts: parts[3][:few])
    found = keep(problem, dynamics, samples)
    assert [len(one.directions) for one in found] == sizes
    assert_close(found[0].directions, found[-1].directions[: sizes[0]])


def test_a_group_that_is_learned_keeps_what_the_form_keeps(monkeypatch):
    """Its generators change; what was asked of the first ones is not said of the last."""
    problem, dynamics, samples = posed(Compact(3).double(), monkeypatch)
    monkeypatch.setattr(kept, "unbroken", lambda *parts: parts[3][:1])
    assert [len(one.directions) for one in keep(problem, dynamics, samples)] == [2]


def posed(group, monkeypatch):
    """A search in a group of which the form keeps two directions."""
    n = group.dim_space
    form = SimpleNamespace(
        kept=lambda basis: torch.eye(group.dim_algebra).double()[:2],
        price=torch.eye(n * n).double(),
        follow=torch.eye(n * n + 4, n * n).double(),
        free=torch.ones(n * n + 4, dtype=torch.bool),
    )
    monkeypatch.setattr(kept, "shadow", lambda *_: form)
    monkeypatch.setattr(kept, "sharpen", lambda *parts: Sharp(parts[3], None))
    units = SimpleNamespace(frame=torch.eye(n).double())
    view = SimpleNamespace(index=torch.arange(n), units=units)
    samples = SimpleNamespace(state=randn(2, 50, n), action=randn(2, 50, 2, seed=1))
    dynamics = SimpleNamespace(form=None, model=None)
    return Problem(view, group, None, None, True), dynamics, samples
