"""Twin networks by themselves: jets, halves, losses, and what is learned of rewards."""

import contextlib

import pytest
import torch
from systems import randn
from torch.testing import assert_close

from hgm.numerics import learned
from hgm.numerics.learned import in_halves, learn
from hgm.numerics.twins import Twins, mean_square


def bent(x):
    """What no straight line follows."""
    return (2 * x[..., :1]).sin() + 0.5 * x[..., 1:2]


def made(x, y, hidden=(16, 16), outputs=1):
    sizes = [x.shape[-1], *hidden, outputs]
    return Twins(sizes, x, y.float(), torch.Generator().manual_seed(0))


def data(num=256):
    x = randn(2, num, 2)
    return x, bent(x)


def rms(values):
    return float(values.double().square().mean().sqrt())


# Networks.


@pytest.mark.parametrize("hidden", [(5,), (5, 7), (5, 7, 3)])
def test_jets_are_values_and_their_derivatives(hidden):
    twins = made(randn(2, 60, 3), randn(2, 60, 2, seed=1), hidden, 2)
    twins.descend(20, 20, 0.05)  # from where biases are 0
    for name in ("weights", "biases"):
        setattr(twins, name, [part.double() for part in getattr(twins, name)])
    twins.linear = twins.linear.double()
    x = randn(9, 3, seed=2)
    value, jacobian = twins.jet(x)
    assert value.shape == (2, 9, 2)
    assert_close(value, twins.value(x))
    exact = torch.func.vmap(torch.func.jacrev(lambda one: twins.value(one[None])[:, 0]))(x)
    assert_close(jacobian, exact.permute(1, 0, 3, 2), rtol=1e-10, atol=1e-10)


def test_values_of_two_sets_are_those_of_either_twin():
    twins, (x, _) = made(*data()), data()
    both = twins.value(x.float())
    for twin in range(2):
        assert_close(both[twin], twins.value(x[twin].float())[twin])


def test_twins_start_at_the_least_squares_solution_of_their_own_half():
    x, maps, shifts = randn(2, 60, 3), randn(2, 3, 2, seed=1), randn(2, 1, 2, seed=2)
    twins = made(x, x @ maps + shifts, outputs=2)
    # 1e-4: a small ridge, and single precision.
    assert_close(twins.linear.double(), maps, atol=1e-4, rtol=0)
    assert_close(twins.biases[-1].double(), shifts, atol=1e-4, rtol=0)
    assert rms(twins.value(x.float()) - (x @ maps + shifts)) < 0.1


@pytest.mark.parametrize("changed", ["inputs", "targets"])
@pytest.mark.parametrize("other", [0, 1])
def test_a_twin_knows_its_own_half_alone(changed, other):
    (x, y), where = data(), randn(50, 2, seed=3).float()
    x_there, y_there = x.clone(), y.clone()
    (x_there if changed == "inputs" else y_there)[other] *= -3
    found = []
    for twins in (made(x, y), made(x_there, y_there)):
        twins.descend(200, 64, 0.01)
        found.append(twins.value(where))
    same, different = (found[0] - found[1])[[1 - other, other]]
    assert same.abs().max() < 1e-5
    assert different.abs().max() > 0.2


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad, contextlib.nullcontext])
def test_twins_learn_whatever_the_mode_is(mode):
    with mode():
        x, y = data()
        twins = made(x, y)
        before = rms(twins.crossed(1000))
        twins.descend(400, 64, 0.05)
        after = rms(twins.crossed(1000))
    assert after < 0.15 < 0.5 < before
    assert not any(part.requires_grad for part in twins.parameters)
    assert all(part.grad is None for part in twins.parameters)


def test_twins_keep_data_of_their_own():
    x, y = (part.float() for part in data())
    twins = made(x, y)
    before = twins.crossed(1000)
    x.zero_()
    y.zero_()
    assert torch.equal(twins.crossed(1000), before)


def test_more_steps_go_on_where_others_ended():
    twins = made(*data())
    twins.descend(300, 64, 0.02)
    before = rms(twins.crossed(1000))
    twins.descend(1, 64, 1e-6)
    assert rms(twins.crossed(1000)) == pytest.approx(before, rel=1e-2)


def test_mean_squares_are_those_of_either_twin():
    value = torch.tensor([[[1.0, 2.0], [3.0, 4.0]], [[0.0, 0.0], [0.0, 2.0]]])
    assert_close(mean_square(value, torch.zeros(2, 2, 2)), torch.tensor([7.5, 1.0]))


def test_a_loss_is_told_what_stands_behind_the_targets():
    """Every other row is wild, and counts for nothing."""
    (x, y), counts = data(), (torch.arange(256) % 2).double()[:, None].expand(2, -1, 1)
    wild = torch.where(counts > 0, y, 9.0)
    told, shapes = torch.cat((wild, counts, 7 + 0 * counts), -1), set()

    def loss(value, target):
        shapes.add((value.shape, target.shape))
        assert (target[..., 2] == 7).all()
        return (target[..., 1] * (value[..., 0] - target[..., 0]).square()).mean(1)

    twins = made(x, told)
    assert twins.linear.shape == (2, 2, 1)
    twins.descend(400, 64, 0.05, loss)
    assert shapes == {((2, 64, 1), (2, 64, 3))}
    assert rms(twins.value(x.float()) - y) < 0.3  # else about 5


@pytest.mark.parametrize("most", [7, 1000])
def test_crossed_is_what_either_twin_makes_of_the_other_s_half(most):
    x, y = data(30)
    twins = made(x, torch.cat((y, 5 + y), -1))
    twins.descend(20, 10, 0.02, lambda value, told: mean_square(value, told[..., :1]))
    expected = [twins.value(x[1 - twin].float())[twin] - y[1 - twin].float() for twin in range(2)]
    assert_close(twins.crossed(most), torch.stack(expected))


# What is learned of rewards.


def test_parts_are_parted_into_halves_of_equal_length():
    half = torch.tensor([[0, 1, 0], [1, 0, 0]])
    numbers = torch.arange(6).view(2, 3)
    points, same = in_halves(half, torch.stack((numbers, 10 * numbers), -1), numbers)
    # Of half 0 there are 0, 2, 4 and 5; of half 1, there are 1 and 3.
    assert same.tolist() == [[0, 4], [1, 3]]  # evenly, so that both tasks have some
    assert points.tolist() == [[[0, 0], [4, 40]], [[1, 10], [3, 30]]]


@pytest.fixture
def quickly(monkeypatch):
    monkeypatch.setattr(learned, "_STEPS", 400)


def missed(target, worth=None, usual=1.0):
    """What is missed of the truth, where some targets are others."""
    x, y = data(512)
    worth = torch.ones_like(target) if worth is None else worth
    return rms(learn(x, target, worth, usual).value(x.float()) - y)


@pytest.mark.usefixtures("quickly")
def test_rare_outliers_pull_nothing_where_usual_residuals_are_small():
    target = data(512)[1][..., 0].clone()
    target[:, ::20] += 20.0
    assert missed(target, usual=0.05) < 0.15
    assert missed(target, usual=1e3) > 0.5


@pytest.mark.usefixtures("quickly")
def test_what_is_worth_nothing_is_not_learned():
    target = data(512)[1][..., 0].clone()
    worth = torch.ones_like(target)
    target[:, ::2], worth[:, ::2] = 5.0, 0.0
    assert missed(target, worth) < 0.2
    assert missed(target) > 1.0


@pytest.mark.usefixtures("quickly")
def test_learning_is_repeatable_and_leaves_the_global_generator_alone():
    (x, y), state = data(), torch.get_rng_state()
    told = x, y[..., 0], torch.ones(2, 256).double(), 1.0
    with torch.inference_mode():
        one = learn(*told)
    two = learn(*told)
    assert torch.equal(torch.get_rng_state(), state)
    for first, second in zip(one.parameters, two.parameters, strict=True):
        assert torch.equal(first, second)


@pytest.mark.usefixtures("quickly")
def test_few_transitions_are_one_batch():
    x, y = data(20)
    twins = learn(x, y[..., 0], torch.ones(2, 20).double(), 1.0)
    assert rms(twins.value(x.float()) - y) < 0.05
