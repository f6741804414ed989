"""A task that is explained worse than all others, looked for in another place."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from hgm import lie
from hgm.differentials.base import DifferentialEstimator
from hgm.numerics.fourier import Jet
from hgm.numerics.ranks import Ranks
from hgm.symmetry.alignment import concatenate, score
from hgm.symmetry.losses import Invariance
from hgm.symmetry.phases import START_FLOOR, Fit, Phase, Stage
from hgm.symmetry.samples import Seen, thin
from hgm.symmetry.scaled import Spanned
from hgm.symmetry.subgroup import LeftActions, Subgroup, low_rank

if TYPE_CHECKING:
    from hgm.symmetry.within import Within

_POINTS = 40  # of every task
_STARTS = 48  # per dimension of the algebra
_WORTH = 0.15  # by which another place must lower the mean score of the task


def without_straggler(within: Within, fit: Fit) -> Stage[Fit | None]:
    """The same directions with one task in another place; None if there is no better one."""
    if within.raw_parameters:  # a chart that elements depend on
        return None
    closed = within.closed(fit.subgroup, fit.unknowns)[0]
    moved = yield from within.run(Straggler(fit, closed, within.estimator, within.invariance))
    if moved is None:
        return None
    prior = within.prior_of(moved.group)
    found = yield from within.align("left actions, jointly", "alignment", moved, prior)
    return found if found.loss < fit.loss else None


class Straggler(Phase):
    r"""Moves the task of the worst score to where it is explained best, in the group of the rest.

    From one base task alone, a start may have led into a wrong basin; once the others are in place,
    all of them tell: the score of a place `L` of task `s` is that of :func:`score` over the pairs
    :math:`L L_j^{-1}` with all others, both ways. The base task may be the one, and then all others
    move.

    Args:
        fit: Left actions of all tasks.
        closed: Generators that they generate, ``(d, k, k)``.
        estimator: Fitted reward differentials.
        invariance: One of :mod:`hgm.symmetry.losses`.
    """

    name, tag, num_steps = "a task in another place", "alignment", 1

    def __init__(
        self,
        fit: Fit,
        closed: Tensor,
        estimator: DifferentialEstimator,
        invariance: Invariance,
    ) -> None:
        self.fit, self.estimator, self.invariance = fit, estimator, invariance
        self._found: Subgroup | None = None
        self.group = Spanned(closed, fit.subgroup.group.dim_space)

    def step(self, samples: Seen, ranks: Ranks) -> Tensor:
        """Finds the task, and the place."""
        self.taken += 1
        elements = self.fit.subgroup.elements(self.fit.unknowns)
        points = thin(samples.points, _POINTS)
        scores = [self._scores(elements, i, one[None], points) for i, one in enumerate(elements)]
        now = ranks.sum(torch.cat(scores)) / ranks.sum(torch.ones(len(elements)).to(points))
        worst = int(now.argmax())
        reached = lie.vee(lie.log(elements[1:]), self.group.generators)
        starts = self.group.spread(_STARTS * self.group.dim_algebra, reached)
        tried = self.group.exp(starts)
        there = ranks.sum(self._scores(elements, worst, tried, points))
        there = there / ranks.sum(torch.ones_like(there))
        best = int(there.argmin())
        if bool(there[best] < now[worst] - _WORTH):
            moved = elements.clone()
            moved[worst] = tried[best]
            self._found = self._shared(moved @ torch.linalg.inv(moved[0]))
        return now[worst]

    @property
    def result(self) -> Subgroup | None:
        """Where to start from then; None if there is no better place."""
        return self._found

    def _shared(self, elements: Tensor) -> Subgroup | None:
        subgroup = self.fit.subgroup
        logs = lie.log(elements[1:])
        if not logs.isfinite().all():
            return None
        coords = lie.vee(logs, subgroup.group.generators)
        shared, own = subgroup.split(subgroup.start)[1]
        if subgroup.fixed:
            coords = lie.vee(logs, lie.hat(shared, subgroup.group.generators))
            return Subgroup(subgroup.group, LeftActions(shared, coords), fixed=True)
        even = torch.eye(coords.numel()).to(coords)
        return Subgroup(subgroup.group, low_rank(coords, even, own.shape[1]))

    def _scores(self, elements: Tensor, task: int, places: Tensor, points: Tensor) -> Tensor:
        """Mean scores of places ``(S, k, k)`` of a task, ``(S,)``; infinite beyond all numbers."""
        others = torch.tensor([i for i in range(len(points)) if i != task], device=points.device)
        here = torch.full_like(others, task)
        source = self.estimator.rough_jet(points, torch.arange(len(points), device=points.device))
        theirs, own = (Jet(*(field[some][:, None] for field in source)) for some in (others, here))
        away = places @ torch.linalg.inv_ex(elements[others]).inverse[:, None]
        back = torch.linalg.inv_ex(away).inverse
        theirs_at, own_at = points[others][:, None], points[here][:, None]
        there, home = (
            self._jet(lie.act(moved, at), tasks)
            for moved, at, tasks in ((away, theirs_at, here), (back, own_at, others))
        )
        terms = concatenate(
            self.invariance(away, None, theirs_at, there, theirs),
            self.invariance(back, None, own_at, home, own),
        )
        found = score(terms, START_FLOOR).mean(0)
        return torch.where(found.isfinite(), found, torch.inf)

    def _jet(self, moved: Tensor, tasks: Tensor) -> Jet:
        jet = self.estimator.rough_jet(moved.flatten(1, 2), tasks)
        return Jet(*(field.unflatten(1, moved.shape[1:3]) for field in jet))
