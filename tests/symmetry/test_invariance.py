"""Symmetries of dynamics and of rewards in closed form, on systems known exactly."""

import pytest
import torch
from torch.func import jacfwd, vmap
from torch.testing import assert_close

from hgm import lie
from hgm.envs.point import BOUNDS, step
from hgm.numerics.fourier import FourierRegression
from hgm.symmetry.dynamics import dynamics_form
from hgm.symmetry.invariance import action_generators, affine_fields, equivariance_form
from hgm.symmetry.samples import Samples


def randn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


ROTATION = lie.so_generators(2).double()
TURN = lie.exp(0.4 * ROTATION[0])
MIX = torch.tensor([[1.0, 0.4], [-0.2, 0.7]]).double()


def form_of(transition, size=2, num=200, dim=2, spread=1.0):
    state, action = randn(num, dim), spread * randn(num, dim, seed=1)
    both = torch.cat((state, action), -1)
    jacobian = vmap(jacfwd(lambda x: transition(x[:dim], x[dim:])))(both)
    return equivariance_form(state, action, transition(state, action), jacobian, size)


def linear(state, action):
    """Commutes with rotations of the state, if actions turn by ``MIX^{-1} W MIX``."""
    return state @ (0.9 * TURN).mT + action @ MIX.mT


def test_form_is_zero_for_a_symmetry_and_recovers_the_action_generator():
    actions, unexplained = action_generators(form_of(linear), ROTATION)
    assert_close(actions[0], torch.linalg.inv(MIX) @ ROTATION[0] @ MIX)
    assert_close(unexplained, torch.tensor(0.0).double(), atol=1e-12, rtol=0)


def test_form_recovers_several_generators_of_space():
    chart = torch.eye(3).double() + 0.3 * randn(3, 3)
    generators = lie.so_generators(3).double()
    form = form_of(lambda s, a: 1.1 * s + a @ chart.mT, 3, dim=3)
    actions, unexplained = action_generators(form, generators)
    assert_close(actions, torch.linalg.inv(chart) @ generators @ chart)
    assert_close(unexplained, torch.tensor(0.0).double(), atol=1e-12, rtol=0)


def test_form_is_the_sum_of_squared_residuals():
    state, action = randn(30, 2), randn(30, 3, seed=1)
    left, right = randn(2, 5, seed=2), randn(2, 2, seed=3)
    jacobian, next_state = left.expand(30, 2, 5), randn(30, 2, seed=4)
    form = equivariance_form(state, action, next_state, jacobian, 2)
    middle = randn(3, 3, seed=5)
    unknowns = torch.cat((right.flatten(), middle.flatten()))
    residual = state @ right.mT @ left[:, :2].mT + action @ middle.mT @ left[:, 2:].mT
    residual = residual - next_state @ right.mT
    assert_close(unknowns @ form.gram @ unknowns, residual.square().sum())
    motion = (next_state - state) @ right.mT
    assert_close(right.flatten() @ form.motion @ right.flatten(), motion.square().sum())


def test_translations_are_symmetries_in_homogeneous_coordinates():
    shift = torch.zeros(1, 3, 3).double()
    shift[0, 0, 2] = 1.0
    form = form_of(lambda s, a: s + a @ MIX.mT, size=3)
    actions, unexplained = action_generators(form, shift)
    assert_close(actions, torch.zeros(1, 2, 2).double(), atol=1e-10, rtol=0)
    entries = shift[:, :2].flatten()
    assert_close(entries @ form.gram[:6, :6] @ entries, torch.zeros(()).double())
    assert float(unexplained) == 0.0  # nothing moves: nothing is unexplained
    damped = form_of(lambda s, a: 0.5 * s + a @ MIX.mT, size=3)
    assert entries @ damped.gram[:6, :6] @ entries > 1.0


@pytest.mark.parametrize(("bound", "least", "most"), [("disc", 0.0, 1e-3), ("box", 0.1, 2.0)])
def test_a_box_of_actions_breaks_rotations_and_a_disc_does_not(bound, least, most):
    def transition(state, action):
        return step(state, action, bound=BOUNDS[bound], max_action=0.5)

    actions, unexplained = action_generators(form_of(transition), ROTATION)
    assert least <= float(unexplained) <= most
    if bound == "disc":
        assert_close(actions, ROTATION, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    "wrong", [torch.eye(2), torch.diag(torch.tensor([1.0, -1.0])), torch.ones(2, 2).triu(1)]
)
def test_other_generators_are_no_symmetries_of_the_disc(wrong):
    form = form_of(lambda s, a: step(s, a, max_action=0.5))
    _, unexplained = action_generators(form, wrong.double()[None])
    assert unexplained > 0.1


def test_symmetries_are_told_at_any_scale():
    plain = action_generators(form_of(linear), ROTATION)
    scaled = action_generators(form_of(linear), 100 * ROTATION)
    assert_close(scaled[0], 100 * plain[0])
    box = form_of(lambda s, a: step(s, a, bound=BOUNDS["box"], max_action=0.5))
    assert_close(action_generators(box, ROTATION)[1], action_generators(box, 100 * ROTATION)[1])


def test_form_of_a_fitted_model_is_that_of_the_dynamics():
    num, noise = 150, 0.05
    state, action = randn(2, num, 2), 0.3 * randn(2, num, 2, seed=1)
    next_state = state + action @ MIX.mT + noise * randn(2, num, 2, seed=2)
    data = Samples(state, action, state[..., 0], next_state)
    dynamics = FourierRegression(1, 4, 2, 64)
    inputs = torch.cat((state, action), -1).flatten(0, 1)[None]
    dynamics.accumulate(inputs, (next_state - state).flatten(0, 1)[None])
    dynamics.solve()
    exact = form_of(lambda s, a: s + a @ MIX.mT)
    actions, unexplained = action_generators(dynamics_form(dynamics, data, 2), ROTATION)
    expected, _ = action_generators(exact, ROTATION)
    assert_close(actions, expected, atol=0.05, rtol=0)
    assert unexplained < 0.05


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
