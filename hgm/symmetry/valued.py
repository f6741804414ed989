"""Elements in groups of few dimensions, by values of rewards where these are comparable."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from hgm.groups import LieGroup
from hgm.numerics.seeds import derive_seed
from hgm.symmetry.alignment import draw_within
from hgm.symmetry.losses import expected_loss, functional_invariance, relative_invariance
from hgm.symmetry.phases import AlignStarts, Fit, Stage
from hgm.symmetry.restarts import SAME_FIT, resettled
from hgm.symmetry.scaled import Spanned
from hgm.symmetry.subgroup import LeftActions, Subgroup, free_in

if TYPE_CHECKING:
    from hgm.symmetry.within import Within

STARTS = 0
"""Purpose of a seed."""

_DENSE = (48, 256, 768)  # starts in a group of one, two and three dimensions
_FIRST = 24  # of them that go on
_ALIKE = 3.0  # loss of values that misses by some per cent have
_WITHIN_REACH = 9.0  # loss of values of which some elements are in wrong places
_FAR = 2.0  # deviations of the data that places change by


def free_elements(
    within: Within, group: LieGroup, prior: Tensor, root: Tensor
) -> Stage[tuple[Fit, Fit | None]]:
    """Elements that are free in a group, by values of rewards where these are comparable.

    Values tell far more than directions of gradients do, so that in a group of few dimensions
    starts may be dense. Also the fit to values, if they are.
    """
    name, by_values = "left actions, jointly", list[Fit]()
    if _dense(group):
        generator = torch.Generator().manual_seed(derive_seed(within.seed, STARTS))
        starts = draw_within(group, root, _DENSE[group.dim_algebra - 1], generator, _FAR)
        parts = (group, within.estimator, relative_invariance, starts)
        steps = (within.steps.start_steps, within.steps.num_points, prior)
        coords = yield from within.run(AlignStarts(*parts, *steps, first=_FIRST))
        alike = yield from within.align(
            name, "alignment", free_in(group, coords), prior, relative_invariance
        )
        by_values.append(
            (yield from within.align(name, "alignment", free_in(group, alike.coords), prior))
        )
        if alike.loss < _ALIKE:
            return by_values[0], alike
    coords = yield from within.align_each(group, prior, root)
    free = yield from within.align(name, "alignment", free_in(group, coords), prior)
    return min([free, *by_values], key=lambda fit: fit.loss), None


def values_agree(within: Within, span: Fit, alike: Fit, prior: Tensor) -> Stage[Fit | None]:
    """Elements in as many directions by values of rewards; None if these are less alike than free.

    All directions of a group hold the free ones.
    """
    group, actions = span.subgroup.group, span.subgroup.keep(span.unknowns)
    if len(actions.directions) == group.dim_algebra:
        actions = LeftActions(torch.eye(group.dim_algebra).to(alike.coords), alike.coords)
    name, subgroup = "values of rewards", Subgroup(group, actions)
    fit = yield from within.align(name, "algebra", subgroup, prior, relative_invariance)
    return fit if fit.loss < alike.loss + SAME_FIT else None


def settled_by_values(within: Within, root: Tensor) -> Stage[tuple[Fit, Fit] | None]:
    """Free elements from where values are alike, and the fit to values; None if they are not.

    From the starts of gradients, in rounds like theirs.
    """
    group, prior = within.group, within.prior
    if _dense(group) or within.invariance is functional_invariance:
        return None
    name, rest = "left actions, jointly", (relative_invariance, expected_loss(1))
    coords = yield from within.align_each(group, prior, root, invariance=relative_invariance)
    start = free_in(group, coords)
    alike = yield from within.align(name, "alignment", start, prior, relative_invariance)
    if alike.loss < _WITHIN_REACH:
        alike = yield from resettled(within, alike, prior, root, *rest)
    if alike.loss > _ALIKE:
        return None
    free = yield from within.align(name, "alignment", free_in(group, alike.coords), prior)
    return free, alike


def _dense(group: LieGroup) -> bool:
    """Whether starts are dense in a group, and judged by values at once."""
    return isinstance(group, Spanned) and group.dim_algebra <= len(_DENSE)
