"""Which directions all elements share: those that one reward explains all tasks by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from hgm import lie
from hgm.symmetry.believed import EXPLAINED, STIFFEST, better, convincing, penalty_of
from hgm.symmetry.findings import Refined, Span
from hgm.symmetry.refinement import sharpened
from hgm.symmetry.restarts import ALIGNED, shortened
from hgm.symmetry.valued import settled_by_values

if TYPE_CHECKING:
    from hgm.symmetry.phases import Stage
    from hgm.symmetry.within import Narrower, Within

_ROUGH = 1.3  # residue, in units of the tasks' own noise, that one model should not leave
_LESS = 0.9  # residue, or spread, relative to that of what was found first


def explain(within: Within, root: Tensor) -> Stage[tuple[Span, Refined]]:
    """Directions that all elements share, and the one reward that explains all tasks, if any.

    Directions of gradients say nothing of the size of what has corners only: where elements
    that align them explain nothing, they are looked for by values, if these are comparable.

    Args:
        within: The search.
        root: Inverse square root of the points' covariance, ``(q, q)``.
    """
    span, refined = yield from _by_gradients(within, root)
    if convincing(refined) or within.raw_parameters:
        return span, refined
    by_values = yield from settled_by_values(within, root)
    if by_values is None:
        return span, refined
    free, alike = by_values
    frees = yield from shortened(within, free, within.prior)
    other = yield from within.find_span(frees, within.prior, alike=alike)
    return (yield from _if_better(within, other, span, refined))


def explain_in_kept(within: Within, root: Tensor) -> Stage[tuple[Span, Refined] | None]:
    """The same in the directions that the dynamics keep; None if these do not explain all.

    Where rewards see little of a group, what their model errs by pulls elements along the rest:
    the dynamics are believed as much as they ever are. Far residuals are no objection, as they are
    where rewards have no noise.
    """
    span = yield from _in_kept(within, root)
    if not within.worth_going_on(span):
        return None
    span = yield from _wider(within, span)
    penalty = penalty_of(within, span, STIFFEST)
    if penalty is None:
        return None
    refined = yield from within.refine_fit(span.fit, penalty)
    if refined.pool is None or refined.pool.spread >= EXPLAINED:
        return None
    return span, (yield from sharpened(within, refined))


def _by_gradients(within: Within, root: Tensor) -> Stage[tuple[Span, Refined]]:
    """By the directions of gradients, or what the search is told.

    They are rough, and may be aligned by fewer directions than rewards need, or by others: where
    shifts alone explain nothing, it is tried with what the dynamics keep; then with all that they
    keep, then anywhere.
    """
    first, anywhere, left = yield from _find(within, root, within.narrower())
    span, refined = yield from within.refine(first)
    if left and not convincing(refined):
        first, anywhere, _ = yield from _find(within, root, left)
        span, refined = yield from _if_better(within, first, span, refined)
    if anywhere is not None and anywhere is not first and not _told(refined):
        other, again = yield from within.refine(anywhere)
        if not convincing(refined) or _leaves_less(again, refined):
            span, refined = other, again
    if within.raw_parameters:
        return span, refined
    span, refined = yield from _freed(within, span, refined)
    if not convincing(refined) and span.num_directions < len(within.kept):
        span, refined = yield from _with_all_kept(within, root, span, refined)
    if anywhere is None and not convincing(refined):
        anywhere = yield from _anywhere(within, root)
        if within.worth_going_on(anywhere):
            found = yield from _if_better(within, anywhere, span, refined)
            # More freedom explains a little more whatever it is.
            if refined.pool is None or convincing(found[1]):
                span, refined = found
    return span, refined


def _find(
    within: Within, root: Tensor, narrower: Sequence[Narrower]
) -> Stage[tuple[Span, Span | None, Sequence[Narrower]]]:
    """Directions that all elements share: those that the dynamics keep, or any others.

    Also others that align gradients far better, for rewards to tell: the same where none do, None
    where those that the dynamics keep align them. And the groups that were not looked into.
    """
    best: Span | None = None
    for number, (directions, wider) in enumerate(narrower, 1):
        span = yield from within.find_in(
            within.spanned(directions), within.prior_in(directions), root
        )
        if within.worth_going_on(span):
            if len(wider) > len(directions):
                span = yield from within.widen(span, directions, wider)
            if span.fit.loss < ALIGNED * within.expected:
                return span, None, narrower[number:]
            if best is None or span.fit.loss < best.fit.loss:
                best = span
    anywhere = yield from _anywhere(within, root)
    if best is None:
        return anywhere, anywhere, ()
    return best, anywhere if within.much_better(anywhere, best) else best, ()


def _anywhere(within: Within, root: Tensor) -> Stage[Span]:
    within.group.warm_start(root)
    return (yield from within.find_in(within.group, within.prior, root))


def _with_all_kept(
    within: Within, root: Tensor, span: Span, refined: Refined
) -> Stage[tuple[Span, Refined]]:
    """As many directions as the dynamics keep, if those explain more."""
    num = len(within.kept)
    if num > within.most(num):
        return span, refined
    more = yield from _in_kept(within, root, least=num)
    if not within.worth_going_on(more):
        return span, refined
    more = yield from _wider(within, more)
    return (yield from _if_better(within, more, span, refined))


def _freed(within: Within, span: Span, refined: Refined) -> Stage[tuple[Span, Refined]]:
    """The same number of directions anywhere, where one reward is rough in some of the group.

    Shifts align what is scaled, for instance, and robust weights overlook what that misses.
    """
    if not _rough(refined):
        return span, refined
    group = span.fit.subgroup.group
    if group.dim_algebra == within.group.dim_algebra:
        return span, refined
    directions = lie.vee(group.generators, within.group.generators)
    everything = torch.eye(within.group.dim_algebra).to(directions)
    other = yield from within.widen(span, directions, everything)
    if other is span:
        return span, refined
    other, again = yield from within.refine(other)
    less = _leaves_less(again, refined) or _explains_more(again, refined)
    return (other, again) if less else (span, refined)


def _in_kept(within: Within, root: Tensor, least: int = 1) -> Stage[Span]:
    parts = within.spanned(within.kept), within.prior_in(within.kept), root
    return (yield from within.find_in(*parts, least=least))


def _wider(within: Within, span: Span) -> Stage[Span]:
    """What was found in the directions that the dynamics keep, in the whole group."""
    dim = within.group.dim_algebra
    if len(within.kept) == dim:
        return span
    return (yield from within.widen(span, within.kept, torch.eye(dim).to(within.kept)))


def _if_better(
    within: Within, other: Span, span: Span, refined: Refined
) -> Stage[tuple[Span, Refined]]:
    """Another span, if it explains more."""
    other, again = yield from within.refine(other)
    return (other, again) if better(again, refined) else (span, refined)


def _rough(refined: Refined) -> bool:
    """Whether one reward leaves more than the tasks' own do, which robust weights overlook."""
    return refined.pool is not None and refined.pool.residue > _ROUGH


def _told(refined: Refined) -> bool:
    """Whether one reward explains all tasks, the far residuals among them."""
    return convincing(refined) and not _rough(refined)


def _leaves_less(refined: Refined, other: Refined) -> bool:
    """Whether one reward leaves clearly less than another one does, and is as convincing."""
    if refined.pool is None or other.pool is None:
        return other.pool is None
    as_convincing = convincing(refined) or not convincing(other)
    return as_convincing and refined.pool.residue < _LESS * other.pool.residue


def _explains_more(refined: Refined, other: Refined) -> bool:
    """Whether one reward is clearly closer to most rewards than another, and leaves no more."""
    if refined.pool is None or other.pool is None:
        return other.pool is None
    return better(refined, other, _LESS) and refined.pool.residue <= other.pool.residue
