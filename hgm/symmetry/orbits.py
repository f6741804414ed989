r"""Several orbits: tasks that one group carries into each other, cluster by cluster.

Goals at two distances from the origin are no one orbit of the rotations: no element carries a task
of the one circle into one of the other. Tasks are on one orbit if some element aligns their
rewards' gradients, :math:`L^T \nabla r_i(L p) \parallel \nabla r_b(p)`, with the first task `b` of
the orbit as its base. The largest orbit that the dynamics' own directions show names the group;
within it all tasks are told apart again, and every orbit has a reward model of its own.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from hgm.differentials.base import DifferentialEstimator
from hgm.groups import LieGroup
from hgm.numerics.ranks import Ranks
from hgm.symmetry.alignment import base_residuals
from hgm.symmetry.explanation import explain
from hgm.symmetry.location import located, misfits
from hgm.symmetry.losses import Invariance
from hgm.symmetry.orbit import Orbit
from hgm.symmetry.phases import FLOOR, AlignStarts, Once, Phase
from hgm.symmetry.pooling import PooledModel
from hgm.symmetry.samples import Samples, Seen, thin
from hgm.symmetry.scaled import Spanned
from hgm.symmetry.subgroup import LeftActions, Subgroup

if TYPE_CHECKING:
    from hgm.symmetry.findings import Span
    from hgm.symmetry.phases import Stage
    from hgm.symmetry.within import Within

LEAST = 3
"""Tasks of an orbit that may name a group: two elements and more."""

_ROUGHLY, _NEARLY, _ALIGNED = 5.0, 3.0, 2.0
"""Robust loss, relative to that of residuals as large as predicted: more than the first is no
alignment, in directions that the dynamics tell to some degrees; up to the second it is one in those
that were found, unless there is a gap above the third."""
_WIDE = 0.6  # logarithm of a ratio of neighbouring losses: a factor of 1.8
_COVERED = 0.1  # variance of a direction, up to which a point can tell
_LEAST_COVERED = 0.2  # share of such points, without which nothing is known
_SPREAD = 24  # starts per dimension of the group that was found
_POINTS = 150
_USUAL = 0.25  # misfit per reward of Gaussian errors, or less
_ALONE_STEPS = 3
_AS_WELL, _LOST = 1.25, 3.0  # the same relative to that of tasks to which a model was fitted


class Parted(NamedTuple):
    """Orbits of the leading tasks, which are counted by their place among these.

    Attributes:
        span: Directions of the group, as the largest orbit tells them.
        seen: Generators of the closed group, ``(d, k, k)``.
        orbits: The orbits, ordered by their first tasks.
        coords: Coordinates of all leading tasks, 0 for base tasks, ``(M, d)``.
        deviation: Their predicted standard deviations, in radians, ``(M,)``.
    """

    span: Span
    seen: Tensor
    orbits: list[Orbit]
    coords: Tensor
    deviation: Tensor


class Reach(Phase):
    """How well elements align tasks with the base task: whether they reach them.

    Args:
        group: The group.
        estimator: Of the base task and of the others.
        invariance: One of :mod:`hgm.symmetry.losses`.
        coords: Coordinates of the elements of tasks 1 .. N-1, ``(N - 1, D)``.
    """

    name, tag, num_steps = "which tasks are reached", "orbits", 1

    def __init__(
        self,
        group: LieGroup,
        estimator: DifferentialEstimator,
        invariance: Invariance,
        coords: Tensor,
    ) -> None:
        self.group, self.estimator, self.invariance = group, estimator, invariance
        self.coords = coords

    def step(self, samples: Seen, ranks: Ranks) -> Tensor:
        """Mean robust losses over points that are carried to where data tell."""
        self.taken += 1
        few = thin(samples.points, _POINTS)
        residuals = base_residuals(self.group, self.estimator, self.invariance, few)
        terms = residuals(self.coords[:, None], False)
        spread, square = terms.variance[:, 0], terms.residual[:, 0].square().sum(-1)
        told = (spread < _COVERED).to(spread)
        loss = torch.log1p(square / (spread + FLOOR**2))
        parts = torch.stack(((told * loss).sum(-1), told.sum(-1), torch.ones_like(told).sum(-1)))
        total, count, every = ranks.sum(parts)
        known = count >= _LEAST_COVERED * every
        self._loss = torch.where(known, total / count.clamp_min(1.0), torch.inf)
        return total.sum() / count.sum().clamp_min(1.0)

    @property
    def result(self) -> Tensor:
        """The losses; infinite where no data tell, ``(N - 1,)``."""
        return self._loss


def part(within: Within, root: Tensor, kept: Samples) -> Stage[Parted | None]:
    """Orbits of the leading tasks; None where there are no two, or none names a group.

    Args:
        within: The search, with fitted reward models.
        root: Inverse square root of the points' covariance, ``(q, q)``.
        kept: Transitions of all tasks.
    """
    if within.estimator.num_tasks <= LEAST:
        return None
    for directions in within.directions():
        group = Spanned(within.group.hat(directions), within.group.dim_space)
        largest = yield from _largest(within, group, within.prior_in(directions), root)
        if not LEAST <= len(largest) < within.estimator.num_tasks:
            continue
        some = within.some(largest)
        span, refined = yield from explain(some, root)
        if refined.pool is None:
            continue
        seen, coords = some.closed(span.fit.subgroup, refined.unknowns)
        if len(largest) - 1 > len(seen):
            parted = yield from _tell_apart(within, span, seen, coords)
            reunite = Once(
                "tasks that are alone", "orbits", partial(_reunited, within, parted, kept)
            )
            yield reunite
            parted = reunite.result
            # One orbit after all: then the search of all tasks at once has the better answer.
            return parted if len(parted.orbits) > 1 else None
    return None


def _largest(within: Within, group: LieGroup, prior: Tensor, root: Tensor) -> Stage[list[int]]:
    """The first of the largest clusters of tasks that are reached from one of them."""
    left, best = list(range(within.estimator.num_tasks)), list[int]()
    while len(left) > max(len(best), LEAST - 1):
        some = within.some(left)
        coords = yield from some.align_each(group, prior, root)
        loss = yield from _losses(some, group, coords)
        for most in (_gap(loss, some.expected) or 0.0, _ROUGHLY * some.expected):
            reached = [True, *(loss < min(most, _ROUGHLY * some.expected)).tolist()]
            cluster = [task for task, near in zip(left, reached, strict=True) if near]
            if len(cluster) >= LEAST:
                break
        best = cluster if len(cluster) > len(best) else best
        left = [task for task in left if task not in cluster]
    return best


def _gap(loss: Tensor, least: float) -> float | None:
    """The middle of the widest gap between losses above `least`; None where none is wide."""
    ordered = loss[loss.isfinite()].clamp_min(least).log().sort().values
    if len(ordered) < 2:
        return None
    steps = ordered.diff()
    where = int(steps.argmax())
    middle = float((ordered[where] + ordered[where + 1]).div(2).exp())
    return middle if float(steps[where]) > _WIDE else None


def _losses(some: Within, group: LieGroup, coords: Tensor) -> Stage[Tensor]:
    if not len(coords):
        return coords.new_zeros(0)
    return (yield from some.run(Reach(group, some.estimator, some.invariance, coords)))


def _tell_apart(within: Within, span: Span, seen: Tensor, coords: Tensor) -> Stage[Parted]:
    """All orbits within a group that is known, with a reward model each."""
    group, dim = Spanned(seen, within.group.dim_space), len(seen)
    starts = group.spread(_SPREAD * dim, coords)
    num = within.estimator.num_tasks
    everyone, deviation = coords.new_zeros(num, dim), coords.new_zeros(num)
    left, orbits = list(range(num)), list[Orbit]()
    while left:
        some = within.some(left)
        best = coords.new_zeros(0, dim)
        if len(left) > 1:
            steps = within.steps
            best = yield from some.run(
                AlignStarts(
                    group,
                    some.estimator,
                    some.invariance,
                    starts,
                    steps.start_steps,
                    steps.num_points,
                )
            )
        loss = yield from _losses(some, group, best)
        most = _gap(loss, _ALIGNED * some.expected) or _NEARLY * some.expected
        reached = (loss < min(most, _ROUGHLY * some.expected)).tolist()
        tasks = [left[0], *(task for task, near in zip(left[1:], reached, strict=True) if near)]
        # A task that is alone counts as a copy of itself: its model is fitted like the others'.
        mine = within.some(tasks if len(tasks) > 1 else 2 * tasks)
        places = best[torch.tensor(reached, dtype=torch.bool)] if len(tasks) > 1 else starts[:1]
        pool, places, doubt = yield from _fitted(mine, group, places)
        orbits.append(Orbit(tasks, pool))
        if len(tasks) > 1:
            everyone[tasks[1:]], deviation[tasks[1:]] = places, doubt
        left = [task for task in left if task not in tasks]
    return Parted(span, seen, orbits, everyone, deviation)


def _reunited(within: Within, parted: Parted, kept: Samples) -> Parted:
    """Tasks that are alone join an orbit whose reward explains theirs as well as its own tasks'.

    Gradients are rough where rewards have kinks; values have the last word.
    """
    alone = [one for one in parted.orbits if len(one.tasks) == 1]
    orbits = [one for one in parted.orbits if len(one.tasks) > 1 and one.pool is not None]
    if not alone or not orbits:
        return parted
    leading, group = within.problem.leading, Spanned(parted.seen, within.group.dim_space)
    seen = Seen(*(field[leading] for field in within.problem.view(kept)))
    coords, deviation = parted.coords.clone(), parted.deviation.clone()
    tasks = [one.tasks[0] for one in alone]
    starts = group.spread(_SPREAD * coords.shape[1], coords)
    found = [_places(group, orbit, seen, tasks, coords, starts) for orbit in orbits]
    places, costs = (torch.stack(some) for some in zip(*found, strict=True))
    cost, best = costs.min(0)
    members = {id(one): list(one.tasks) for one in parted.orbits}
    for index, one in enumerate(alone):
        if cost[index] < _AS_WELL:
            which = int(best[index])
            coords[tasks[index]] = places[which, index]
            deviation[tasks[index]] = deviation[list(orbits[which].tasks)].max()
            members[id(orbits[which])] += members.pop(id(one))
    joined = [
        Orbit([own[0], *sorted(own[1:])], one.pool)
        for one in parted.orbits
        for own in [members.get(id(one))]
        if own is not None
    ]
    return parted._replace(orbits=joined, coords=coords, deviation=deviation)


def _fitted(
    some: Within, group: Spanned, coords: Tensor
) -> Stage[tuple[PooledModel | None, Tensor, Tensor]]:
    """The one reward model of an orbit, coordinates ``(N - 1, d)`` and their deviations."""
    subgroup = Subgroup(group, LeftActions(torch.eye(coords.shape[1]).to(coords), coords), True)
    free = coords.new_zeros(coords.shape[1], coords.shape[1])
    fit = yield from some.align("left actions of an orbit", "orbits", subgroup, free)
    refined = yield from some.refine_fit(fit)
    return refined.pool, refined.unknowns.view_as(coords), refined.deviation


def join(
    group: Spanned, orbits: list[Orbit], seen: Seen, others: list[int], coords: Tensor
) -> tuple[Tensor, list[Orbit]]:
    """Tasks that did not lead the search join the orbits whose rewards explain theirs best.

    Those that none explains are on orbits of their own.

    Args:
        group: The group that was found.
        orbits: The orbits of the tasks that led.
        seen: Points and rewards of all tasks.
        others: The tasks that did not lead, ascending.
        coords: Coordinates of all tasks, those of the others still 0, ``(N, d)``.

    Returns:
        Coordinates of all tasks, and orbits with all tasks.
    """
    starts = group.spread(_SPREAD * coords.shape[1], coords)
    known = [orbit for orbit in orbits if orbit.pool is not None]
    found = [_places(group, orbit, seen, others, coords, starts) for orbit in known]
    places, costs = (torch.stack(some) for some in zip(*found, strict=True))
    cost, best = costs.min(0)
    coords, tasks = coords.clone(), {id(orbit): list(orbit.tasks) for orbit in orbits}
    lost = []
    for index, task in enumerate(others):
        if cost[index] < _LOST:
            which = int(best[index])
            coords[task] = places[which, index]
            tasks[id(known[which])].append(task)
        else:
            lost.append(task)
    joined = [Orbit([tasks[id(one)][0], *sorted(tasks[id(one)][1:])], one.pool) for one in orbits]
    coords, more = apart(group, seen, lost, coords, known[0].pool)
    return coords, sorted([*joined, *more], key=lambda orbit: orbit.tasks[0])


def apart(
    group: Spanned, seen: Seen, lost: list[int], coords: Tensor, pool: PooledModel | None
) -> tuple[Tensor, list[Orbit]]:
    """Orbits of tasks that no known one explains, by one reward after the other.

    Args:
        group: The group that was found.
        seen: Points and rewards of all tasks.
        lost: The tasks, ascending.
        coords: Coordinates of all tasks, ``(N, d)``.
        pool: The reward model of another orbit, which knows the noise.

    Returns:
        Coordinates of all tasks, those of the lost relative to their own base tasks; and the
        orbits of the lost.
    """
    coords, orbits = coords.clone(), list[Orbit]()
    starts = group.spread(_SPREAD * coords.shape[1], coords)
    while lost:
        base, others = lost[0], lost[1:]
        coords[lost] = 0.0
        orbit = Orbit([base], _alone(group, seen, base, pool))
        near: list[bool] = []
        if others:
            places, cost = _places(group, orbit, seen, others, coords, starts)
            near = (cost < _LOST).tolist()
            coords[others] = places
        mine = [base, *(task for task, close in zip(others, near, strict=True) if close)]
        orbits.append(Orbit(mine, orbit.pool))
        lost = [task for task in others if task not in mine]
    return coords, orbits


def strangers(
    group: Spanned, orbit: Orbit, seen: Seen, others: list[int], coords: Tensor
) -> Tensor:
    """Which tasks an orbit's reward does not explain where they were located, ``(Q,)`` bool."""
    return _cost(group, orbit, seen, others, coords, coords[others]) >= _LOST


def _places(
    group: Spanned, orbit: Orbit, seen: Seen, others: list[int], coords: Tensor, starts: Tensor
) -> tuple[Tensor, Tensor]:
    """Coordinates of tasks on an orbit, and how badly it explains them there."""
    assert orbit.pool is not None, "the others are left out"
    place = located(group, orbit.pool, seen.points[others], seen.reward[others], starts)
    return place, _cost(group, orbit, seen, others, coords, place)


def _cost(
    group: Spanned, orbit: Orbit, seen: Seen, others: list[int], coords: Tensor, place: Tensor
) -> Tensor:
    """Misfits of tasks, relative to that of the tasks to which the orbit's model was fitted."""
    pool, own = orbit.pool, list(orbit.tasks)
    assert pool is not None, "the others are left out"
    usual = misfits(group, pool, seen.points[own], seen.reward[own], coords[own]).max()
    misfit = misfits(group, pool, seen.points[others], seen.reward[others], place)
    return misfit / usual.clamp_min(_USUAL)


def _alone(group: Spanned, seen: Seen, task: int, like: PooledModel | None) -> PooledModel:
    """The reward model of one task, which counts as a copy of itself."""
    still = seen.points.new_zeros(1, group.dim_algebra)
    subgroup = Subgroup(group, LeftActions(torch.eye(still.shape[1]).to(still), still), fixed=True)
    noise = torch.ones(2).to(still) if like is None else like.noise.mean().expand(2)
    sees, tails = (None, None) if like is None else (like.sees, like.tails)
    model = PooledModel(subgroup, subgroup.start, noise, sees=sees, tails=tails)
    both = [task, task]
    for _ in range(_ALONE_STEPS):
        model.step(seen.points[both], seen.reward[both])
    return model
