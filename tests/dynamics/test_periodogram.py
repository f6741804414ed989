"""Waves of one or two coordinates among six, that residuals follow."""

import math

import pytest
import torch
from systems import randn
from torch.testing import assert_close

from hgm.dynamics import FourierDynamics, fourier
from hgm.dynamics.periodogram import strongest_waves

NUM = 3000
LATTICE = 2 * math.pi / 0.5  # half a standard deviation


def inputs(seed=0, size=6):
    return randn(NUM, size, seed=seed)


def on(*entries, size=6):
    frequency = torch.zeros(size).double()
    for place, value in entries:
        frequency[place] = value
    return frequency


@pytest.mark.parametrize("seed", range(5))
def test_noise_has_no_waves(seed):
    assert len(strongest_waves(inputs(seed), randn(NUM, 3, seed=seed + 40), 8)) == 0


@pytest.mark.parametrize(
    "wave", [on((2, LATTICE)), on((0, 7.0), (4, -7.0)), on((1, 3.0), (5, 9.0))]
)
def test_a_wave_of_one_or_two_coordinates_is_found(wave):
    x = inputs()
    left = 0.3 * torch.sin(x @ wave)[:, None] + randn(NUM, 2, seed=1)
    found = strongest_waves(x, left, 8)
    assert 1 <= len(found) <= 8
    # On a grid of 0.6, of coordinates whose deviation is 1.
    assert_close(found[0], wave, atol=0.35, rtol=0)


def test_a_wave_is_in_the_units_of_the_inputs():
    units = torch.tensor([3.0, 0.01]).double()
    x, wave = inputs(size=2), on((0, 6.0), (1, 6.0), size=2)
    left = torch.cos(x @ wave)[:, None]
    for unit in (torch.ones(2).double(), units):
        found = strongest_waves(x * unit + unit, left, 1)
        assert_close(found[0] * unit, wave, atol=0.35, rtol=0)


def test_a_product_of_three_coordinates_is_not_seen():
    x = inputs()
    left = torch.sin(7 * x[:, :3]).prod(-1, keepdim=True) + 0.1 * randn(NUM, 1, seed=2)
    assert len(strongest_waves(x, left, 8)) == 0


def test_what_never_varies_has_no_waves():
    x = inputs(size=3)
    x[:, 1] = 2.0
    left = torch.cat((torch.sin(6 * x[:, :1]), torch.zeros(NUM, 1).double()), -1)
    found = strongest_waves(x, left, 4)
    assert len(found)
    assert bool((found[:, 1] == 0).all())
    assert len(strongest_waves(x[:, :2], left, 4)) == 0  # one coordinate has no partner
    assert len(strongest_waves(x, torch.zeros(NUM, 2).double(), 4)) == 0


def lattice(x):
    """A push by a place in units of half a deviation, and one by a difference of coordinates."""
    pair = torch.sin(6.0 * (x[:, 0] - x[:, 1]))
    return torch.stack((torch.sin(LATTICE * x[:, 0]) + x[:, 3], x[:, 4] - pair, x[:, 5]), -1)


def fitted(noise=0.1, seed=0):
    x = inputs(seed)
    change = lattice(x) + noise * randn(NUM, 3, seed=seed + 60)
    model = FourierDynamics(3, 3)
    model.fit(x, change, torch.arange(NUM) % 2)
    model.examine(x, change, torch.arange(NUM) % 2)
    return model


def test_dynamics_follow_a_lattice_that_no_waves_fill_six_dimensions_with():
    model, x = fitted(), inputs(seed=9)[:500]
    assert bool((model.noise < 0.15).all())  # of 0.1 that is noise, and 0.7 that is not
    value, jacobian = model.predict(x)
    inside = x.abs().amax(-1) < 2
    off = (value - lattice(x))[:, inside].square().mean((0, 1)).sqrt()
    assert bool((off < 0.15).all())
    slope = LATTICE * torch.cos(LATTICE * x[:, 0])
    miss = (jacobian[..., 0, 0] - slope)[:, inside].square().mean().sqrt()
    assert float(miss) < 0.15 * LATTICE


def test_smooth_dynamics_are_given_no_more_waves():
    x = inputs()
    change = torch.tanh(x[:, 3:]) + 0.2 * randn(NUM, 3, seed=4)
    model = FourierDynamics(3, 3)
    model.fit(x, change, torch.arange(NUM) % 2)
    assert [twin.num_random for twin in model.twins] == [128, 128]
    assert [len(twin.more) for twin in model.twins] == [0, 0]


def test_no_waves_are_sought_in_what_is_explained(monkeypatch):
    sought = []
    monkeypatch.setattr(fourier, "strongest_waves", lambda *some: sought.append(some) or some[0])
    model, x = FourierDynamics(1, 1), inputs(size=2)
    model.fit(x, x.sum(-1, keepdim=True), torch.arange(NUM) % 2)
    assert model.explains_all
    assert not sought


def test_waves_that_do_not_help_leave_no_trace(monkeypatch):
    """Short ones, of which nothing is made: neither waves nor what the twins with them miss."""
    wave = 9.0 * torch.ones(1, 2).double()
    monkeypatch.setattr(fourier, "strongest_waves", lambda *_: wave)
    x = inputs(size=2)
    change = x[:, 1:] + 0.3 * randn(NUM, 1, seed=4)
    half = torch.arange(NUM) % 2
    model = FourierDynamics(1, 1)
    model.fit(x, change, half)
    assert [len(twin.more) for twin in model.twins] == [0, 0]
    assert_close(model.noise, model.left(x, change, half).square().mean(0).sqrt(), rtol=0, atol=0)


def test_dynamics_anew_keep_the_waves_that_were_added():
    model = fitted()
    other = model.anew(1)
    x = inputs(seed=5)
    change = lattice(x) + 0.1 * randn(NUM, 3, seed=6)
    other.fit(x, change, torch.arange(NUM) % 2)
    other.examine(x, change, torch.arange(NUM) % 2)
    for one, two in zip(model.twins, other.twins, strict=True):
        assert_close(one.more, two.more)
        assert not torch.equal(one.phases[:128], two.phases[:128])
    assert bool((other.noise < 0.15).all())


def test_a_model_that_seeks_no_waves_seeks_none_anew(monkeypatch):
    sought = []
    monkeypatch.setattr(
        fourier, "strongest_waves", lambda *some: sought.append(some) or some[0][:0]
    )
    x, half = inputs(size=2), torch.arange(NUM) % 2
    change = x[:, 1:] + 0.3 * randn(NUM, 1, seed=4)
    for sharp in (False, True):
        FourierDynamics(1, 1, sharp=sharp).anew(1).fit(x, change, half)
        assert bool(sought) == sharp
