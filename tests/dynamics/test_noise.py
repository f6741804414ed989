"""Noise that is larger in some places than in others."""

import pytest
import torch

from hgm.dynamics import FourierDynamics
from hgm.dynamics.noise import LocalNoise, local_noise


def randn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


INPUTS = randn(4000, 3)
SIZE = (0.8 * INPUTS[:, :1]).exp()
ONES = torch.ones(2).double()


def test_variance_is_told_where_it_is():
    noise = LocalNoise(INPUTS, SIZE * randn(4000, 2, seed=1))
    inner = INPUTS[:, 0].abs() < 1.5
    ratio = noise(INPUTS).log() - 2 * SIZE[:, 0].log()
    # Up to a constant; 0.3: that of 64 waves on 4,000 logarithms of deviation 2.2 / sqrt(2).
    assert float(ratio[inner].std()) < 0.3
    # Half of log E e^{2y} - E 2y with a Gaussian y of deviation 0.8.
    assert noise.gain == pytest.approx(0.8**2, rel=0.15)


def test_means_of_squares_by_it_are_those_of_squares():
    left = SIZE * randn(4000, 2, seed=1)
    noise = LocalNoise(INPUTS, left)
    square = left.square().mean(1)
    assert float((square / noise(INPUTS)).mean()) == pytest.approx(float(square.mean()))


@pytest.mark.parametrize("tails", [False, True])
def test_noise_that_is_the_same_everywhere_is_left_alone(tails):
    left = randn(4000, 2, seed=1)
    assert local_noise(INPUTS, left**3 if tails else left, ONES) is None


def test_nothing_is_known_beyond_the_data():
    noise = LocalNoise(INPUTS, SIZE * randn(4000, 2, seed=1))
    assert float(noise(torch.full((1, 3), 30.0).double())) <= float(noise(INPUTS).max())


def test_rounding_is_no_noise():
    assert local_noise(INPUTS, 1e-9 * SIZE * randn(4000, 2, seed=1), ONES) is None


def test_a_misfit_that_neighbours_share_is_no_noise():
    inputs = INPUTS[:, :2]
    left = (SIZE * torch.sin(4 * inputs[:, 1:])).expand(-1, 2)
    assert local_noise(inputs, left, ONES) is None
    assert local_noise(inputs, SIZE * randn(4000, 2, seed=1), ONES) is not None


def fitted(change, seed=0):
    inputs = randn(2400, 3, seed=seed)
    half = torch.arange(2400) // 20 % 2
    model = FourierDynamics(2, 1)
    model.fit(inputs, change(inputs), half)
    model.examine(inputs, change(inputs), half)
    return model, inputs


def test_transitions_count_by_the_inverse_variance_of_their_noise():
    def truth(inputs):
        return torch.stack((inputs[:, 0] * 0.3, inputs[:, 1] - inputs[:, 2]), -1)

    size = (1.5 * INPUTS[:2400, :1]).exp()
    model, inputs = fitted(lambda inputs: truth(inputs) + size * randn(2400, 2, seed=2))
    assert model.local is not None
    quiet = inputs[:, 0] < 0
    missed = (model.values(inputs) - truth(inputs))[:, quiet].square().mean().sqrt()
    model.local = None
    plain = FourierDynamics(2, 1)
    plain._weigh = lambda *some: None
    change = truth(inputs) + size * randn(2400, 2, seed=2)
    plain.fit(inputs, change, torch.arange(2400) // 20 % 2)
    before = (plain.values(inputs) - truth(inputs))[:, quiet].square().mean().sqrt()
    assert missed < 0.3 * before


def test_what_waves_cannot_follow_is_no_noise_that_counts_for_less():
    """A cube that grows fast: a fit that gave up on it would be good elsewhere."""
    model, _ = fitted(lambda inputs: torch.sinh(2.5 * inputs[:, :2]) + 0.01 * randn(2400, 2))
    assert model.local is None
