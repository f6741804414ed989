"""Intervals of entries and elements, from refits that are known."""

import dataclasses
import math
import sys
from pathlib import Path

import pytest
import torch
from scipy.stats import t as student
from torch.testing import assert_close

sys.path.insert(0, str(Path(__file__).parents[1]))

from searched import FEW, Searched

from hgm import lie
from hgm.envs.bank import BANK
from hgm.evidence.intervals import degrees_apart, intervals, record
from hgm.symmetry.refits import Refits

TURN = lie.so_generators(2).double()
T7 = float(student.ppf(0.975, 7))


@pytest.fixture(scope="module")
def findings():
    steps = dataclasses.replace(FEW, num_refits=0)
    return Searched(BANK["cone"], 300, steps=steps).findings


def entries_of(findings):
    parts = (findings.generators, findings.action_generators)
    return torch.cat([part.flatten(1) for part in parts], 1)


def refitted(findings, spread=0.01, seed=0, whole=None, deviation=None):
    """The findings with refits that err by normal numbers of a standard deviation each."""
    whole = entries_of(findings) if whole is None else whole
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(8, *whole.shape, generator=generator, dtype=torch.float64)
    entries = whole + spread * noise
    coords = findings.coords.expand(8, -1, -1)
    completion = findings.completion
    if deviation is not None:
        completion = completion._replace(deviation=deviation)
    refits = Refits(entries, coords, whole, 7)
    return findings._replace(refits=refits, completion=completion)


def test_without_refits_there_are_no_intervals(findings):
    assert intervals(findings) is None
    told = record(None, 3)
    assert told["generator_interval"] is None
    assert told["element_within_deg"] == [None, None, None]


def test_half_widths_are_students_of_the_mean_square_in_the_units_of_the_data(findings):
    given = refitted(findings)
    found = intervals(given)
    errors = given.refits.entries - given.refits.whole
    width = T7 * errors.square().mean(0).sqrt()
    units = findings.problem.view.units
    scale = units.frame.diagonal()[:, None] / units.frame.diagonal()
    low, high = found[0].generators.unbind(-1)
    assert_close((high - low) / 2, width[:, :4].view(1, 2, 2) * scale)
    assert_close((high + low) / 2, units.raw(findings.generators), atol=1e-12, rtol=0)
    scale = units.action[:, None] / units.action
    low, high = found[1].generators.unbind(-1)
    assert_close((high - low) / 2, width[:, 4:].view(1, 2, 2) * scale)


def test_intervals_hold_what_is_reported_though_all_transitions_say_otherwise(findings):
    """As where an entry was set to zero, or made periodic, and should not have been."""
    whole = entries_of(findings)
    whole[0, 6] += 0.2
    given = refitted(findings, whole=whole)
    found, bare = intervals(given), intervals(given, widened=False)
    reported = findings.problem.view.units.raw_action(findings.action_generators)
    low, high = found[1].generators.unbind(-1)
    assert bool(((low <= reported) & (reported <= high)).all())
    low, high = bare[1].generators.unbind(-1)
    outside = (reported < low) | (reported > high)
    assert outside[0].flatten().tolist() == [False, False, True, False]
    # The way to where all transitions put it is in the bound on elements.
    sure = intervals(refitted(findings))
    moved = 0.2 * findings.coords.abs()[1:, 0] / math.sqrt(2)
    more = torch.deg2rad(found[1].elements - sure[1].elements)[1:]
    assert bool((more > 0.3 * moved).all())


def test_what_the_dynamics_leave_open_is_undetermined_and_so_are_its_elements(findings):
    deviation = torch.zeros(1, 8).double()
    deviation[0, 5] = 0.9
    found = intervals(refitted(findings, deviation=deviation))
    unknown = found[1].generators[..., 0].isnan()
    assert unknown[0].flatten().tolist() == [False, True, False, False]
    # Row 1 is not known, and row 2 has an entry in its column.
    assert found[1].coordinates == []
    assert bool(found[1].elements.isnan().all())
    assert found[0].coordinates == [0, 1]
    told = record(found, 4)
    assert told["action_generator_interval"][0][0][1] == [None, None]
    assert told["action_element_within_deg"] == [None] * 4
    assert told["element_within_deg"][0] == 0.0


def test_what_refits_disagree_about_is_undetermined(findings):
    spread = torch.full((8,), 0.01).double()
    spread[7] = 2.0
    found = intervals(refitted(findings, spread))
    unknown = found[1].generators[..., 0].isnan()
    assert unknown[0].flatten().tolist() == [False, False, False, True]


def test_dynamics_that_are_inherited_say_themselves_how_sure_they_are(findings):
    open_ = torch.ones(1, 8).double()
    given = refitted(findings._replace(inherited=True), deviation=open_)
    assert not bool(intervals(given)[1].generators.isnan().any())


@pytest.mark.parametrize("dims", [1, 4])
def test_bounds_on_elements_cover_as_often_as_they_say(findings, dims):
    """Entries err, by normal numbers, in one direction or in all four."""
    held, spread = [], torch.zeros(8).double()
    spread[1 if dims == 1 else slice(4)] = 0.003
    truth = entries_of(findings)
    for seed in range(150):
        generator = torch.Generator().manual_seed(1000 + seed)
        off = truth + spread * torch.randn(1, 8, generator=generator, dtype=torch.float64)
        wrong = findings._replace(generators=off[:, :4].view(1, 2, 2))
        found = intervals(refitted(wrong, spread, seed, whole=off))
        one, other = (
            lie.exp(lie.hat(findings.coords, basis))
            for basis in (wrong.generators, findings.generators)
        )
        held.append((degrees_apart(one, other, [0, 1]) <= found[0].elements)[1])
    assert 0.89 < float(torch.stack(held).double().mean()) < 0.99


def test_degrees_apart_are_angles_of_rotations():
    one, other = (lie.exp(angle * TURN[0]) for angle in (0.3, 0.1))
    assert float(degrees_apart(one, other, [0, 1])) == pytest.approx(math.degrees(0.2))


def test_a_whole_search_writes_intervals_that_hold_the_truth():
    found = Searched(BANK["inertia"], 400, steps=dataclasses.replace(FEW, num_refits=4))
    metrics = found.metrics
    ends = torch.tensor(metrics["generator_interval"], dtype=torch.float64)
    assert ends.shape == (1, 4, 4, 2)
    truth = BANK["inertia"].generators
    inside = (ends[..., 0] <= truth + 1e-9) & (truth <= ends[..., 1] + 1e-9)
    assert float(inside.double().mean()) >= 14 / 16
    low, high = ends.unbind(-1)
    assert bool(((low <= found.generators + 1e-9) & (found.generators <= high + 1e-9)).all())
    assert torch.tensor(metrics["action_generator_interval"]).shape == (1, 2, 2, 2)
    assert len(metrics["element_within_deg"]) == len(metrics["action_element_within_deg"]) == 4
    assert all(0 < bound < 20 for bound in metrics["element_within_deg"][1:])


def test_what_neither_rewards_nor_dynamics_see_has_no_interval():
    """Four coordinates drift on their own: any map of them commutes with the drift."""
    steps = dataclasses.replace(FEW, num_refits=2)
    metrics = Searched(BANK["irrelevant_6"], 300, steps=steps).metrics
    ends = metrics["generator_interval"][0]
    hidden = [ends[row][column] for row in range(2, 6) for column in range(2, 6)]
    unknown = [low is None for low, _ in hidden]
    assert sum(unknown) >= 12
    # With few data, a deviation may by chance be below what counts as undetermined, not far below.
    assert all(high - low > 0.5 for low, high in hidden if low is not None)
    assert metrics["undetermined"] > 0.3
    known = [ends[row][column] for row in range(2) for column in range(2)]
    assert all(low < high for low, high in known)
    # The two coordinates that rewards see are compared, the others are not.
    assert all(0 < bound < 20 for bound in metrics["element_within_deg"][1:])
