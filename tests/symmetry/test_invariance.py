"""Symmetries of dynamics and of rewards in closed form, on systems known exactly."""

import pytest
import torch
from systems import TURN, Known, LeastSquares, drawn, flat, randn
from torch.func import jacfwd, jvp, vmap
from torch.testing import assert_close

from hgm import lie
from hgm.envs.point import BOUNDS, step
from hgm.symmetry.invariance import affine_fields, equivariance_form, equivariance_rows

ROTATION = TURN
MIX = torch.tensor([[1.0, 0.4], [-0.2, 0.7]]).double()
DAMPED_TURN = 0.9 * lie.exp(0.4 * ROTATION[0]) - torch.eye(2).double()
ZERO = torch.tensor(0.0).double()


def linear(state, action):
    """Displacements that turn with the state if actions turn by ``MIX^{-1} W MIX``."""
    return state @ DAMPED_TURN.mT + action @ MIX.mT


def entries(generator, action_generator):
    """Entries of ``(W_S, W_A)`` in the order of the form."""
    return torch.cat((generator.flatten(), action_generator.flatten()))


SYMMETRY = entries(ROTATION[0], torch.linalg.inv(MIX) @ ROTATION[0] @ MIX)


def rows_of(change, state, action, size):
    n = state.shape[-1]
    both = torch.cat((state, action), -1)
    jacobian = vmap(jacfwd(lambda x: change(x[:n], x[n:])))(both)
    return equivariance_rows(state, action, change(state, action), jacobian, size)


# Rows.


def test_rows_vanish_for_an_exact_symmetry_of_linear_dynamics():
    rows = rows_of(linear, randn(50, 2), randn(50, 2, seed=1), 2)
    assert rows.shape == (50, 2, 8)
    assert_close(rows @ SYMMETRY, torch.zeros(50, 2).double(), atol=1e-14, rtol=0)


def test_rows_vanish_for_rotations_of_space_too():
    chart = torch.eye(3).double() + 0.3 * randn(3, 3)
    rows = rows_of(lambda s, a: 0.1 * s + a @ chart.mT, randn(40, 3), randn(40, 3, seed=1), 3)
    for generator in lie.so_generators(3).double():
        unknowns = entries(generator, torch.linalg.inv(chart) @ generator @ chart)
        assert_close(rows @ unknowns, torch.zeros(40, 3).double(), atol=1e-13, rtol=0)


def curved(state, action):
    return torch.cat((state[..., :1] * action[..., 1:], action.sin().sum(-1, keepdim=True)), -1)


@pytest.mark.parametrize("size", [2, 3])
def test_rows_are_the_rate_at_which_a_group_breaks_equivariance(size):
    """Also for maps that are no symmetry: the derivative of ``f(L s, K a) - L f(s, a)``."""
    state, action = randn(20, 2), randn(20, 2, seed=1)
    generator, turn = torch.zeros(size, size).double(), randn(2, 2, seed=3)
    generator[:2] = randn(2, size, seed=2)

    def broken(time):
        element = lie.exp(time * generator)
        moved, turned = lie.act(element, state), lie.act(lie.exp(time * turn), action)
        return curved(moved, turned) - curved(state, action) @ element[:2, :2].mT

    _, expected = jvp(broken, (ZERO,), (torch.ones_like(ZERO),))
    unknowns = torch.cat((generator[:2].flatten(), turn.flatten()))
    assert_close(rows_of(curved, state, action, size) @ unknowns, expected)


def test_rows_are_linear_in_dynamics_and_the_same_for_every_twin():
    state, action = randn(10, 2), randn(10, 2, seed=1)
    change, jacobian = randn(2, 10, 2, seed=2), randn(2, 10, 2, 4, seed=3)
    both = equivariance_rows(state, action, change, jacobian, 3)
    assert both.shape == (2, 10, 2, 10)
    for twin in range(2):
        alone = equivariance_rows(state, action, change[twin], jacobian[twin], 3)
        assert_close(both[twin], alone)
    mean = equivariance_rows(state, action, change.mean(0), jacobian.mean(0), 3)
    assert_close(both.mean(0), mean)


def test_translations_are_symmetries_in_homogeneous_coordinates():
    state, action = randn(30, 2), randn(30, 2, seed=1)
    shift = torch.zeros(10).double()
    shift[2] = 1.0
    free = rows_of(lambda s, a: a @ MIX.mT, state, action, 3)
    assert_close(free @ shift, torch.zeros(30, 2).double())
    damped = rows_of(lambda s, a: a @ MIX.mT - 0.5 * s, state, action, 3)
    assert_close(damped @ shift, torch.tensor([-0.5, 0.0]).double().expand(30, 2))


# The form of twins.


def test_form_is_the_mean_product_of_the_twins_rows():
    state, action = randn(30, 2), randn(30, 2, seed=1)
    off = randn(2, 2, seed=2)
    model = Known(2, linear, lambda s, a: linear(s, a) + s @ off.mT)
    model.scale = torch.tensor([2.0, 0.5]).double()
    form = equivariance_form(model, state, action, 2)
    found = [rows_of(twin, state, action, 2) / model.scale[:, None] for twin in model.twins]
    one, two = (rows.flatten(0, 1) for rows in found)
    assert_close(form.cross, one.mT @ two / 60)
    assert_close(form.noise, (one - two).mT @ (one - two) / 120)
    assert_close(form.gram, (form.cross + form.cross.mT) / 2)
    assert (form.dim_state, form.size) == (2, 2)


def test_form_does_not_depend_on_how_rows_are_pieced_together(monkeypatch):
    state, action = randn(50, 2), randn(50, 2, seed=1)
    whole = equivariance_form(Known(2, curved), state, action, 3)
    monkeypatch.setattr("hgm.symmetry.invariance._BUDGET", 7 * 2 * 10)
    pieces = equivariance_form(Known(2, curved), state, action, 3)
    assert_close(pieces.cross, whole.cross)


def test_form_vanishes_for_a_symmetry_alone():
    form = equivariance_form(Known(2, linear), randn(200, 2), randn(200, 2, seed=1), 2)
    values, vectors = torch.linalg.eigh(form.gram)
    # Complex multiples of the state, with what these do to actions: two directions.
    assert (values[:2].abs() < 1e-12).all()
    assert values[2] > 1e-3
    inside = vectors[:, :2].mT @ (SYMMETRY / SYMMETRY.norm())
    assert_close(inside.norm(), torch.tensor(1.0).double())


def test_products_of_twins_are_free_of_the_bias_of_noise_and_squares_are_not():
    crosses, squares, noises = [], [], []
    for seed in range(60):
        data = drawn(linear, 2, 2, 40, noise=0.5, seed=seed)
        inputs, change, half = flat(data)
        model = LeastSquares()
        model.fit(inputs, change, half)
        model.scale = torch.ones(2).double()
        form = equivariance_form(model, inputs[:, :2], inputs[:, 2:], 2)
        crosses.append(float(SYMMETRY @ form.gram @ SYMMETRY))
        noises.append(float(SYMMETRY @ form.noise @ SYMMETRY))
        one, _ = equivariance_rows(inputs[:, :2], inputs[:, 2:], *model.predict(inputs), 2)
        squares.append(float((one @ SYMMETRY).square().mean()))
    cross, square, noise = (torch.tensor(some).double() for some in (crosses, squares, noises))
    standard_error = cross.std() / len(cross) ** 0.5
    assert cross.mean().abs() < 3 * standard_error
    assert square.mean() > 10 * standard_error
    # ... by what the noise's own form predicts
    assert_close(noise.mean(), square.mean(), rtol=0.25, atol=0)


@pytest.mark.parametrize(("bound", "least", "most"), [("disc", -1e-9, 1e-9), ("box", 1e-3, 1.0)])
def test_a_box_of_actions_breaks_rotations_and_a_disc_does_not(bound, least, most):
    def change(state, action):
        return step(state, action, bound=BOUNDS[bound], max_action=0.5) - state

    form = equivariance_form(Known(2, change), randn(300, 2), randn(300, 2, seed=1), 2)
    turn = entries(ROTATION[0], ROTATION[0])
    assert least <= float(turn @ form.gram @ turn) <= most


# One reward.


def test_affine_fields_find_the_rotation_about_the_goal():
    points, goal = randn(200, 2), torch.tensor([0.7, -0.4]).double()
    way = goal - points
    values, fields = affine_fields(points, way / way.norm(dim=-1, keepdim=True))
    assert values.shape == (6,)
    assert_close(fields.flatten(1).norm(dim=-1), torch.ones(6).double())
    assert values[0] < 1e-10
    assert (values[1:] > 0.05).all()
    expected = torch.cat((ROTATION[0], -(ROTATION[0] @ goal)[:, None]), -1)
    overlap = (fields[0] * expected).sum() / expected.norm()
    assert_close(overlap.abs(), torch.tensor(1.0).double())


def test_affine_fields_find_all_rotations_about_a_goal_in_space():
    points, goal = randn(300, 3), torch.tensor([0.7, -0.4, 0.2]).double()
    values, fields = affine_fields(points, 5 * (goal - points))
    assert (values[:3] < 1e-10).all()
    assert (values[3:] > 0.02).all()
    for field in fields[:3]:
        linear, shift = field[:, :3], field[:, 3]
        assert_close(linear, -linear.mT, atol=1e-9, rtol=0)
        assert_close(linear @ goal + shift, torch.zeros(3).double(), atol=1e-9, rtol=0)


def test_affine_fields_find_the_ellipses_of_a_stretched_bowl():
    points, chart = randn(200, 2), torch.tensor([[2.0, 0.3], [0.1, 0.5]]).double()
    inverse = torch.linalg.inv(chart)
    values, fields = affine_fields(points, -points @ (inverse.mT @ inverse).mT)
    assert values[0] < 1e-10
    expected = chart @ ROTATION[0] @ inverse
    overlap = (fields[0, :, :2] * expected).sum() / expected.norm()
    assert_close(overlap.abs(), torch.tensor(1.0).double())


def test_affine_fields_of_a_reward_without_symmetry_have_no_null_space():
    points = randn(200, 2)
    x, y = points.unbind(-1)
    values, _ = affine_fields(points, torch.stack((3 * (3 * x).cos(), 5 * (5 * y).sin()), -1))
    assert values[0] > 0.05


def test_singular_values_are_root_mean_squares_of_the_rate():
    points, gradients = randn(50, 2), randn(50, 2, seed=1)
    values, fields = affine_fields(points, gradients)
    unit = gradients / gradients.norm(dim=-1, keepdim=True)
    columns = torch.cat((points, torch.ones(50, 1).double()), -1)
    rates = torch.einsum("bi,fij,bj->fb", unit, fields, columns)
    assert_close(rates.square().mean(1).sqrt(), values)
    assert_close(values, values.sort().values)


# Where noise is not the same everywhere.


def test_a_coordinate_of_no_precision_does_not_count():
    state, action = randn(300, 2), randn(300, 2, seed=1)
    model = Known(2, curved, lambda state, action: 1.1 * curved(state, action))
    model.precision = lambda inputs: torch.tensor([2.0, 0.0]).double().expand(len(inputs), 2)
    jets = model.predict(torch.cat((state, action), 1))
    one, two = equivariance_rows(state, action, *jets, 3)[:, :, 0] / model.scale[0]
    found = equivariance_form(model, state, action, 3)
    # Without what carries states off quadrics: normal states are on none.
    assert_close(found.cross, one.mT @ two / len(state))


def test_rows_count_by_the_inverse_variance_of_their_noise():
    state, action = randn(300, 2), randn(300, 2, seed=1)
    model = Known(2, curved, lambda state, action: 1.1 * curved(state, action))
    some = state[:, 0] > 0.3
    expected = equivariance_form(model, state[some], action[some], 3)
    model.trust = lambda inputs: 5.0 * (inputs[:, 0] > 0.3)
    found = equivariance_form(model, state, action, 3)
    assert_close(found.cross, expected.cross)
    assert_close(found.noise, expected.noise)
