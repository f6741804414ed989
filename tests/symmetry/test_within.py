"""The search goes from what the dynamics keep to what rewards say, and not astray."""

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from searched import Searched
from stages import Told, at_once, done, search
from systems import randn
from torch.testing import assert_close

from hgm import lie
from hgm.envs.bank import BANK
from hgm.groups import GL
from hgm.symmetry import SearchSteps
from hgm.symmetry.believed import penalty_of
from hgm.symmetry.effort import MORE
from hgm.symmetry.findings import Problem, Refined, Span
from hgm.symmetry.kept import Kept
from hgm.symmetry.losses import differential_invariance
from hgm.symmetry.phases import Fit
from hgm.symmetry.subgroup import LeftActions, Subgroup, free_in
from hgm.symmetry.within import Within


@pytest.mark.slow
def test_directions_stay_with_those_of_the_dynamics():
    """Others explain the rewards as well, and generate far more."""
    found = Searched(BANK["cylinder"], 1500, seed=3, steps=SearchSteps())
    assert len(found.findings.seen) == 2
    assert lie.span_cosine(found.generators, BANK["cylinder"].generators) > 0.998


@pytest.mark.slow
@pytest.mark.parametrize("seed", [2, 3])
def test_the_dynamics_do_not_overrule_noisy_rewards(seed):
    """They keep other directions than those that carry the tasks into each other."""
    specimen = replace(BANK["currents"], reward_noise=0.2)
    found = Searched(specimen, 500, seed, steps=SearchSteps(num_refits=0))
    angles = [
        elements[:, 1, 0].atan2(elements[:, 0, 0])
        for elements in (
            lie.exp(lie.hat(found.findings.coords, found.findings.generators)),
            specimen.elements(found.tasks),
        )
    ]
    off = angles[0] - angles[1]
    # 0.25: a few errors of 500 rewards whose noise is as large as they are.
    assert torch.atan2(off.sin(), off.cos()).abs().max() < 0.25


@pytest.mark.slow
def test_what_has_straight_sides_is_found_by_values():
    """Gradients are aligned by one direction, too; 256 waves do not explain the true elements."""
    found = Searched(BANK["heat_exchanger"], 2000, seed=120, steps=SearchSteps(num_refits=0))
    assert len(found.findings.seen) == 2
    assert found.findings.inherited
    assert lie.span_cosine(found.generators, BANK["heat_exchanger"].generators) > 0.99


def penalised(directions, coords, price, precision=None, times=None):
    group = GL(2).double()
    problem = Problem(None, group, Told(len(coords) + 1), None, True)
    kept = Kept(price, torch.eye(4).double()[:1], precision)
    within = Within(problem, None, kept, differential_invariance, SearchSteps(), 0)
    subgroup = Subgroup(group, LeftActions(directions, coords))
    span = Span(Fit(subgroup, subgroup.start, None, None, 0.0), None, 1, kept=True)
    return penalty_of(within, span, times), subgroup.start


def test_kept_directions_cost_nothing_and_others_by_the_radian():
    price = torch.diag(torch.tensor([3.0, 2.0, 1.0, 0.5])).double()
    coords = torch.tensor([[2.0], [-3.0]]).double()
    kept, off = (torch.eye(4).double()[row : row + 1] for row in (0, 1))
    penalty, start = penalised(kept, coords, price)
    assert_close(penalty(start)[0], torch.zeros(8).double())
    for far in (1.0, 10.0):  # however far the elements go
        penalty, start = penalised(kept, far * coords, price)
        direction = kept + 0.02 * off
        moved = torch.cat((direction.flatten(), far * coords.flatten()))
        assert float(penalty(moved)[0].square().sum()) == pytest.approx(9 * math.log1p(2 / 9))


def test_how_surely_dynamics_tell_their_directions_is_what_others_cost():
    precision = torch.diag(torch.tensor([0.0, 100.0, 25.0, 0.0])).double()
    coords = torch.tensor([[2.0], [-3.0]]).double()
    for row, cost in ((1, 100.0), (2, 25.0), (3, 0.0)):
        direction = 0.995**0.5 * torch.eye(4).double()[:1]
        direction = direction + 0.005**0.5 * torch.eye(4).double()[row : row + 1]
        penalty, start = penalised(direction, coords, torch.eye(4).double(), precision)
        assert float(penalty(start)[0].square().sum()) == pytest.approx(
            9 * math.log1p(0.005 * cost / 9)
        )


def test_the_penalty_s_derivative():
    price = torch.diag(torch.tensor([3.0, 2.0, 1.0, 0.5])).double()
    penalty, start = penalised(randn(1, 4), randn(2, 1, seed=1), price)
    step = 1e-6 * torch.eye(len(start)).double()
    numeric = torch.stack(
        [(penalty(start + h)[0] - penalty(start - h)[0]) / 2e-6 for h in step], -1
    )
    assert_close(penalty(start)[1], numeric, atol=1e-6, rtol=1e-6)


def test_directions_that_are_fixed_are_not_penalised():
    within = search(1, num_tasks=3)
    subgroup = Subgroup(within.group, LeftActions(torch.eye(4).double(), randn(2, 4)), fixed=True)
    span = Span(Fit(subgroup, subgroup.start, None, None, 0.0), None, 1, kept=True)
    assert penalty_of(within, span) is None


def test_where_a_task_is_moved_the_span_is_that_of_the_new_place(monkeypatch):
    """Losses and the spectrum of the report are of the elements that it tells."""
    within = search(1, num_tasks=4)
    coords = torch.tensor([[1.0], [2.0], [3.0]]).double()
    old, new = (
        Fit(subgroup, subgroup.start, None, torch.zeros(7, 7).double(), loss)
        for loss in (10 * within.expected, 0.1)
        for subgroup in [Subgroup(within.group, LeftActions(torch.eye(4).double()[:1], coords))]
    )
    places = [new, None]

    monkeypatch.setattr("hgm.symmetry.within.without_straggler", lambda *_: at_once(places.pop(0)))
    monkeypatch.setattr(within, "align_freely", lambda group, coords, prior: at_once(new))
    monkeypatch.setattr(
        "hgm.symmetry.within.believing",
        lambda _, span: at_once(Refined(span.fit.unknowns, None, None)),
    )
    found = done(within.refine(Span(old, old, 1)))
    span, refined = found
    assert span.fit is new
    assert span.free is new
    assert refined.unknowns is new.unknowns


@pytest.mark.parametrize("comparable", [True, False])
def test_elements_that_values_have_placed_are_not_looked_for_again(monkeypatch, comparable):
    within = search(4)
    subgroup = free_in(within.group, randn(4, 4))
    free = Fit(subgroup, subgroup.start, None, None, 9.0)
    again = free._replace(loss=1.0)

    alike = free if comparable else None
    room = "hgm.symmetry.within"
    monkeypatch.setattr(f"{room}.free_elements", lambda *_: at_once((free, alike)))
    monkeypatch.setattr(f"{room}.resettled", lambda *_: at_once(again))
    monkeypatch.setattr(f"{room}.shortened", lambda _, one, prior: at_once([one]))
    monkeypatch.setattr(within, "find_span", lambda frees, *_: at_once(frees[0]))
    found = done(within.find_in(within.group, within.prior, torch.eye(2).double()))
    assert found is (free if comparable else again)


@pytest.mark.parametrize(("badly", "taken"), [(False, "by gradients"), (True, "by values")])
def test_where_gradients_align_badly_elements_stay_where_values_are_alike(
    monkeypatch, badly, taken
):
    within = search(4)
    loss = (2.0 if badly else 1.0) * within.expected
    subgroup = free_in(within.group, randn(4, 4))
    fits = {
        name: Fit(subgroup, subgroup.start + index, torch.eye(16).double(), None, loss)
        for index, name in enumerate(("free", "by gradients", "by values"))
    }

    monkeypatch.setattr(within, "align", lambda *_: at_once(fits["by gradients"]))
    monkeypatch.setattr(within, "align_freely", lambda *_: at_once(fits["free"]))
    monkeypatch.setattr(within, "enough", lambda *_: at_once(True))
    by_values = fits["by values"]._replace(loss=0.1)
    monkeypatch.setattr("hgm.symmetry.within.values_agree", lambda *_: at_once(by_values))
    found = done(within.find_span([fits["free"]], within.prior, alike=by_values))
    assert torch.equal(found.fit.unknowns, fits[taken].unknowns)
    assert found.fit.loss == loss  # of gradients, as all that is compared with it


@pytest.mark.slow
def test_shifts_that_align_what_is_scaled_are_no_group():
    """Pressures fall by a factor, as a balloon rises by so much."""
    found = Searched(BANK["weather_balloon"], 2000, seed=151, steps=SearchSteps(num_refits=0))
    assert lie.span_cosine(found.generators, BANK["weather_balloon"].generators) > 0.995


@pytest.mark.parametrize("among", [None, randn(2, 4)])
def test_elements_that_are_known_lead_to_more_starts(monkeypatch, among):
    problem = Problem(None, GL(2).double(), Told(3), None, True)
    kept = Kept(torch.eye(4).double(), torch.eye(4).double())
    within = Within(problem, None, kept, differential_invariance, SearchSteps(num_starts=6), 0)
    phases = []

    def run(phase):
        phases.append(phase)
        return None
        yield

    monkeypatch.setattr(within, "run", run)
    with pytest.raises(StopIteration):
        next(within.align_each(problem.group, within.prior, torch.eye(2).double(), among))
    starts = phases[0].solver.unknowns
    assert starts.shape == (2, 6 if among is None else 1 + 2 * 6, 4)


@pytest.mark.parametrize(
    ("spreads", "misfit", "asked", "taken"),
    [
        ([0.9], 0.1, ["same"], 0.9),
        ([1.2, 0.6], 0.1, ["same", "more"], 0.6),
        ([1.2, 0.9], 0.0, ["same", "affine"], 0.9),  # only noise is left
        ([2.5, 0.9], 0.1, ["same", "affine"], 0.9),  # too much for waves
        ([1.29, 1.1, 0.8], 0.1, ["same", "more", "affine with more"], 0.8),
        ([1.4, 1.5, 0.8], 0.1, ["same", "more", "affine"], 0.8),
    ],
)
def test_kinks_that_are_finer_than_its_waves_are_given_more(
    monkeypatch, spreads, misfit, asked, taken
):
    group = GL(2).double()
    view = SimpleNamespace(columns=[0, 1], sight=SimpleNamespace(columns=[0, 1]))
    problem = Problem(view, group, Told(3), None, True)
    kept = Kept(torch.eye(4).double(), torch.eye(4).double()[:1])
    within = Within(problem, None, kept, differential_invariance, SearchSteps(), 0)
    subgroup = Subgroup(group, LeftActions(torch.eye(4).double()[:1], randn(2, 1)))
    fit = Fit(subgroup, subgroup.start, None, torch.zeros(6, 6).double(), 0.0)
    ways = []

    def run(pool):
        more = "more" if pool.calibration == "same" else f"{pool.calibration} with more"
        ways.append(more if pool.effort is MORE else pool.calibration)
        spread = torch.tensor(spreads.pop(0))
        calibrated = pool.calibration == "affine"
        pool.model = SimpleNamespace(
            spread=spread,
            misfit=0.0 if calibrated and spread < 1 else misfit,
            calibrated=calibrated,
            effort=pool.effort,
            increasing=True,
            actions=subgroup.start,
            covariance=lambda: torch.zeros(6, 6).double(),
        )
        return pool.model
        yield

    monkeypatch.setattr(within, "run", run)
    with pytest.raises(StopIteration) as end:
        next(within.refine_fit(fit))
    assert ways == asked
    assert float(end.value.value.pool.spread) == pytest.approx(taken)


def test_what_dynamics_say_counts_more_at_first_and_then_has_no_tails():
    precision = torch.diag(torch.tensor([0.0, 100.0, 25.0, 0.0])).double()
    coords = torch.tensor([[2.0], [-3.0]]).double()
    direction = 0.5**0.5 * torch.eye(4).double()[:2].sum(0, keepdim=True)
    penalty, start = penalised(direction, coords, torch.eye(4).double(), precision, 10.0)
    assert float(penalty(start)[0].square().sum()) == pytest.approx(10 * 0.5 * 100)
