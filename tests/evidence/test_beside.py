"""Deviations between parts, looked at again beside other parts' transitions."""

import math

import pytest
import torch
from systems import randn

from hgm.evidence.beside import Compared, believed, judged
from hgm.evidence.own import Own
from hgm.evidence.statement import Statement, Tolerance, measure

TOLERANCE = Tolerance(small=1e-3, large=0.1, approximate=1e-2)


def in_turn(values):
    return values.mT.flatten()


def waved(num, seed, apart=0.0, num_parts=2):
    """Places in a unit square: even parts are denser where a wave is positive, odd ones elsewhere.

    By acceptance: of twice as many, those that a coin keeps come first.
    """
    generator = torch.Generator().manual_seed(seed)
    place = torch.rand(num_parts, 8 * num, 2, generator=generator, dtype=torch.float64)
    sign = torch.tensor([1.0, -1.0]).double().repeat(num_parts)[:num_parts, None]
    kept = torch.rand(place.shape[:2], generator=generator) < (1 + 0.8 * sign * wave(place)) / 2
    order = kept.double().argsort(dim=1, descending=True, stable=True)[:, :num]
    drawn = place.gather(1, order[..., None].expand(-1, -1, 2))
    return drawn + apart * torch.arange(num_parts).double()[:, None, None]


def wave(place):
    return torch.sin(4 * math.pi * place[..., 0])


def regressions(deviation=0.0, knows=True):
    """Stand-ins that leave the wave, and of which a part's own says its mean over its places.

    Also what a part deviates by, `deviation` where the second coordinate is positive.
    """

    def compare(inputs, targets):
        if not knows and inputs[1].shape[1] != 400:
            return None
        far = inputs[1]
        own = deviation * torch.sign(far[..., 1:] - 0.5)
        own = own * torch.tensor([1.0, -1.0]).double().repeat(len(far))[: len(far), None, None]
        left = targets[1] + own
        known = wave(far).mean(1)[:, None, None] + own
        return Compared(
            Own(left, torch.ones(far.shape[:2]), known, 0.0), far[..., 0] ** 0, TOLERANCE
        )

    return compare


def looked_at(compare, units=1.0, noise=0.1, **options):
    inputs = tuple(waved(num, seed, **options) for num, seed in ((1600, 0), (400, 1)))
    targets = tuple(
        (wave(one) + noise * randn(*one.shape[:2], seed=5 + k))[..., None]
        for k, one in enumerate(inputs)
    )
    found = compare(inputs, targets)
    plain = measure(in_turn(found.own.product), in_turn(found.total), TOLERANCE)
    scaled = tuple(torch.tensor([units, 1.0]).double() * one for one in inputs)

    def in_units(some, wanted):
        back = torch.tensor([1 / units, 1.0]).double()
        return compare((back * some[0], back * some[1]), wanted)

    return plain, judged(found, in_units, scaled, targets, in_turn)


def test_what_regressions_leave_to_all_parts_is_no_part_s_own():
    plain, met = looked_at(regressions())
    assert plain.effect == pytest.approx(0.4**2, rel=0.2)  # the square of a tilted wave's mean
    assert plain.broken
    assert abs(met.effect) < 0.15 * plain.effect  # a twelfth of the wave's length is beside it
    assert not met.broken


@pytest.mark.parametrize("size", [0.3, 1.0])
def test_what_is_a_part_s_own_stays_so(size):
    plain, met = looked_at(regressions(size))
    assert plain.broken
    assert met.broken
    # Its product with what other parts have beside it, of two: twice itself.
    assert met.effect > size**2


def test_where_no_other_part_has_data_it_stays_as_it_looked():
    plain, met = looked_at(regressions(), apart=5.0)
    assert met == plain


def test_regressions_that_cannot_tell_contradict_nothing():
    plain, met = looked_at(regressions(knows=False))
    assert met == plain


def test_what_holds_is_not_looked_at_again():
    def never(inputs, targets):
        raise AssertionError

    quiet = Own(*(torch.zeros(2, 400, 1).double(), torch.ones(2, 400), torch.zeros(2, 400, 1)), 0.0)
    found = Compared(quiet, torch.ones(2, 400).double(), TOLERANCE)
    inputs = (waved(1600, 0), waved(400, 1))
    assert judged(found, never, inputs, inputs, in_turn).holds is True


def test_units_do_not_matter():
    _, met = looked_at(regressions(0.3))
    _, scaled = looked_at(regressions(0.3), units=1000.0)
    assert scaled.effect == pytest.approx(met.effect, rel=1e-6)


def test_many_parts_meet_some_of_the_others():
    plain, met = looked_at(regressions(), num_parts=20)
    assert plain.broken
    assert not met.broken


def deviating(places, deviation, noise=0.1):
    """First and second look at what every part says rightly, where targets are noise."""
    targets = tuple(noise * randn(*one.shape[:2], 1, seed=5 + k) for k, one in enumerate(places))

    def compare(inputs, wanted):
        own, all_of_it = deviation(inputs[1])[..., None], torch.ones(inputs[1].shape[:2]).double()
        return Compared(Own(wanted[1] + own, all_of_it, own, 0.0), all_of_it, TOLERANCE)

    found = compare(places, targets)
    plain = measure(in_turn(found.own.product), in_turn(found.total), TOLERANCE)
    return plain, judged(found, compare, places, targets, in_turn)


def test_parts_that_are_like_those_before_and_after_meet_all_kinds_of_others():
    along = 0.2 * torch.linspace(-1, 1, 64).double()[:, None]
    places = (randn(64, 160, 2, seed=1), randn(64, 80, 2, seed=2))
    plain, met = deviating(places, lambda far: along.expand(far.shape[:2]))
    assert plain.broken
    assert met.effect > 0.9 * plain.effect


def test_what_a_part_deviates_by_where_data_are_thin_stays_as_it_looked():
    """In the outermost hundredth, there are too few others beside it to contradict."""

    def places(num, seed):
        return randn(4, num, 2, seed=seed) * randn(4, num, 1, seed=seed + 10).exp()

    def outside(far):
        own = torch.tensor([1.5, -0.5, -0.5, -0.5]).double()[:, None]
        return own * (far.norm(dim=-1) > 15)

    plain, met = deviating((places(6000, 1), places(2000, 2)), outside)
    assert plain.broken
    assert met == plain


def test_what_the_distance_may_hide_is_not_contradicted():
    plain = Statement(0.1, 0.05, 0.15, TOLERANCE)
    all_of_it, small = torch.ones(400).double(), 0.02 + 0.01 * randn(400)
    sure, unsure = (0.05 + spread * randn(400, seed=1) for spread in (0.01, 1.0))
    assert believed(plain, small, sure, all_of_it).effect < 0.03
    assert believed(plain, small, unsure, all_of_it) == plain
    assert believed(plain, small, sure + 0.1, all_of_it) == plain
