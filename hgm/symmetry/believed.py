"""What the dynamics say of directions, and how far rewards overrule it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hgm import lie
from hgm.numerics.gauss_newton import Penalty
from hgm.symmetry.findings import Refined, Span
from hgm.symmetry.kept import across, held
from hgm.symmetry.phases import Stage

if TYPE_CHECKING:
    from hgm.symmetry.within import Within

CONVINCING = 1.0
"""Spread of pooled residuals, in units of the tasks' own noise, that outweighs losses of pairs."""

EXPLAINED = 0.9
"""Spread of pooled residuals below that of Gaussian noise: all is explained."""

STIFFEST = 100.0
"""Times what the dynamics say: one model of rewards may err alike all over."""

_STEP = 10.0
_STIFFER = (STIFFEST, STIFFEST / _STEP)
_PULLED = 5.0  # squares of what a penalty is pulled by, for a degree of freedom: two deviations
_FREE = 0.98  # spread without what the dynamics say, relative to that with it
_CLEARLY = 0.95  # the same with a tenth of the belief
_DIRECTION = 0.02  # radians per radian that kept directions may be off, where that is not known


def convincing(refined: Refined) -> bool:
    """Whether one reward explains all tasks as well as their own models do."""
    return refined.pool is not None and bool(refined.pool.spread < CONVINCING)


def better(refined: Refined, other: Refined, share: float = _FREE) -> bool:
    """Whether elements explain all tasks better than others do: the spread is a share of theirs."""
    if refined.pool is None or other.pool is None:
        return refined.pool is not None
    return bool(refined.pool.spread < share * other.pool.spread)


def believing(within: Within, span: Span) -> Stage[Refined]:
    """One reward for all tasks, with as much belief in the dynamics as rewards put up with.

    A model of the dynamics errs alike in all data, and one of the rewards follows what it can: so
    they are believed a hundred times as much first, then ten times, and then as they say and with
    tails. Less belief is needed where rewards pull elements further away than their penalty lets
    one expect; and where they pull, while less explains clearly more. If then what is left of
    rewards may be noise, they are not believed at all where that explains more.
    """
    most, least = _PULLED * degrees_of(within), 0.0
    stiff: list[Refined] = []
    for times in _STIFFER:
        if times * least > most:
            continue  # elements go no shorter a way where less holds them
        penalty = penalty_of(within, span, times)
        best = yield from within.refine_fit(span.fit, penalty)
        if penalty is None:
            return best
        if best.pool is not None:
            pulled = _pull(penalty, best)
            if pulled < most:
                return (yield from _loosened(within, span, best, times, pulled))
            least = pulled / times
            stiff.append(best)
    best = yield from within.refine_fit(span.fit, penalty_of(within, span))
    if best.pool is None or best.pool.spread >= EXPLAINED:
        other = yield from within.refine_fit(span.fit)
        if better(other, best):
            best = other
        for one in stiff:
            if better(one, best):  # what may go further and explains less is stuck on the way
                further = span.fit._replace(unknowns=one.unknowns)
                again = yield from within.refine_fit(further, penalty_of(within, span))
                if better(again, best):
                    best = again
    return best


def _loosened(
    within: Within, span: Span, best: Refined, times: float, pulled: float
) -> Stage[Refined]:
    """With less belief, while rewards pull, if that explains clearly more, and goes no further.

    Rewards may pull too far for one belief, and for the next lesser one not.
    """
    degrees = degrees_of(within)
    while pulled > degrees and times > 1:
        times /= _STEP
        penalty = penalty_of(within, span, times)
        if penalty is None:
            break
        other = yield from within.refine_fit(span.fit, penalty)
        if not better(other, best, _CLEARLY):
            break
        pulled = _pull(penalty, other)
        if pulled <= _PULLED * degrees:
            best = other
    return best


def _pull(penalty: Penalty, refined: Refined) -> float:
    """Square of what rewards pull elements away by, from where they cost nothing."""
    return float(penalty(refined.unknowns)[0].square().sum())


def degrees_of(within: Within) -> int:
    """In how many directions the dynamics say where elements do not go."""
    return max(1, within.group.dim_algebra - len(within.kept))


def penalty_of(within: Within, span: Span, times: float | None = None) -> Penalty | None:
    """What the dynamics say of directions, per radian that the elements go.

    With Cauchy's tails; or without, and so many times as much.
    """
    subgroup = span.fit.subgroup
    if subgroup.fixed or within.raw_parameters or not span.kept:
        return None
    precision = within.precision
    if precision is None:
        precision = across(within.kept, within.prior) / _DIRECTION**2
    wider = lie.vee(subgroup.group.generators, within.group.generators)
    form = wider @ precision @ wider.mT * (1.0 if times is None else times)
    return held(span.fit, form, degrees_of(within), tails=times is None)
