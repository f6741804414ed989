"""What every model of the dynamics promises: twins, held-out noise, and a choice among models."""

import functools
import math

import pytest
import torch
from systems import LeastSquares, drawn, flat, randn
from torch.testing import assert_close

from hgm.dynamics import DynamicsModel, FourierDynamics, NetworkDynamics, Prediction, choose
from hgm.dynamics.base import left_alike

NOISE = 0.05
TARGET = torch.randn(2, 4, generator=torch.Generator().manual_seed(9), dtype=torch.float64)


def pushed(state, action):
    """Saturated actions and a little friction."""
    push = action / (1 + action.square().sum(-1, keepdim=True)).sqrt()
    return push - 0.1 * state


def data(num=800, noise=NOISE, seed=0):
    return flat(drawn(pushed, 2, 2, num, noise, seed, num_tasks=1))


MAKE = {
    "fourier": lambda: FourierDynamics(2, 2),
    "network": lambda: NetworkDynamics(2, 2, width=32),
}


@functools.cache
def fitted(name, noise=NOISE):
    model, (inputs, change, half) = MAKE[name](), data(noise=noise)
    model.fit(inputs, change, half)
    model.examine(inputs, change, half)
    return model


@pytest.fixture(params=MAKE)
def name(request):
    return request.param


def fresh(num=300):
    inputs = randn(num, 4, seed=70)
    return inputs, pushed(inputs[:, :2], inputs[:, 2:])


def test_both_twins_learn_the_dynamics(name):
    inputs, truth = fresh()
    found = fitted(name).values(inputs)
    assert found.shape == (2, 300, 2)
    assert found.dtype == torch.float64
    for twin in found:
        assert (twin - truth).square().mean().sqrt() < 0.15 * truth.std()


def test_predictions_are_the_values_with_their_derivatives(name):
    model, inputs = fitted(name), randn(20, 4, seed=71)
    value, jacobian = model.predict(inputs)
    assert value.shape == (2, 20, 2)
    assert jacobian.shape == (2, 20, 2, 4)
    assert_close(value, model.values(inputs))
    eps = 1e-2  # networks answer in single precision
    for axis in range(4):
        step = torch.zeros(4).double()
        step[axis] = eps
        slope = (model.values(inputs + step) - model.values(inputs - step)) / (2 * eps)
        assert_close(slope, jacobian[..., axis], rtol=0, atol=3e-3)


def test_the_jacobian_is_that_of_the_dynamics(name):
    inputs = 0.7 * randn(100, 4, seed=72)
    truth = torch.func.vmap(torch.func.jacfwd(lambda x: pushed(x[:2], x[2:])))(inputs)
    jacobian = fitted(name).predict(inputs).jacobian.mean(0)
    assert (jacobian - truth).square().mean().sqrt() < 0.12


def test_twins_err_independently(name):
    inputs, truth = fresh(2000)
    one, two = fitted(name, noise=0.3).values(inputs) - truth
    cosine = (one * two).sum() / one.norm() / two.norm()
    assert abs(float(cosine)) < 0.35
    assert float(cosine) < 0.7 * float((one.square().sum() / two.square().sum()).sqrt())


def test_a_twin_knows_nothing_of_the_other_s_half(name):
    inputs, change, half = data(400)
    model, other = MAKE[name](), MAKE[name]()
    model.fit(inputs, change, half)
    # The same displacements after other actions: a network has one unit of them for both.
    changed = change.clone()
    changed[half == 1] = change[half == 1].flip(0)
    other.fit(inputs, changed, half)
    where = randn(50, 4, seed=81)
    (one, two), (same, different) = model.values(where), other.values(where)
    assert_close(one, same, rtol=0, atol=1e-6 if name == "fourier" else 0.01)
    assert (two - different).abs().max() > 0.2


@pytest.mark.parametrize("noise", [0.05, 0.3])
def test_noise_is_what_fresh_displacements_miss(name, noise):
    model, (inputs, change, _) = fitted(name, noise=noise), data(noise=noise, seed=5)
    miss = (model.values(inputs) - change).square().mean((0, 1)).sqrt()
    assert_close(model.noise, miss, rtol=0.15, atol=0)
    assert (model.noise > 0.9 * noise).all()
    assert (model.noise < noise + 0.06).all()


UNITS = torch.tensor([1e3, 1e3, 1e-2, 1e-2]).double()


def test_units_change_nothing(name):
    """Of states, actions and displacements; those of single columns are the search's business."""
    inputs, change, half = data(400)
    plain, other = MAKE[name](), MAKE[name]()
    plain.fit(inputs, change, half)
    other.fit(UNITS * inputs, UNITS[:2] * change, half)
    where = randn(30, 4, seed=73)
    one, two = plain.predict(where), other.predict(UNITS * where)
    tolerance = 1e-6 if name == "fourier" else 2e-2  # Adam in single precision
    assert_close(two.value / UNITS[:2], one.value, atol=tolerance, rtol=0)
    scaled = two.jacobian * UNITS / UNITS[:2, None]
    assert_close(scaled, one.jacobian, atol=10 * tolerance, rtol=0)


def test_it_is_repeatable_and_leaves_the_global_generator_alone(name):
    inputs, change, half = data(200)
    state = torch.get_rng_state()
    one, two = MAKE[name](), MAKE[name]()
    for model in (one, two):
        model.fit(inputs, change, half)
    assert torch.equal(one.values(inputs), two.values(inputs))
    assert torch.equal(torch.get_rng_state(), state)


def test_what_never_moves_is_predicted_not_to_move(name):
    inputs, change, half = data(200)
    change = torch.cat((change[:, :1], torch.zeros_like(change[:, :1])), -1)
    model = MAKE[name]()
    model.fit(inputs, change, half)
    model.examine(inputs, change, half)
    value, jacobian = model.predict(inputs)
    assert value.isfinite().all()
    assert value[..., 1].abs().max() < 0.05
    assert jacobian[..., 1, :].abs().max() < 0.2
    assert model.scale[1] == 1.0


# The contract itself.


class Scripted(DynamicsModel):
    """Twin 0 predicts 0, twin 1 predicts 1; counts its fits, which take long unless it is quick."""

    def __init__(self, surprise=None, explains=False, own_error=None, quick=False):
        self.fits, self._surprise, self._explains = 0, surprise, explains
        self._own_error, self._quick = own_error, quick

    def fit(self, inputs, change, half):
        self.fits += 1

    def unfitted(self):
        return self if self._quick else None

    def examine(self, inputs, change, half):
        super().examine(inputs, change, half)
        if self._own_error is not None:
            self.own_error = self._own_error

    def values(self, inputs):
        return torch.stack((torch.zeros(len(inputs), 2), torch.ones(len(inputs), 2))).double()

    def predict(self, inputs):
        return Prediction(self.values(inputs), torch.zeros(2, len(inputs), 2, 4).double())

    @property
    def surprise(self):
        return super().surprise if self._surprise is None else self._surprise

    @property
    def explains_all(self):
        return self._explains


def test_each_twin_is_examined_on_the_other_s_half():
    inputs, half = randn(6, 4), torch.tensor([0, 0, 0, 1, 1, 1])
    # Transitions of half 0 are met by twin 1, which says 1.
    change = torch.tensor([[1.0, 3.0]] * 3 + [[0.0, 4.0]] * 3).double()
    model = Scripted()
    model.examine(inputs, change, half)
    assert_close(model.noise, torch.tensor([0.0, (0.5 * (2**2 + 4**2)) ** 0.5]).double())
    assert_close(model.scale, change.std(0))


def test_what_twins_do_not_agree_on_is_their_own_error():
    """Half the square of what they differ by, over the square of what is missed."""
    inputs, half = randn(4, 4), torch.tensor([0, 1, 0, 1])
    change = torch.tensor([[2.0, 3.0], [-2.0, -3.0]] * 2).double()
    model = Scripted()
    model.examine(inputs, change, half)
    missed = torch.tensor([(1 + 4) / 2, (4 + 9) / 2])
    assert model.own_error == pytest.approx(float((0.5 / missed).max()))


def test_what_both_miss_is_left_alike_nearby():
    """Twins that agree, and both leave a bowl and as much noise: half is alike."""
    inputs, half = randn(8000, 2), torch.arange(8000) % 2
    bowl = inputs.square().sum(-1, keepdim=True) / 2 - 1
    model = Scripted()
    model.values = lambda _: torch.zeros(2, len(inputs), 1).double()
    for noise, expected in ((1.0, 0.5), (10.0, 0.0)):
        change = bowl + noise * randn(len(inputs), 1, seed=3)
        model.examine(inputs, change, half)
        assert left_alike(model, inputs, change, half) == pytest.approx(expected, abs=0.06)


def test_of_one_half_nothing_is_alike():
    inputs, half = randn(10, 2), torch.zeros(10, dtype=torch.int64)
    model, change = Scripted(), randn(10, 2, seed=1)
    model.examine(inputs, change, half)
    assert left_alike(model, inputs, change, half) == 0.0


def test_what_takes_long_is_tried_where_neighbours_are_left_alike():
    inputs, half = randn(4000, 4), torch.arange(4000) % 2
    for left, fits in ((randn(4000, 2, seed=3), 0), (inputs[:, :2].square(), 1)):
        quick, slow = Scripted(0.3, own_error=0.0, quick=True), Scripted(-1.0)
        quick.values = lambda where: torch.zeros(2, len(where), 2).double()
        choose([quick, slow], inputs, left, half)
        assert slow.fits == fits


def test_what_is_explained_is_no_error_of_their_own():
    """Twins that differ by 1e-4 of a displacement, which they miss by as much."""
    inputs, half = randn(400, 4), torch.arange(400) % 2
    change = 2000 * randn(400, 2, seed=3)
    model = Scripted()
    model.values = lambda _: torch.stack((change, change + 0.2))
    model.examine(inputs, change, half)
    assert model.own_error < 0.01


def test_noise_is_no_error_of_their_own():
    found = []
    for noise in (0.05, 1.0):
        inputs, change, half = data(2000, noise=noise)
        model = FourierDynamics(2, 2, num_features=16, sharp=False)
        model.fit(inputs, change, half)
        model.examine(inputs, change, half)
        found.append(model.own_error)
    few, drowned = found
    assert drowned < 0.02 < 0.2 < few


def test_surprise_is_minus_the_held_out_log_likelihood():
    """Up to a constant of the data, per transition, of Gaussian noise."""
    (inputs, change, half), gap = data(3000, noise=0.3), []
    model = LeastSquares()
    for target in (change, change + 0.5 * randn(*change.shape, seed=82)):
        model.fit(inputs, target, half)
        miss = model.values(inputs) - target
        other = miss.gather(0, (1 - half)[None, :, None].expand(1, -1, 2))[0]
        normal = torch.distributions.Normal(0.0, model.noise)
        gap.append(float(-normal.log_prob(other).sum(1).mean()) - model.surprise)
        gap[-1] -= float(model.scale.log().sum())
    assert gap[0] == pytest.approx(gap[1], abs=1e-9)
    assert gap[0] == pytest.approx(2 * (0.5 * math.log(2 * math.pi) + 0.5), abs=1e-9)


def test_exact_models_are_not_infinitely_likely():
    inputs, _, half = data(100)
    change = inputs @ TARGET.mT
    model = LeastSquares()
    model.fit(inputs, change, half)
    assert model.surprise == pytest.approx(2 * math.log(1e-6))
    assert model.explains_all


def test_explaining_all_means_every_coordinate():
    model = LeastSquares()
    model.scale = torch.ones(2).double()
    model.noise = torch.tensor([1e-4, 1e-4]).double()
    assert model.explains_all
    model.noise = torch.tensor([1e-4, 2e-3]).double()
    assert not model.explains_all


def test_the_likeliest_model_is_chosen():
    inputs, change, half = data(20)
    models = [Scripted(0.3), Scripted(-2.0), Scripted(-1.0)]
    assert choose(models, inputs, change, half) is models[1]
    assert [model.fits for model in models] == [1, 1, 1]


def test_nothing_is_tried_after_a_model_that_explains_everything():
    inputs, change, half = data(20)
    models = [Scripted(0.3), Scripted(0.1, explains=True), Scripted(-1.0)]
    assert choose(models, inputs, change, half) is models[1]
    assert [model.fits for model in models] == [1, 1, 0]


@pytest.mark.parametrize(
    ("own_error", "num_inputs", "fits"), [(0.04, 6, 0), (0.06, 6, 1), (0.0, 7, 1)]
)
def test_what_takes_long_is_tried_where_others_err_by_themselves(own_error, num_inputs, fits):
    """Or where there are more inputs than waves can fill."""
    _, change, half = data(20)
    quick, slow = Scripted(0.3, own_error=own_error, quick=True), Scripted(-1.0)
    found = choose([quick, slow], randn(20, num_inputs), change, half)
    assert slow.fits == fits
    assert found is (slow if fits else quick)


def test_a_straight_line_is_told_from_waves_by_likelihood():
    inputs, change, half = data()
    line, waves = LeastSquares(), FourierDynamics(2, 2)
    assert choose([line, waves], inputs, change, half) is waves
    straight = inputs @ TARGET.mT + 0.1 * randn(len(inputs), 2, seed=83)
    assert choose([LeastSquares(), waves], inputs, straight, half).surprise <= waves.surprise


def test_rounding_of_a_clock_is_no_motion():
    """Displacements that are alike but for the rounding of float32 have no scale of their own."""
    clock = (torch.arange(400).float() / 7).double()
    step = ((clock + 0.1).float().double() - clock)[:, None]
    assert 0 < float(step.std()) < 1e-5
    inputs = torch.stack((clock / clock.std(), torch.zeros(400).double()), -1)
    change = step / clock.std()
    model = FourierDynamics(1, 1, 16)
    half = torch.arange(400) % 2
    model.fit(inputs, change, half)
    model.examine(inputs, change, half)
    assert float(model.scale) == 1.0


def test_values_of_sums_are_values_at_sums(name):
    model, inputs, shifts = fitted(name), 0.5 * randn(5, 4, seed=2), 0.5 * randn(3, 4, seed=3)
    found = model.values_of_sums(inputs, shifts)
    # 1e-5: networks compute in single precision.
    assert_close(found[:, :, 1], model.values(inputs + shifts[1]), atol=1e-5, rtol=0)
    assert found.shape == (2, 5, 3, 2)
