"""What it means that a left action carries one task into another, on rewards known exactly."""

import math

import pytest
import torch
from torch.func import grad, hessian, jacfwd, vmap
from torch.testing import assert_close

from hgm import lie
from hgm.groups import GL, SO, Affine
from hgm.numerics.fourier import Jet
from hgm.symmetry.losses import (
    INVARIANCES,
    differential_invariance,
    functional_invariance,
    relative_invariance,
)

BASE_GOAL = (0.8, -0.5, 0.3)


def randn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def goal(dim):
    return torch.tensor(BASE_GOAL[:dim], dtype=torch.float64)


def cone(point):
    return -(point - goal(len(point))).square().sum().sqrt()


def bowl(point):
    stretch = torch.tensor([[2.0, 0.4, 0.1], [0.4, 0.7, 0.3], [0.1, 0.3, 1.5]]).double()
    offset = point - goal(len(point))
    return -offset @ stretch[: len(point), : len(point)] @ offset


def jet_of(reward, points, variance=0.0):
    """Exact jet of a scalar function at points ``(..., K, n)``."""
    flat = points.reshape(-1, points.shape[-1])
    shape = points.shape[:-1]
    value = vmap(reward)(flat).reshape(shape)
    gradient = vmap(grad(reward))(flat).reshape(points.shape)
    bend = vmap(hessian(reward))(flat).reshape(*points.shape, points.shape[-1])
    spread = torch.full_like(value, variance)
    return Jet(value, gradient, bend, spread, spread)


def carried(reward, element):
    """The reward that `element` carries the base reward into."""
    inverse = torch.linalg.inv(element)
    return lambda point: reward(inverse @ point)


def turn(degrees):
    return lie.exp(math.radians(degrees) * lie.so_generators(2)[0].double())


def residual(loss, element, truth, reward, points, transform=None):
    image = carried(reward, truth)
    other = image if transform is None else lambda point: transform(image(point))
    target = jet_of(other, points @ element.mT)
    return loss(element, None, points, target, jet_of(reward, points)).residual


@pytest.mark.parametrize("loss", INVARIANCES.values(), ids=INVARIANCES)
@pytest.mark.parametrize("reward", [cone, bowl])
@pytest.mark.parametrize("degrees", [0.0, 35.0, 180.0])
def test_loss_is_zero_at_the_truth(loss, reward, degrees):
    points, truth = randn(40, 2), turn(degrees)
    found = residual(loss, truth, truth, reward, points)
    assert_close(found, torch.zeros_like(found), atol=1e-12, rtol=0)


@pytest.mark.parametrize("loss", INVARIANCES.values(), ids=INVARIANCES)
@pytest.mark.parametrize(
    "wrong", [turn(20.0), torch.diag(torch.tensor([1.0, -1.0]).double()), turn(180.0)]
)
@pytest.mark.parametrize("reward", [cone, bowl])
def test_loss_is_positive_off_the_truth(loss, wrong, reward):
    points, truth = randn(40, 2), turn(35.0)
    found = residual(loss, truth @ wrong, truth, reward, points).norm(dim=-1)
    assert found.mean() > 0.1


@pytest.mark.parametrize("loss", INVARIANCES.values(), ids=INVARIANCES)
def test_identity_is_no_solution_between_different_tasks(loss):
    points = 0.3 * randn(40, 2)
    found = residual(loss, torch.eye(2).double(), turn(90.0), cone, points).norm(dim=-1)
    assert found.mean() > 0.2


def test_differential_loss_is_oriented():
    points = 0.1 * randn(40, 2)  # far from the goal, where all gradients are about parallel
    half = residual(differential_invariance, turn(180.0), torch.eye(2).double(), cone, points)
    quarter = residual(differential_invariance, turn(90.0), torch.eye(2).double(), cone, points)
    cosine = 1 - half.square().sum(-1) / 2
    assert (cosine < -0.8).all()
    assert half.norm(dim=-1).min() > quarter.norm(dim=-1).max()


def test_differential_residual_is_one_minus_cosine():
    points, element = randn(40, 2), turn(50.0)
    target, source = jet_of(bowl, points @ element.mT), jet_of(cone, points)
    found = differential_invariance(element, None, points, target, source).residual
    pulled = target.gradient @ element
    cosine = torch.nn.functional.cosine_similarity(pulled, source.gradient, dim=-1)
    assert_close(found.square().sum(-1) / 2, 1 - cosine)


TRANSFORMS = {
    "scale": lambda value: 7.0 * value,
    "shift": lambda value: value - 3.0,
    "power": lambda value: -((-value) ** 1.7),
    "all": lambda value: 4.0 - 0.2 * (-value) ** 0.6,
}


@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS)
@pytest.mark.parametrize("of_target", [True, False])
def test_differential_loss_and_jacobian_ignore_increasing_transforms(transform, of_target):
    points, group = randn(40, 2), GL(2).double()
    coords = 0.5 * randn(4, seed=3)
    element, derivative = group.exp(coords), jacfwd(group.exp)(coords).movedim(-1, 0)
    image = carried(bowl, turn(35.0))
    plain, bent = ([f, lambda point, f=f: transform(f(point))] for f in (image, cone))
    targets = [jet_of(f, points @ element.mT) for f in plain]
    sources = [jet_of(f, points) for f in bent]
    expected = differential_invariance(element, derivative, points, targets[0], sources[0])
    target, source = (targets[1], sources[0]) if of_target else (targets[0], sources[1])
    found = differential_invariance(element, derivative, points, target, source)
    assert_close(found.residual, expected.residual)
    assert_close(found.jacobian, expected.jacobian)


@pytest.mark.parametrize("name", ["scale", "shift"])
def test_functional_loss_sees_rescaled_rewards(name):
    points, truth = randn(40, 2), turn(35.0)
    found = residual(functional_invariance, truth, truth, cone, points, TRANSFORMS[name])
    assert found.abs().mean() > 1.0


def at(point, size):
    """The identity, next to it, and anywhere."""
    return point * randn(size, seed=5)


@pytest.mark.parametrize("loss", INVARIANCES.values(), ids=INVARIANCES)
@pytest.mark.parametrize("reward", [cone, bowl])
@pytest.mark.parametrize("distance", [0.0, 1e-7, 0.6])
@pytest.mark.parametrize("group", [GL(2), SO(3), Affine(2), Affine(3)], ids=repr)
def test_jacobian_is_the_derivative_of_the_residual(loss, reward, distance, group):
    group, dim = group.double(), group.dim_space
    points = randn(6, dim)
    source = jet_of(cone, points)
    image = carried(reward, lie.exp(0.4 * randn(dim, dim, seed=7)))

    def terms(coords, derivative=None):
        element = group.exp(coords)
        target = jet_of(image, lie.act(element, points))
        return loss(element, derivative, points, target, source)

    coords = at(distance, group.dim_algebra)
    found = terms(coords, jacfwd(group.exp)(coords).movedim(-1, 0)).jacobian
    exact = jacfwd(lambda c: terms(c).residual)(coords).movedim(-1, -2)
    assert found.abs().max() > 0.1
    assert_close(found, exact, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("loss", INVARIANCES.values(), ids=INVARIANCES)
def test_batches_of_elements_broadcast_against_points(loss):
    group, points = GL(2).double(), randn(5, 2)
    coords = 0.5 * randn(3, 2, 4, seed=1)
    elements = group.exp(coords)
    derivative = vmap(vmap(jacfwd(group.exp)))(coords).movedim(-1, -3)
    target = jet_of(bowl, points @ elements.mT)
    whole = loss(elements, derivative, points, target, jet_of(cone, points))
    for i in range(3):
        for j in range(2):
            own = Jet(*(field[i, j] for field in target))
            one = loss(elements[i, j], derivative[i, j], points, own, jet_of(cone, points))
            for part, field in zip(one, whole, strict=True):
                assert_close(field[i, j], part)


def test_differential_variance_is_that_of_the_directions():
    points, element = randn(9, 2), turn(10.0)
    target = jet_of(cone, points @ element.mT)._replace(gradient_variance=torch.full((9,), 0.04))
    source = jet_of(lambda p: 5 * cone(p), points)._replace(gradient_variance=torch.full((9,), 1.0))
    found = differential_invariance(element, None, points, target, source).variance
    assert_close(found, torch.full((9,), 0.04 + 1 / 25).double())


def test_functional_variance_is_that_of_the_values():
    points = randn(9, 2)
    target, source = jet_of(cone, points, 0.3), jet_of(cone, points, 0.2)
    found = functional_invariance(turn(10.0), None, points, target, source).variance
    assert_close(found, torch.full((9,), 0.5).double())


@pytest.mark.parametrize("loss", INVARIANCES.values(), ids=INVARIANCES)
@pytest.mark.parametrize("flat", ["target", "source", "both"])
def test_everything_is_finite_at_a_zero_gradient(loss, flat):
    group, points = GL(2).double(), torch.zeros(3, 2).double()
    derivative = jacfwd(group.exp)(torch.zeros(4).double()).movedim(-1, 0)
    bump, tilted = (lambda p: -p.square().sum()), (lambda p: -p.square().sum() + p[0])
    target = jet_of(tilted if flat == "source" else bump, points, 0.1)
    source = jet_of(tilted if flat == "target" else bump, points, 0.1)
    gradients = [jet.gradient.requires_grad_() for jet in (target, source)]
    terms = loss(torch.eye(2).double(), derivative, points, target, source)
    for field in terms:
        assert field.isfinite().all()
    total = terms.residual.square().sum() + terms.jacobian.square().sum()
    if loss is differential_invariance:
        for slope in torch.autograd.grad(total, gradients, allow_unused=True):
            assert slope.isfinite().all()


def test_relative_values_know_no_unit_of_rewards():
    points, element = randn(6, 2), torch.linalg.matrix_exp(0.3 * randn(2, 2, seed=1))
    change = randn(3, 2, 2, seed=2)

    def terms(scale):
        here, there = (
            jet_of(lambda p: scale * bowl(p), some, 0.1 * scale**2)
            for some in (points, lie.act(element, points))
        )
        return relative_invariance(element, change, points, there, here)

    one, other = terms(1.0), terms(50.0)
    for field, same in zip(one, other, strict=True):
        assert_close(field, same)
    values = jet_of(bowl, points).value
    missed = (jet_of(bowl, lie.act(element, points)).value - values) / values.std()
    assert_close(one.residual[..., 0], missed)
