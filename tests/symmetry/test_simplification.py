"""Directions that refined elements do not need are given up, and no others."""

import pytest
import torch

from hgm.groups import GL
from hgm.symmetry.findings import Refined, Span
from hgm.symmetry.phases import Fit
from hgm.symmetry.simplification import simplify
from hgm.symmetry.subgroup import LeftActions, Subgroup


class Pooled:
    def __init__(self, spread):
        self.spread = torch.tensor(spread)


class Searching:
    """As much of a search as this needs: fits stay where they start, and have a spread."""

    raw_parameters = False
    prior = torch.zeros(4, 4).double()

    def __init__(self, spread, parameters=False):
        self.group, self.spread, self.raw_parameters = GL(2).double(), spread, parameters

    def closed(self, subgroup, unknowns):
        return torch.zeros(0, 2, 2).double(), None

    def align(self, name, tag, subgroup):
        return Fit(subgroup, subgroup.start, None, None, 0.1)
        yield

    def align_freely(self, group, coords, prior):
        every = LeftActions(torch.eye(4).double(), coords)
        return (yield from self.align("", "", Subgroup(group, every, True)))

    def refine(self, span):
        deviation = torch.zeros(len(span.fit.coords))
        return span, Refined(span.fit.unknowns, deviation, Pooled(self.spread))
        yield


def simplified(coords, within, kept=False):
    directions = torch.eye(4).double()[: coords.shape[1]]
    subgroup = Subgroup(within.group, LeftActions(directions, coords))
    fit = Fit(subgroup, subgroup.start, None, None, 0.1)
    span = Span(fit, fit, coords.shape[1], kept)
    refined = Refined(subgroup.start, torch.zeros(len(coords)), Pooled(0.5))
    stage = simplify(within, span, refined)
    with pytest.raises(StopIteration) as end:
        next(stage)
    return end.value.value[0]


LINE = torch.tensor([[2.0, 0.4], [-1.0, -0.2], [1.5, 0.3]]).double()


def test_elements_on_a_line_need_one_direction():
    span = simplified(LINE, Searching(0.5))
    assert span.num_directions == 1
    torch.testing.assert_close(span.fit.coords[:, :2], LINE)


@pytest.mark.parametrize("kept", [False, True])
def test_what_the_dynamics_say_goes_on_counting(kept):
    assert simplified(LINE, Searching(0.5), kept).kept == kept


def test_a_line_that_explains_less_is_none():
    assert simplified(LINE, Searching(1.0)).num_directions == 2


def test_smaller_residuals_below_the_noise_are_no_reason_for_more_directions():
    assert simplified(LINE, Searching(0.6)).num_directions == 1


def test_elements_off_a_line_keep_their_directions():
    off = LINE + torch.tensor([[0.1, -0.2], [0.2, 0.1], [0.0, 0.3]]).double()
    assert simplified(off, Searching(0.5)).num_directions == 2


def test_a_group_with_parameters_of_its_own_stays():
    assert simplified(LINE, Searching(0.5, parameters=True)).num_directions == 2
