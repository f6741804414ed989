"""Pooled refinement by learned features, on rewards that waves cannot follow, known exactly."""

import functools

import pytest
import torch
from systems import TURN, randn
from torch.testing import assert_close

from hgm import lie
from hgm.numerics import learned
from hgm.numerics.basis import Basis
from hgm.numerics.fourier import Whitening
from hgm.numerics.maps import Maps, bent
from hgm.numerics.ranks import ALONE, Ranks
from hgm.symmetry import learned_rewards
from hgm.symmetry.effort import Effort, Learned
from hgm.symmetry.learned_rewards import LESS, Learn, Regression, _shared
from hgm.symmetry.pooling import PooledModel
from hgm.symmetry.samples import Seen, every_second, halves
from hgm.symmetry.scaled import Spanned
from hgm.symmetry.subgroup import free_in

ANGLES = torch.tensor([[0.0], [0.9], [-1.4], [0.5]]).double()
NUM_TASKS = len(ANGLES)
TURNS = torch.block_diag(TURN[0], 2 * TURN[0])[None]  # of two planes
NOISE = 0.02
FACTORS = torch.tensor([1.0, 2.5, 0.4, 1.6]).double()
SHIFTS = torch.tensor([0.0, -1.0, 3.0, 0.5]).double()
FEW = Effort(waves=(128, 128, 128), choices=(0, 2))
PLACES = torch.tensor([[0.4, 0.2], [-0.3, 0.5]]).double()


@pytest.fixture(autouse=True, scope="module")
def _fewer_steps():
    """Networks of tests learn for less long."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learned, "_STEPS", 1000)
        yield


def product(points):
    """Logarithm of a product over decades: of the distances to a place in either plane."""
    parts = zip(points.split(2, -1), PLACES, strict=True)
    return sum(((part - place).norm(dim=-1) + 0.03).log() for part, place in parts)


def smooth(points):
    return torch.sin(1.3 * points[..., 0] - 0.4) + 0.5 * torch.cos(points[..., 1])


def mixture(num, dim, seed=0):
    """Points of unlike sizes."""
    return randn(NUM_TASKS, num, dim, seed=seed) * (0.7 * randn(NUM_TASKS, num, 1, seed=50)).exp()


def errors(model):
    return (model.actions - ANGLES[1:, 0]).abs()


def refined(seen, generators, noise=NOISE, num=10, effort=FEW, **kind):
    """Where waves end, from angles that are a little off."""
    dim = seen.points.shape[-1]
    subgroup = free_in(Spanned(generators, dim), ANGLES[1:] + 0.03 * randn(NUM_TASKS - 1, 1))
    spread = torch.full((NUM_TASKS,), noise).double()
    model = PooledModel(subgroup, subgroup.start, spread, effort=effort, **kind)
    for _ in range(num):
        model.step(*seen)
    return model


def carried(points, generators):
    return lie.act(lie.exp(-lie.hat(ANGLES, generators)), points)


@torch.no_grad()
def run(phase, seen):
    while not phase.done:
        phase.step(seen, ALONE)
    return phase


@functools.cache
def sharp():
    """Rewards that few waves cannot follow, where these end, and the phase after it."""
    points = mixture(900, 4)
    values = product(carried(points, TURNS)) + NOISE * randn(NUM_TASKS, 900, seed=1)
    seen = Seen(points, values)
    with torch.no_grad():
        model = refined(seen, TURNS)
    start = model.unknowns.clone()
    return seen, model, start, run(Learn(model), seen)


def test_learned_features_follow_what_waves_do_not():
    seen, before, _, phase = sharp()
    model = phase.result
    assert model is not before
    assert before.learned is None
    assert model.basis.hidden is not None
    assert model.learned is not None
    told = Regression.of(before, seen, ALONE, before.spread)
    assert phase._missed < 0.3 * told.missed_before()
    assert model.residue < 0.5 * before.residue
    assert model.misfit < 0.2 * before.misfit
    assert phase.taken <= phase.num_steps


def test_elements_are_nearer_to_the_truth_than_where_it_started():
    _, before, _, phase = sharp()
    assert errors(before).norm() > 0.005
    assert errors(phase.result).norm() < 0.5 * errors(before).norm()
    assert errors(phase.result).max() < 0.005


def test_the_model_of_before_stays_as_it_is():
    _, before, start, phase = sharp()
    assert torch.equal(before.unknowns, start)
    assert phase.result.subgroup is before.subgroup
    assert phase.snapshot.loss == float(phase.result.spread)


def test_refits_of_other_transitions_go_on_with_what_was_learned():
    seen, before, _, phase = sharp()
    rows = halves(seen.reward.shape)[0] == 0
    with torch.no_grad():
        one, two = (
            model.again(seen.points[:, rows], seen.reward[:, rows], 1)
            for model in (before, phase.result)
        )
    assert two.learned is phase.result.learned
    assert one.learned is None
    assert errors(two).norm() < 0.5 * errors(one).norm()
    assert not torch.equal(two.actions, phase.result.actions)


def test_of_waves_alone_there_is_a_reward_model_for_adaptation():
    _, before, _, phase = sharp()
    assert before.reward_model().frequencies.shape[1] == before.basis.frequencies.shape[1]
    with pytest.raises(AssertionError, match="adaptation knows waves"):
        phase.result.reward_model()


@torch.no_grad()
def test_smooth_rewards_stay_with_waves():
    """Of noise in 2 dimensions, networks know no more than they."""
    points = randn(NUM_TASKS, 300, 2)
    values = smooth(carried(points, TURN)) + 0.3 * randn(NUM_TASKS, 300, seed=1)
    seen = Seen(points, values)
    before = refined(seen, TURN, noise=0.3)
    start, spread = before.unknowns.clone(), float(before.spread)
    phase = run(Learn(before), seen)
    assert phase.taken == 1
    assert phase.result is before
    assert phase.model is before
    assert torch.equal(before.unknowns, start)
    assert float(before.spread) == spread
    assert before.learned is None


def test_what_is_less_sure_than_before_is_not_taken(monkeypatch):
    _, before, _, phase = sharp()
    other = Learn(before)
    other.model = phase.model
    assert other.result is phase.model
    monkeypatch.setattr(learned_rewards, "_doubt", lambda model: float(model is phase.model))
    assert other.result is before
    # A model that did not see as much cannot say how sure it is.
    by_task = Learn(before, missed=1.0)
    by_task.model = phase.model
    assert by_task.result is phase.model


OWN = torch.tensor([[0.9, 0.3], [-0.8, 0.6], [0.2, -0.9], [-0.4, -0.5]]).double()


def telling(own, num=600):
    """Rewards of a plane, with a peak where it is the same for all, or a task's own.

    The third coordinate, which the group leaves alone, tells tasks apart.
    """
    which = torch.linspace(-1.5, 1.5, NUM_TASKS).double()[:, None, None]
    points = torch.cat(
        (randn(NUM_TASKS, num, 2), which + 0.1 * randn(NUM_TASKS, num, 1, seed=4)), -1
    )
    generators = torch.block_diag(TURN[0], torch.zeros(1, 1))[None].double()
    base = carried(points, generators)
    centre = OWN[:, None] if own else OWN[:1, None]
    peak = ((base[..., :2] - centre).norm(dim=-1) + 0.02).log()
    noise = NOISE * randn(NUM_TASKS, num, seed=1)
    return Seen(points, 0.3 * smooth(base) + peak + noise), generators


@pytest.mark.parametrize("own", [True, False])
@torch.no_grad()
def test_what_is_a_task_s_own_is_explained_by_time_but_not_by_task(own):
    seen, generators = telling(own)
    # Of as few waves, what is left is a task's own for the most part.
    effort = Effort(waves=(24, 24, 24), scales=(1.8,), choices=(0,))
    before = refined(seen, generators, num=6, effort=effort)
    usual = Regression.of(before, seen, ALONE, before.spread).missed_before()
    by_time, by_task = Learn(before), Learn(before, usual)
    for phase, left in ((by_time, False), (by_task, own)):
        phase.step(seen, ALONE)
        assert (phase.model is before) == left
        assert phase.done == left
    assert by_time._missed < 0.5 * LESS * usual


@torch.no_grad()
def test_halves_are_stretches_of_time_or_every_second_task():
    seen = sharp()[0]
    model = sharp()[1]
    by_time, by_task = (
        Regression.of(model, seen, ALONE, model.spread, by).target for by in (False, True)
    )
    target = model.regression(*seen)[-1]
    for found, half in ((by_time, halves(target.shape)), (by_task, every_second(target.shape))):
        assert found.shape[0] == 2
        for one in range(2):
            assert_close(found[one], target[half == one][: found.shape[1]])
    assert not torch.equal(by_time, by_task)


@torch.no_grad()
def test_calibrations_are_kept():
    seen, _, _, _ = sharp()
    scaled = seen._replace(reward=FACTORS[:, None] * seen.reward + SHIFTS[:, None])
    start = torch.stack((FACTORS.log(), SHIFTS), -1)
    start[1:] += 0.02 * randn(NUM_TASKS - 1, 2, seed=8)
    noise = FACTORS * NOISE
    subgroup = free_in(Spanned(TURNS, 4), ANGLES[1:] + 0.03 * randn(NUM_TASKS - 1, 1))
    before = PooledModel(subgroup, subgroup.start, noise, start, effort=FEW)
    for _ in range(8):
        before.step(*scaled)
    model = run(Learn(before), scaled).result
    assert model is not before
    assert model.calibrated
    factors, shifts = model.calibration
    assert_close(factors, FACTORS, rtol=0.02, atol=0)
    assert_close(shifts, SHIFTS, rtol=0, atol=0.03)
    assert errors(model).norm() < 0.5 * errors(before).norm()
    # What goes on elsewhere starts where calibrations are, or with rewards as they are.
    kept, plain = (model.elsewhere(subgroup, None, calibrated) for calibrated in (True, False))
    assert all(map(torch.equal, kept.calibration, model.calibration))
    assert not plain.calibrated
    assert torch.equal(kept.actions, subgroup.start)
    assert kept.spread == plain.spread == model.spread


@torch.no_grad()
def test_increasing_maps_are_kept():
    seen, _, _, _ = sharp()
    shapes = (lambda r: r, lambda r: (r / 3).exp(), lambda r: r + 0.03 * r**3, lambda r: 2 * r)
    values = torch.stack([one(part) for one, part in zip(shapes, seen.reward, strict=True)])
    splines = bent(values)
    before = refined(Seen(seen.points, values), TURNS, maps=Maps(splines, splines.identity()))
    phase = Learn(before)
    model = run(phase, Seen(seen.points, values)).result
    assert model is not before
    assert model.maps is not None
    assert model.increasing
    assert errors(model).norm() < 0.5 * errors(before).norm()
    # Maps that turn rewards round, or make them constants, explain nothing.
    phase.model.maps = model.maps._replace(coefficients=-model.maps.coefficients)
    assert not phase.model.increasing
    assert phase.result is before


def test_processes_share_what_they_learned():
    """The mean of it, and of what it misses: all of them go on alike."""
    basis = Basis(randn(3, 2), randn(3), randn(4, 5))
    white = Whitening(randn(2), randn(2, 2))
    two = Ranks(lambda value: 2 * value if bool((value == 1).all()) else 2 * value + 0.5)
    found, missed = _shared(Learned(white, basis), 0.3, two)
    for one, own in zip(found.basis, basis, strict=True):
        assert_close(one, own + 0.25)
    assert missed == pytest.approx(0.55)
    assert found.white is white
    assert _shared(Learned(white, basis), 0.3, ALONE)[1] == pytest.approx(0.3)
