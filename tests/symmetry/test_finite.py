"""Generators from finite transformations, on dynamics whose symmetry is known exactly."""

import math

import pytest
import torch
from systems import TURN, Known, drawn, flat, randn, spin
from torch.testing import assert_close

from hgm.dynamics import FourierDynamics
from hgm.symmetry.completion import Completion
from hgm.symmetry.finite import FiniteTransformations, refine, snap_periods

TWIST = torch.tensor([[1.0, 0.6], [0.0, 0.8]]).double()
"""Actions are felt through this map, so that `W_A` is conjugate to `W_S` and not equal to it."""
TRUTH = torch.linalg.inv(TWIST) @ TURN @ TWIST
WHOLE = torch.cat((TURN.flatten(1), TRUTH.flatten(1)), 1)
GIVEN = torch.tensor(4 * [True] + 4 * [False])
COORDS = torch.tensor([[0.0], [1.0], [-2.0]]).double()


def pushed(state, action):
    """Displacements that saturate: they know no other symmetry than rotations."""
    push = action @ TWIST.mT
    return push / (1 + push.square().sum(-1, keepdim=True)).sqrt()


def completion_of(entries, deviation=1e-3):
    return Completion(entries, torch.where(GIVEN, 0.0, deviation).double()[None], GIVEN)


def refined(model, data, completion):
    inputs, _, _ = flat(data)
    n = data.state.shape[-1]
    return refine(model, inputs[:, :n], inputs[:, n:], completion, COORDS, n)


DOUBT = 0.15


def off(seed):
    """Where a completion may be that errs by :data:`DOUBT`."""
    return WHOLE + torch.where(GIVEN, 0.0, DOUBT) * randn(1, 8, seed=seed)


@pytest.mark.parametrize("seed", range(3))
def test_with_known_dynamics_it_ends_at_the_truth(seed):
    found = refined(Known(2, pushed), drawn(pushed, 2, 2, 200), completion_of(off(seed), DOUBT))
    assert torch.equal(found[:, GIVEN], WHOLE[:, GIVEN])
    # Two rounds, each of which is also told of where it starts.
    assert (found - WHOLE).norm() < 0.03 * DOUBT


def test_the_truth_stays():
    found = refined(Known(2, pushed), drawn(pushed, 2, 2, 200), completion_of(WHOLE, DOUBT))
    assert_close(found, WHOLE, atol=1e-9, rtol=0)


def test_what_was_sure_before_stays_nearly():
    """Finite elements are many and not independent: they do not outweigh what is known well."""
    start = off(0)
    found = refined(Known(2, pushed), drawn(pushed, 2, 2, 200), completion_of(start, 1e-3))
    assert 0 < (found - start).norm() < 0.05 * (start - WHOLE).norm()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("noise", "tolerance"), [(0.0, 0.01), (0.05, 0.06)])
def test_with_learned_dynamics_it_comes_nearer(noise, tolerance, seed):
    data = drawn(pushed, 2, 2, 600, noise)
    model = FourierDynamics(2, 2)
    inputs, change, half = flat(data)
    model.fit(inputs, change, half)
    model.examine(inputs, change, half)
    start = off(seed)
    found = refined(model, data, completion_of(start, DOUBT))
    assert torch.equal(found[:, GIVEN], WHOLE[:, GIVEN])
    assert (found - WHOLE).norm() < tolerance
    assert (found - WHOLE).norm() < (start - WHOLE).norm() / 2


def test_what_is_not_clear_of_zero_is_zero_and_the_rest_follows():
    """Actions felt as they are turn by a matrix whose diagonal is zero."""

    def plain(state, action):
        return action / (1 + action.square().sum(-1, keepdim=True)).sqrt()

    start = torch.cat((TURN.flatten(), torch.tensor([0.05, -1.1, 0.9, 0.02]).double()))[None]
    deviation = torch.tensor([0, 0, 0, 0, 0.1, 0.1, 0.1, 0.1]).double()[None]
    found = refined(Known(2, plain), drawn(plain, 2, 2, 200), Completion(start, deviation, GIVEN))
    assert (found[0, [4, 7]] == 0).all()
    assert_close(found[0, 4:].view(2, 2), TURN[0], atol=2e-3, rtol=0)


def test_in_other_coordinates_small_entries_are_no_zeros():
    inputs, _, _ = flat(drawn(pushed, 2, 2, 200))
    start = completion_of(WHOLE, 1.0)
    natural, other = (
        refine(Known(2, pushed), inputs[:, :2], inputs[:, 2:], start, COORDS, 2, whether)
        for whether in (True, False)
    )
    assert (natural[0, 4:] == 0).any()
    assert_close(other, WHOLE, atol=2e-3, rtol=0)


def test_what_the_completion_is_not_sure_of_is_not_zero_before_finite_elements_tell():
    start = completion_of(WHOLE + torch.where(GIVEN, 0.0, 0.2 * WHOLE), 0.8)
    free = ~GIVEN & (start.entries[0] != 0)
    assert bool((start.entries.abs() < 1.5 * start.deviation)[0, free].any())
    found = refined(Known(2, pushed), drawn(pushed, 2, 2, 200), start)
    assert_close(found, WHOLE, atol=2e-3, rtol=0)


@pytest.mark.parametrize("deviation", [10.0, math.inf])
def test_without_clear_entries_there_is_nothing_to_refine(deviation):
    found = refined(Known(2, pushed), drawn(pushed, 2, 2, 50), completion_of(WHOLE, deviation))
    assert torch.equal(found, torch.where(GIVEN, WHOLE, 0.0))


def test_no_generators_are_refined_to_none():
    completion = Completion(WHOLE[:0], WHOLE[:0], GIVEN)
    model = Known(2, pushed)
    assert refine(model, randn(5, 2), randn(5, 2), completion, COORDS[:, :0], 2).shape == (0, 8)


def test_too_many_unknowns_are_left_as_they_are():
    n = 15
    entries = randn(1, n * n + 1)
    given = torch.zeros(n * n + 1, dtype=torch.bool)
    completion = Completion(entries, torch.full_like(entries, 1e-9), given)
    assert int(completion.not_zero(3.0).sum()) > 200
    found = refine(Known(n, lambda s, a: s), randn(9, n), randn(9, 1), completion, COORDS, n)
    assert torch.equal(found, entries)


@pytest.mark.parametrize(("size", "dim"), [(2, 1), (3, 1), (2, 2), (3, 3)])
def test_the_objective_has_the_derivative_it_says(size, dim):
    state, action = randn(40, 2), randn(40, 2, seed=1)
    start = 0.5 * randn(dim, 2 * size + 4, seed=2)
    basis = randn(5, 2 * size + 4, seed=3)
    far = torch.full((dim,), 2.0).double()
    problem = FiniteTransformations(Known(2, pushed), state, action, start, basis, far, size)
    unknowns = 0.3 * randn(5 * dim, seed=4)
    assert_close(problem.entries(unknowns), start + unknowns.view(dim, 5) @ basis)
    terms = problem(unknowns, True)
    eye = 1e-6 * torch.eye(len(unknowns)).double()
    numeric = torch.stack(
        [
            (problem(unknowns + step, False).residual - problem(unknowns - step, False)[0]) / 2e-6
            for step in eye
        ],
        -2,
    )
    assert_close(terms.jacobian, numeric, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("dim", [1, 2, 5, 200])
def test_as_many_pairs_of_element_and_point_however_many_directions(dim):
    state, entries = randn(4000, 2), torch.zeros(dim, 8).double()
    far = torch.ones(dim).double()
    problem = FiniteTransformations(
        Known(2, pushed), state, randn(4000, 2), entries, entries, far, 2
    )
    assert len(problem.coords) == 12 * dim
    assert problem.state.shape == (12 * dim, max(1, 150 // dim), 2)
    assert len(problem.state.flatten(0, 1).unique(dim=0)) == 12 * max(150, dim)


def test_elements_go_as_far_as_they_are_told():
    far = torch.tensor([math.pi, 0.5]).double()
    both = torch.cat((WHOLE, WHOLE))
    problem = FiniteTransformations(Known(2, pushed), randn(9, 2), randn(9, 2), both, both, far, 2)
    assert problem.coords.shape == (24, 2)
    assert (problem.coords.abs() <= far).all()
    assert (problem.coords.amin(0) < -0.8 * far).all()
    assert (problem.coords.amax(0) > 0.8 * far).all()


# Periods.

CHART = torch.eye(6).double() + 0.2 * randn(6, 6, seed=4)


def turning(*rates, size=6):
    """Planes that turn at rates, in a chart where nobody sees it."""
    generator = torch.zeros(size, size).double()
    for plane, rate in enumerate(rates):
        generator += rate * spin(size, 2 * plane)[0]
    return CHART[:size, :size] @ generator @ torch.linalg.inv(CHART[:size, :size])


def frequencies(generator):
    values = torch.linalg.eigvals(generator).imag
    return values[values > 1e-9].sort().values.tolist()


@pytest.mark.parametrize(
    ("rates", "expected"),
    [
        ((1.0, 0.48, 0.0), (0.5, 1.0)),
        ((2.0, 1.02, 0.49), (0.5, 1.0, 2.0)),
        ((1.5, 0.51, 0.03), (0.5, 1.5)),
        ((1.0, 0.65, 0.78), (2 / 3, 0.75, 1.0)),
        ((1.0, 1.0, 0.99), (1.0, 1.0, 1.0)),
    ],
)
def test_nearly_rational_frequencies_become_rational(rates, expected):
    snapped = snap_periods(turning(*rates))
    assert frequencies(snapped) == pytest.approx(list(expected), abs=1e-10)
    assert torch.linalg.eigvals(snapped).real.abs().max() < 1e-10
    # It closes: a common period of all frequencies brings everything back.
    period = 2 * math.pi * 12 / max(rates)
    assert_close(torch.matrix_exp(period * snapped), torch.eye(6).double(), atol=1e-8, rtol=0)


def test_a_generator_that_is_rational_stays_as_it_is():
    generator = turning(1.0, 0.5)
    assert_close(snap_periods(generator), generator, atol=1e-12, rtol=0)
    assert_close(snap_periods(snap_periods(turning(1.0, 0.48))), snap_periods(turning(1.0, 0.48)))


def test_a_frequency_between_rational_ones_stays():
    generator = turning(1.0, 0.42)
    assert_close(snap_periods(generator), generator, atol=1e-12, rtol=0)


def test_a_little_growth_is_an_error_of_a_rotation():
    generator = turning(1.0, 0.48) + 0.02 * torch.eye(6).double()
    assert frequencies(snap_periods(generator)) == pytest.approx([0.5, 1.0])
    assert torch.linalg.eigvals(snap_periods(generator)).real.abs().max() < 1e-10


@pytest.mark.parametrize("noise", [0.0, 1e-3])
def test_a_screw_goes_on_along_its_axis(noise):
    """Noise splits the eigenvalues 0 of a shift, so that it looks diagonalisable."""
    screw = torch.zeros(4, 4).double()
    screw[:2, :2], screw[2, 3] = 1.01 * TURN[0], 0.3
    errors = noise * randn(4, 4, seed=3)
    errors[3] = 0.0
    found = snap_periods(screw + errors, 1.0)
    assert_close(found[:2, :2], TURN[0], atol=5 * noise + 1e-12, rtol=0)
    assert_close(found[2:], screw[2:], atol=5 * noise + 1e-12, rtol=0)


@pytest.mark.parametrize("split", [0.0, 1e-3])
def test_equal_rotations_that_are_coupled_stay(split):
    rates = torch.diag(torch.tensor([1.0, 1.0 + split]))
    coupled = torch.kron(torch.ones(2, 2).triu(1), torch.eye(2)).double()
    generator = torch.kron(rates.double(), TURN[0]) + coupled
    assert torch.equal(snap_periods(generator), generator)


@pytest.mark.parametrize(
    "generator",
    [
        torch.zeros(2, 2),
        torch.eye(2),
        torch.tensor([[0.0, 1.0], [0.0, 0.0]]),
        turning(1.0, 0.48) + 0.2 * torch.eye(6),
        torch.tensor([[0.0, 1.0], [1.0, 0.0]]),
        # Two equal rotations, coupled: not diagonalisable.
        torch.kron(torch.eye(2), TURN[0].float())
        + torch.kron(torch.ones(2, 2).triu(1), torch.eye(2)),
    ],
    ids=["nothing", "scaling", "shear", "spiral", "boost", "defective"],
)
def test_what_is_not_compact_stays(generator):
    generator = generator.double()
    assert torch.equal(snap_periods(generator), generator)


def test_residuals_are_in_units_of_the_noise_of_both_places():
    """Variances of 1 and 9 are 10 of a difference, five times that of two variances of 1."""
    state, action = randn(400, 2), randn(400, 2, seed=1)
    basis, far = randn(5, 8, seed=3), torch.tensor([2.0]).double()
    start, unknowns = 0.5 * randn(1, 8, seed=2), 0.3 * randn(5, seed=4)

    def terms(precision):
        model = Known(2, pushed, lambda state, action: 1.1 * pushed(state, action))
        model.precision = precision
        problem = FiniteTransformations(model, state, action, start, basis, far, 2)
        return problem(unknowns, True)

    plain = terms(lambda inputs: torch.ones_like(inputs[..., :2]))
    places, asked = [], []

    def precision(inputs):
        asked.append(inputs)
        places.append(1 / (1 + 8 * (inputs[..., :2] > 0)).double())
        return places[-1]

    found = terms(precision)
    here, there = (1 / place.flatten(0, 1) for place in places[:2])
    assert bool((here != there).any())
    size = ((here + there) / 2).sqrt()
    assert_close(found.residual, plain.residual / size)
    apart = 0.1 * pushed(*asked[1].flatten(0, 1).split(2, -1)) / Known(2, pushed).scale
    assert_close(found.variance, (apart / size / 2).square().sum(-1))
    assert_close(found.jacobian, plain.jacobian / size[:, None])
