"""Maps of rewards into the units of the first task's, against functions that are known."""

import pytest
import torch
from torch.testing import assert_close

from hgm.numerics.maps import Maps, bent, joint_table, ridges, straight
from hgm.numerics.ranks import Ranks


def randn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


REWARDS = randn(3, 400).exp()
FAR = torch.cat((REWARDS, -torch.ones(3, 5), 50 * torch.ones(3, 5)), 1).double()


@pytest.mark.parametrize("kind", [straight, bent])
def test_the_identity_is_among_them_beyond_the_ends_too(kind):
    splines = kind(REWARDS)
    same = Maps(splines, splines.identity())
    assert_close(same(FAR), FAR, rtol=0, atol=1e-9)
    assert_close(same.slopes(FAR), torch.ones_like(FAR), rtol=0, atol=1e-9)
    assert_close(same.stretch(REWARDS), torch.ones(3).double())
    assert same.increase


def test_slopes_are_derivatives():
    splines = bent(REWARDS)
    maps = Maps(splines, randn(*splines.identity().shape, seed=1))
    inner = REWARDS[:, ::7]
    numeric = (maps(inner + 1e-6) - maps(inner - 1e-6)) / 2e-6
    assert_close(maps.slopes(inner), numeric, rtol=1e-4, atol=1e-5)


def test_processes_have_the_same_knots():
    some, others = bent(REWARDS[:, ::2]).knots, bent(REWARDS[:, 1::2]).knots
    both = Ranks(sum=lambda value: value + (1 if bool((value == 1).all()) else others[:, 3:-3]))
    assert_close(bent(REWARDS[:, ::2], both).knots, (some + others) / 2)


def test_what_falls_by_more_than_a_little_is_not_increasing():
    splines = bent(REWARDS)
    coefficients = splines.identity()
    for wave, expected in ((0.0, True), (1.0, True), (400.0, False)):
        bumps = wave * torch.tensor([0.0, 0.02] * 5 + [0.0]).double()
        assert Maps(splines, coefficients + bumps).increase is expected
    assert not Maps(splines, -coefficients).increase


def test_maps_and_weights_are_found_together():
    """Every task sees one function of its points through another increasing map."""
    waves = torch.stack((torch.ones(3, 500).double(), *randn(2, 3, 500, seed=2)), -1)
    function = waves @ torch.tensor([0.5, 0.3, -0.4]).double()
    rewards = torch.stack((function[0], function[1].exp(), function[2] ** 3 + 2 * function[2]))
    splines = bent(rewards)
    table = joint_table(waves, splines.table(rewards))
    target = torch.cat((rewards[0], torch.zeros(1000).double()))
    normal = table.mT @ table
    normal = normal + torch.diag(ridges(torch.tensor(1e-9).double(), 3, normal))
    found = torch.linalg.solve(normal, table.mT @ target)
    assert_close(found[:3], torch.tensor([0.5, 0.3, -0.4]).double(), rtol=0, atol=0.01)
    maps = Maps(splines, splines.identity()).changed(found[3:])
    assert maps.increase
    assert_close(maps(rewards), function, rtol=0, atol=0.05)


def test_rewards_with_many_equal_values_have_maps_too():
    rewards = randn(2, 300).clamp_min(0.5)
    splines = bent(rewards)
    assert splines.table(rewards).isfinite().all()
    assert_close(Maps(splines, splines.identity())(rewards), rewards, rtol=0, atol=1e-8)
