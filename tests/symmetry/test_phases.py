"""Phases that read, that find something at once, and that look through a view."""

from types import SimpleNamespace

import pytest
import torch
from systems import TURN, randn
from torch.testing import assert_close

from hgm import lie
from hgm.groups import SO
from hgm.numerics.gauss_newton import Terms
from hgm.numerics.ranks import ALONE, Ranks
from hgm.symmetry import phases
from hgm.symmetry.phases import AlignStarts, Gather, Once, Phase, Through
from hgm.symmetry.relevance import Sight
from hgm.symmetry.samples import Samples, Seen, thin
from hgm.symmetry.snapshot import snapshot_of
from hgm.symmetry.view import View, units_of


def batch(num, seed=0):
    state = torch.tensor([1.0, 1e3, 5.0]).double() * randn(3, num, 3, seed=seed)
    action, reward = randn(3, num, 2, seed=seed + 1), randn(3, num, seed=seed + 2)
    return Samples(state, action, reward, state + 1)


def gathered(batches, ranks=ALONE, most=1 << 19, least=1):
    phase = Gather(most, least)
    for one in batches:
        assert not phase.done
        phase.step(one, ranks)
    phase.end_pass(ranks)
    assert phase.done
    return phase.result


def test_one_pass_is_gathered_in_order():
    parts = [batch(5), batch(7, seed=3)]
    whole = gathered(parts)
    for field, pieces in zip(whole, zip(*parts, strict=True), strict=True):
        assert torch.equal(field, torch.cat(pieces, 1))


@pytest.mark.parametrize(("most", "every"), [(30, 16), (100, 4), (299, 2), (300, 1)])
def test_what_is_gathered_is_bounded(most, every):
    kept, whole = gathered([batch(100)], most=most), batch(100)
    assert 3 * kept.reward.shape[1] <= most
    assert torch.equal(kept.state, whole.state[:, ::every])
    assert torch.equal(kept.reward, whole.reward[:, ::every])
    assert gathered([whole], most=most, least=100).reward.shape == (3, 100)


def test_what_is_gathered_is_of_all_batches_alike():
    parts = [batch(40, seed) for seed in range(0, 30, 3)]
    kept = gathered(parts, most=3 * 130)
    assert torch.equal(kept.state, torch.cat([part.state[:, ::4] for part in parts], 1))


def test_all_processes_gather_the_same():
    other = batch(4, seed=9)
    fields = iter(other)  # of the other process
    ranks = Ranks(ALONE.sum, lambda value, dim: torch.cat((value, next(fields)), dim))
    assert torch.equal(gathered([batch(4)], ranks).reward[:, 4:], other.reward)


@pytest.mark.parametrize(("num", "expected"), [(10, 10), (9, 5), (3, 2), (1, 1), (100, 10)])
def test_thin_takes_points_evenly(num, expected):
    points = torch.arange(10.0).expand(2, 10)[..., None]
    few = thin(points, {9: 5, 3: 2, 1: 1}.get(num, num))
    assert few.shape == (2, expected, 1)
    assert len(set(few[0, :, 0].diff().tolist())) <= 1


def test_what_is_found_at_once_is_found_in_one_step():
    calls = []
    phase = Once("name", "tag", lambda: calls.append(1) or "found")
    assert not phase.done
    assert calls == []
    phase.step(None, ALONE)
    assert phase.done
    assert (phase.result, phase.snapshot, calls) == ("found", None, [1])


class Recorded(Phase):
    """Notes what it is given."""

    name, tag, num_steps, whole = "recorded", "noted", 2, True

    def __init__(self):
        self.given, self.passes = [], 0

    def step(self, samples, ranks):
        self.taken += 1
        self.given.append(samples)
        return torch.ones(())

    def end_pass(self, ranks):
        self.passes += 1

    @property
    def result(self):
        return len(self.given)

    @property
    def snapshot(self):
        coords = torch.ones(1, 1).double()
        return snapshot_of(self.tag, TURN, coords, 0.5) if self.given else None


def test_a_phase_is_given_what_rewards_see_of_its_tasks():
    samples = batch(50)
    view = View(units_of(samples, 3), Sight("observation", [0, 1], None, torch.ones(3)), [0, 1])
    inner = Recorded()
    phase = Through(view, inner, torch.tensor([0, 2]))
    assert (phase.name, phase.tag, phase.num_steps, phase.whole) == ("recorded", "noted", 2, True)
    assert phase.snapshot is None
    assert float(phase.step(samples, ALONE)) == 1.0
    seen = view(samples)
    assert torch.equal(inner.given[0].points, seen.points[[0, 2]])
    assert torch.equal(inner.given[0].reward, seen.reward[[0, 2]])
    assert isinstance(inner.given[0], Seen)
    assert not phase.done
    phase.step(samples, ALONE)
    phase.end_pass(ALONE)
    assert phase.done
    assert inner.passes == 1
    assert phase.result == 2


def test_its_snapshot_is_in_the_units_of_the_data():
    samples = batch(50)
    view = View(units_of(samples, 3), Sight("observation", [0, 1], None, torch.ones(3)), [0, 1])
    phase = Through(view, Recorded(), torch.arange(3))
    phase.step(samples, ALONE)
    shown = phase.snapshot
    assert shown.generators.shape == (1, 3, 3)
    assert_close(shown.generators.norm(), torch.tensor(2.0).double().sqrt())
    # The same elements: coordinates of 1 on the generator as it is lifted.
    assert_close(lie.hat(shown.coords, shown.generators)[1:], view.lift(TURN))
    assert shown.coords[0] == 0


@pytest.mark.parametrize(("num", "each"), [(3, 64), (12, 16), (64, 4), (500, 1)])
def test_points_by_which_all_tasks_judge_a_start_stay_few(monkeypatch, num, each):
    """Every task is carried to every other from every start: memory goes with their product."""
    seen = []
    monkeypatch.setattr(phases, "residuals_among", lambda *parts: seen.append(parts[3]))
    among = torch.zeros(num - 1, 1).double()
    estimator = SimpleNamespace(num_tasks=num)
    phase = AlignStarts(SO(2).double(), estimator, None, torch.zeros(5, 1), 1, 64, None, among)
    phase._residuals(randn(num, 128, 2))
    assert seen[0].shape[:2] == (num, each)


def test_of_many_starts_the_best_go_on(monkeypatch):
    def residuals(group, estimator, invariance, points):
        def found(coords, derive):
            off = (coords - 1.5).expand(*coords.shape[:-1], 1)[..., None, :]
            off = off.expand(*coords.shape[:-1], points.shape[1], 1)
            ones = torch.ones_like(off)
            return Terms(off, torch.zeros_like(off[..., 0]), ones[..., None, :] if derive else None)

        return found

    monkeypatch.setattr(phases, "base_residuals", residuals)
    starts = torch.linspace(-3, 3, 25).double()[:, None]
    parts = (SO(2).double(), SimpleNamespace(num_tasks=3), None, starts, 5, 8)
    phase = AlignStarts(*parts, first=4)
    phase.step(Seen(randn(3, 16, 2), randn(3, 16)), ALONE)
    assert phase.solver.unknowns.shape == (2, 4, 1)
    assert (phase.solver.unknowns - 1.5).abs().max() < 0.6
    assert AlignStarts(*parts).solver.unknowns.shape == (2, 25, 1)
