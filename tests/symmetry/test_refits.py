"""Fits of halves of the transitions: which halves, and what is fitted again."""

import dataclasses
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.testing import assert_close

sys.path.insert(0, str(Path(__file__).parents[1]))

from searched import FEW, Searched

from hgm.differentials import FourierEstimator
from hgm.envs.bank import BANK
from hgm.symmetry.orbit import Orbit
from hgm.symmetry.refinement import Pool
from hgm.symmetry.refits import Refitter, half_samples

REFITTED = dataclasses.replace(FEW, num_refits=4)


@pytest.mark.parametrize(("num", "count"), [(500, 8), (997, 8), (40, 2), (64, 5)])
def test_halves_have_as_many_of_every_task_and_half_of_all(num, count):
    halves, degrees = half_samples(3, num, count)
    pairs = {8: 7, 2: 1, 5: 7}[count]
    length = max(1, num // (2 * pairs))
    assert halves.shape == (count, 3, pairs * length)
    assert degrees == min(count, pairs)
    assert bool((halves.diff(dim=-1) > 0).all())
    assert int(halves.max()) < num


def test_halves_are_balanced_against_each_other():
    """Any two of eight halves share half of their stretches, as independent ones would."""
    halves, _ = half_samples(2, 1400, 8)
    for task in range(2):
        member = torch.zeros(8, 1400).double()
        member[torch.arange(8)[:, None], halves[:, task]] = 1.0
        shared = member @ member.mT
        own = torch.eye(8, dtype=torch.bool)
        # One column of a Hadamard matrix is left out: products of two rows are -1 over seven pairs.
        assert_close(shared[own], torch.full((8,), 700.0).double())
        assert_close(shared[~own], torch.full((56,), 300.0).double())


@pytest.mark.parametrize(("num", "count"), [(13, 8), (101, 64), (125, 40)])
def test_half_samples_of_few_transitions_are_halves(num, count):
    halves, _ = half_samples(3, num, count)
    assert halves.shape == (count, 3, num // 2)


@pytest.mark.parametrize("num", [560, 1400])
def test_half_samples_of_a_mean_have_the_variance_of_the_mean(num):
    """Mean squares over halves, for means of independent numbers: that of the mean, exactly."""
    halves, degrees = half_samples(1, num, 8)
    values = torch.randn(2000, num, generator=torch.Generator().manual_seed(0)).double()
    whole = values.mean(-1)
    squares = (values[:, halves[:, 0]].mean(-1) - whole[:, None]).square().mean(-1)
    assert float(squares.mean()) == pytest.approx(1 / num, rel=0.05)
    # Seven degrees of freedom: the variance of a mean square is 2/7 of its square.
    assert float(squares.var() / squares.mean() ** 2) == pytest.approx(2 / degrees, rel=0.2)


@pytest.fixture(scope="module")
def inertia():
    return Searched(BANK["inertia"], 400, steps=REFITTED).findings


def test_refits_are_of_all_entries_and_tasks(inertia):
    refits = inertia.refits
    assert refits.entries.shape == (4, 1, 20)
    assert refits.coords.shape == (4, 4, 1)
    assert refits.whole.shape == (1, 20)
    assert bool((refits.coords[:, 0] == 0).all())


def test_refits_are_near_what_was_found_and_differ(inertia):
    refits, given = inertia.refits, inertia.completion.given
    reported = torch.cat((inertia.generators.flatten(1), inertia.action_generators.flatten(1)), 1)
    assert float((refits.whole - reported).abs().max()) < 0.1
    assert float((refits.entries - reported).abs().max()) < 0.3
    assert float((refits.coords - inertia.coords).abs().max()) < 0.1
    spread = refits.entries.std(0)[0]
    unseen = torch.zeros(20, dtype=torch.bool)
    unseen[[2, 3, 6, 7]] = True  # rewards do not see velocities
    assert bool((spread[unseen] == 0).all())
    assert bool((spread[given & ~unseen] > 0).all())
    # Zeros of the report are estimated anew.
    assert bool((spread[~given] > 0).all())


def test_none_are_made_where_none_are_asked_for_and_nothing_else_changes():
    one, other = (
        Searched(BANK["cone"], 200, steps=dataclasses.replace(FEW, num_refits=num)).findings
        for num in (0, 2)
    )
    assert one.refits is None
    assert other.refits is not None
    assert torch.equal(one.coords, other.coords)
    assert torch.equal(one.generators, other.generators)
    assert torch.equal(one.action_generators, other.action_generators)


def test_without_a_reward_model_of_all_tasks_gradients_are_aligned_again(monkeypatch):
    monkeypatch.setattr(Pool, "accepted", False)
    found = Searched(BANK["warped"], 300, steps=dataclasses.replace(FEW, num_refits=2)).findings
    assert found.pool is None
    spread = (found.refits.coords - found.coords).square().mean(0).sqrt()[1:]
    assert bool((spread > 0).all())
    assert float(spread.max()) < 0.5


def test_rewards_of_other_powers_are_fitted_again_with_their_maps():
    found = Searched(BANK["warped"], 300, steps=dataclasses.replace(FEW, num_refits=2)).findings
    assert found.pool.maps is not None
    spread = (found.refits.coords - found.coords).square().mean(0).sqrt()[1:]
    assert bool((spread > 0).all())
    assert float(spread.max()) < 0.1


def test_several_orbits_are_not_fitted_again(inertia):
    apart = inertia._replace(orbits=(Orbit([0, 1], None), Orbit([2, 3], None)))
    assert Refitter(None, None, None, apart)(4) is None


def test_neither_are_many_tasks_that_took_no_part_in_the_search(inertia):
    many = inertia._replace(coords=torch.zeros(4 + 65, 1).double())
    assert Refitter(None, None, None, many)(4) is None
    # Without one reward model nothing locates the others at all.
    estimator = FourierEstimator(4, 2)
    within = SimpleNamespace(estimator=estimator, group=SimpleNamespace(dim_space=2))
    some = inertia._replace(coords=torch.zeros(5, 1).double(), pool=None)
    assert Refitter(within, None, None, some)(4) is None
