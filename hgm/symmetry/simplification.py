"""Fewer directions than the search needed, once elements are far better known."""

from __future__ import annotations

import torch

from hgm import lie
from hgm.symmetry.believed import EXPLAINED
from hgm.symmetry.findings import Refined, Span
from hgm.symmetry.phases import Stage
from hgm.symmetry.subgroup import LeftActions, Subgroup, low_rank
from hgm.symmetry.winding import one_generator
from hgm.symmetry.within import Within

_FLAT = 0.02  # extent across, relative to the largest: elements seem to need no such direction
_AS_WELL = 1.1  # spread, relative to that of elements with more freedom


def simplify(within: Within, span: Span, refined: Refined) -> Stage[tuple[Span, Refined]]:
    """The fewest directions that the refined elements are in, or one that winds through all.

    Directions are taken for fewer ones where elements hardly extend into the others, and for one
    generator where whole turns put all elements on its line; in either case only if these explain
    all tasks about as well.

    Args:
        within: The search.
        span: Directions that it found.
        refined: Its elements after pooled refinement.
    """
    if within.raw_parameters:
        return span, refined
    subgroup, unknowns = span.fit.subgroup, refined.unknowns
    coords = lie.vee(subgroup.group.hat(subgroup.coords(unknowns)), within.group.generators)
    sizes = torch.linalg.svdvals(coords)
    num = int((sizes > _FLAT * sizes[0]).sum())
    if refined.pool is not None and 0 < num < span.num_directions < len(coords):
        few = low_rank(coords, torch.eye(coords.numel()).to(coords), num)
        fewer = yield from _instead(within, span, refined, few, "fewer directions")
        if fewer is not None:
            return fewer
    elements = subgroup.elements(unknowns)[1:]
    line = one_generator(elements, within.closed(subgroup, unknowns)[0], refined.deviation)
    if line is None:
        return span, refined
    directions = lie.vee(line.generator, within.group.generators)[None]
    one = LeftActions(directions, line.coords[:, None])
    wound = yield from _instead(within, span, refined, one, "one generator, after whole turns")
    return wound or (span, refined)


def _instead(
    within: Within, span: Span, refined: Refined, start: LeftActions, name: str
) -> Stage[tuple[Span, Refined] | None]:
    """Other directions, if they explain all tasks about as well."""
    fit = yield from within.align(name, "algebra", Subgroup(within.group, start))
    free = yield from within.align_freely(within.group, fit.coords, within.prior)
    other = Span(fit, free, len(start.directions), span.kept)
    other, again = yield from within.refine(other)
    if refined.pool is None or again.pool is None:
        accepted = yield from within.enough(other.fit, span.free)
    else:
        # Of residuals below the noise, smaller ones explain no more.
        accepted = float(again.pool.spread) < max(_AS_WELL * float(refined.pool.spread), EXPLAINED)
    return (other, again) if accepted else None
