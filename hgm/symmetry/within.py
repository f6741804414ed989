"""The search once it is posed: elements of the group on what rewards see."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from hgm import lie
from hgm.differentials.some import Some
from hgm.groups import LieGroup
from hgm.numerics.gauss_newton import Penalty
from hgm.numerics.seeds import derive_seed
from hgm.numerics.tails import Tails
from hgm.symmetry.algebra import close, standard
from hgm.symmetry.alignment import draw_mixtures, draw_starts, draw_within
from hgm.symmetry.believed import CONVINCING, believing
from hgm.symmetry.effort import MORE, USUAL
from hgm.symmetry.findings import Dynamics, Problem, Refined, Span
from hgm.symmetry.kept import Kept, across
from hgm.symmetry.losses import Invariance, expected_loss, functional_invariance
from hgm.symmetry.phases import (
    AlignPairs,
    AlignStarts,
    Fit,
    Phase,
    Stage,
    Through,
    run_phase,
)
from hgm.symmetry.pooling import PooledModel
from hgm.symmetry.refinement import NEGLIGIBLE, Pool, sharpened
from hgm.symmetry.restarts import ALIGNED, SAME_FIT, resettled, shortened
from hgm.symmetry.scaled import Spanned
from hgm.symmetry.snapshot import counter_clockwise
from hgm.symmetry.steps import SearchSteps
from hgm.symmetry.stragglers import without_straggler
from hgm.symmetry.subgroup import LeftActions, Subgroup, deviations, free_in, low_rank
from hgm.symmetry.valued import STARTS, free_elements, values_agree

_WORTH_CALIBRATING = 0.9  # spread, relative to that of rewards as they are
_STIFFNESS = (30.0, 1000.0)  # of what the dynamics say, relative to their word in pairs
_INSIDE = 0.9  # cosine of directions that counts as the same
_WORSE = 1.25  # loss, relative to that of free elements in a group of few dimensions
_REACH = 2.0  # spread that more waves may bring down
_LADDER = (("same", USUAL), ("same", MORE), ("affine", USUAL), ("increasing", USUAL))
"""Rewards as they are, by more waves, with factors and shifts, with increasing maps."""


def _blurred(model: PooledModel) -> bool:
    """Whether kinks that are finer than its waves may be what a model misses."""
    return bool(model.spread < _REACH) and model.misfit > NEGLIGIBLE


class Narrower(NamedTuple):
    """A narrower group than the one searched.

    Attributes:
        directions: To look into first, ``(p, D)``.
        wider: To go on in, ``(P, D)``.
    """

    directions: Tensor
    wider: Tensor


class Within:
    """The search once it is posed: elements of the group on what rewards see."""

    def __init__(
        self,
        problem: Problem,
        dynamics: Dynamics,
        kept: Kept,
        invariance: Invariance,
        steps: SearchSteps,
        seed: int,
    ) -> None:
        self.problem, self.dynamics = problem, dynamics
        self.group, self.estimator = problem.group, problem.estimator
        self.invariance, self.steps, self.seed = invariance, steps, seed
        self.prior, self.kept, self.precision = kept
        one = invariance is functional_invariance
        self.expected = expected_loss(1 if one else max(1, self.group.dim_space - 1))

    def run(self, phase: Phase) -> Stage[Any]:
        """Runs a phase on what rewards see of the leading tasks."""
        return (yield from run_phase(Through(self.problem.view, phase, self.problem.leading)))

    def some(self, tasks: Sequence[int]) -> Within:
        """The same search on some of the leading tasks, the first of them as the base."""
        other = copy.copy(self)
        other.estimator, leading = Some(self.estimator, tasks), self.problem.leading[list(tasks)]
        other.problem = self.problem._replace(estimator=other.estimator, leading=leading)
        return other

    def directions(self) -> list[Tensor]:
        """Directions ``(p, D)`` to look into: those that the dynamics keep."""
        if self.raw_parameters:
            return []
        if len(self.kept) == self.group.dim_algebra:
            return [torch.eye(self.group.dim_algebra).to(self.kept)]
        return [directions for directions, _ in self.narrower()]

    def worth_going_on(self, span: Span) -> bool:
        """Whether elements align tasks roughly, in directions that are some evidence."""
        return span.fit.loss < 2 * ALIGNED * self.expected and self._says_something(span)

    def most(self, dim: int) -> int:
        """Most shared directions in a group; as many as there are elements explain nothing."""
        return min(self.estimator.num_tasks - 2, dim, self.steps.max_directions)

    def much_better(self, span: Span, other: Span) -> bool:
        """Whether elements fit better in directions that generate no more."""
        fits = span.fit.loss < other.fit.loss - SAME_FIT and self._says_something(span)
        return fits and self._dim_closed(span.fit) <= self._dim_closed(other.fit)

    def spanned(self, directions: Tensor) -> LieGroup:
        """The elements that directions ``(p, D)`` generate."""
        return Spanned(self.group.hat(directions), self.group.dim_space)

    def narrower(self) -> list[Narrower]:
        """Where to look first, in turn; nowhere, where that is the whole group."""
        groups: list[Narrower] = []
        if self.raw_parameters or len(self.kept) == self.group.dim_algebra:
            return groups
        size, dim = self.group.dim_matrix, self.group.dim_space
        if size > dim:
            linear = self.group.generators[:, :dim, :dim].flatten(1)
            shifts = torch.linalg.svd(linear.mT).Vh[torch.linalg.matrix_rank(linear) :]
            mix, inside, _ = torch.linalg.svd(shifts @ self.kept.mT)
            some = mix.mT[: len(inside)][inside > _INSIDE] @ shifts
            if len(some):
                groups.append(Narrower(some, shifts))
        if len(self.kept):
            groups.append(Narrower(self.kept, torch.eye(self.group.dim_algebra).to(self.kept)))
        return groups

    def find_in(self, group: LieGroup, prior: Tensor, root: Tensor, least: int = 1) -> Stage[Span]:
        """Directions that elements share in a group, at least so many."""
        free, alike = yield from free_elements(self, group, prior, root)
        if self.raw_parameters:
            return (yield from self.find_span([free], prior))
        if alike is None:  # values tell places; gradients that align badly there are amiss
            free = yield from resettled(self, free, prior, root, self.invariance, self.expected)
        frees = yield from shortened(self, free, prior)
        return (yield from self.find_span(frees, prior, least, alike))

    def widen(self, span: Span, directions: Tensor, wider: Tensor) -> Stage[Span]:
        """The same elements in a wider group, where rewards say more of it than dynamics do.

        Directions that generate more than those that the dynamics keep are not believed.
        """
        everything = len(wider) == self.group.dim_algebra
        group = self.group if everything else self.spanned(wider)
        inside = directions if everything else directions @ wider.mT
        prior = self.prior_in(wider)
        actions = span.fit.subgroup.keep(span.fit.unknowns)
        shared = torch.linalg.qr(actions.directions.mT).Q.mT
        coords = actions.coords @ actions.directions @ shared.mT
        whole = LeftActions(shared @ inside, coords)
        if span.num_directions == len(coords):
            subgroup = free_in(group, coords @ whole[0])
            fit = yield from self.align("left actions, freely", "spectrum", subgroup, prior)
            return Span(fit, fit, span.num_directions)
        stiff = across(inside, prior)
        fits: list[Fit] = []
        for strength in (prior, *(stiffness * stiff for stiffness in _STIFFNESS)):
            name, subgroup = "algebra in the whole group", Subgroup(group, whole)
            fits.append((yield from self.align(name, "algebra", subgroup, strength)))
        dim = self._dim_closed(span.fit)
        believed = [fit for fit in fits if self._dim_closed(fit) <= dim]
        if not believed:
            return span
        least = min(fit.loss for fit in believed) + SAME_FIT
        fit = [fit for fit in believed if fit.loss <= least][-1]
        free = yield from self.align_freely(group, fit.coords, prior)
        return Span(fit, free, span.num_directions, kept=True)

    def _dim_closed(self, fit: Fit) -> int:
        return len(self.closed(fit.subgroup, fit.unknowns)[0])

    def _says_something(self, span: Span) -> bool:
        """Whether elements are few enough directions to be evidence of a group."""
        return span.num_directions < len(span.fit.coords) or len(span.fit.coords) == 1

    def prior_in(self, directions: Tensor) -> Tensor:
        """What the dynamics say of coordinates on directions ``(p, D)``, ``(p, p)``."""
        return directions @ self.prior @ directions.mT

    def prior_of(self, group: LieGroup) -> Tensor:
        """What the dynamics say of coordinates in the group searched, or in one within it."""
        if group is self.group:
            return self.prior
        return self.prior_in(lie.vee(group.generators, self.group.generators))

    @property
    def raw_parameters(self) -> bool:
        """Whether the group has parameters of its own, which are learned."""
        return any(True for _ in self.group.parameters())

    def align_each(
        self,
        group: LieGroup,
        prior: Tensor,
        root: Tensor,
        among: Tensor | None = None,
        invariance: Invariance | None = None,
        number: int | None = None,
    ) -> Stage[Tensor]:
        """Every element for itself, from starts all over the group, ``(N - 1, D)``.

        Args:
            group: Where they are.
            prior: What the dynamics say of its coordinates.
            root: Inverse square root of the points' covariance, ``(q, q)``.
            among: Elements so far, see :class:`~hgm.symmetry.phases.AlignStarts`; where they lead
                is started from, too.
            invariance: What is to be alike; None: what the search is told.
            number: Other numbers give other starts.
        """
        num_starts = self.steps.num_starts or 12 * group.dim_space
        draw = draw_within if isinstance(group, Spanned) else draw_starts
        purpose = (STARTS,) if number is None else (STARTS, number)
        generator = torch.Generator().manual_seed(derive_seed(self.seed, *purpose))
        starts = draw(group, root, num_starts, generator)
        if among is not None:
            starts = torch.cat((starts, draw_mixtures(among, num_starts, generator)))
        return (
            yield from self.run(
                AlignStarts(
                    group,
                    self.estimator,
                    invariance or self.invariance,
                    starts,
                    self.steps.start_steps,
                    self.steps.num_points,
                    prior,
                    among,
                )
            )
        )

    def align_freely(self, group: LieGroup, coords: Tensor, prior: Tensor) -> Stage[Fit]:
        """All elements jointly, each in any direction of a group: the spectrum is theirs."""
        return (yield from self.align("spectrum", "spectrum", free_in(group, coords), prior))

    def align(
        self,
        name: str,
        tag: str,
        subgroup: Subgroup,
        prior: Tensor | None = None,
        invariance: Invariance | None = None,
    ) -> Stage[Fit]:
        """All elements jointly, over all pairs of tasks."""
        prior = self.prior if prior is None else prior
        steps, invariance = self.steps.pair_steps, invariance or self.invariance
        phase = AlignPairs(name, tag, subgroup, self.estimator, invariance, steps, prior)
        return (yield from self.run(phase))

    def find_span(
        self, frees: Sequence[Fit], prior: Tensor, least: int = 1, alike: Fit | None = None
    ) -> Stage[Span]:
        """The fewest directions that explain all elements about as well as free ones do.

        Args:
            frees: Free elements, by several logarithms.
            prior: What the dynamics say of the group's coordinates.
            least: Directions to begin with.
            alike: Free elements that were fitted to values of comparable rewards.
        """
        num_elements = self.estimator.num_tasks - 1
        group = frees[0].subgroup.group
        for num in range(least, self.most(group.dim_algebra) + 1):
            for free in frees:
                # The group's own parameters come first among the unknowns.
                own = slice(-free.coords.numel(), None)
                start = low_rank(free.coords, free.information[own, own], num)
                name, subgroup = f"algebra of {num} direction(s)", Subgroup(group, start)
                span = yield from self.align(name, "algebra", subgroup, prior)
                badly, by_values = span.loss > ALIGNED * self.expected, None
                if alike is not None and (badly or num < group.dim_algebra):
                    by_values = yield from values_agree(self, span, alike, prior)
                    if by_values is None:
                        continue
                if (yield from self.enough(span, free)):
                    if by_values is not None and badly:
                        span = by_values._replace(loss=span.loss)
                    # Freely again, from where the span led: a start may have been in a wrong basin.
                    free = yield from self.align_freely(group, span.coords, prior)
                    return Span(span, free, num)
        return Span(frees[0], frees[0], num_elements)

    def enough(self, span: Fit, free: Fit) -> Stage[bool]:
        """Whether elements in a span fit about as well as free ones, which also fit noise."""
        if span.loss < free.loss + SAME_FIT:
            return True
        if span.loss >= 2 * ALIGNED * self.expected:
            return False
        dim = free.subgroup.group.dim_algebra
        if dim <= self.most(dim) and span.loss > _WORSE * free.loss:
            return False  # so few directions more do not fit so much of the noise
        # The pooled model has the power to tell.
        effort, tails = (self.estimator, self.steps.pool_steps), self.tails
        pool = Pool(span.subgroup, span.unknowns, *effort, sees=self._sees, tails=tails)
        model = yield from self.run(pool)
        return bool(model.spread < CONVINCING)

    def refine(self, span: Span) -> Stage[tuple[Span, Refined]]:
        """One reward model for all tasks; without calibration where rewards are comparable.

        Also the span, which is another one where a task was moved.
        """
        if span.num_directions == self.estimator.num_tasks - 1 > 1:
            subgroup = span.fit.subgroup
            deviation = deviations(subgroup, span.fit.unknowns, span.fit.covariance)
            return span, Refined(span.fit.unknowns, deviation, None)
        span, refined = yield from self._refine(span)
        return span, (yield from sharpened(self, refined))

    def _refine(self, span: Span) -> Stage[tuple[Span, Refined]]:
        """With tasks in other places, where they are badly aligned or no one model explains all."""
        best: Refined | None = None
        for _ in range(1 + self.estimator.num_tasks // 2):
            if best is not None or span.fit.loss > ALIGNED * self.expected:
                fit = yield from without_straggler(self, span.fit)
                if fit is not None:
                    group = fit.subgroup.group
                    free = yield from self.align_freely(group, fit.coords, self.prior_of(group))
                    span, best = span._replace(fit=fit, free=free), None
                    continue
                if best is not None:
                    break
            best = yield from believing(self, span)
            if best.pool is not None:
                break
        return span, best or (yield from believing(self, span))

    def refine_fit(self, fit: Fit, penalty: Penalty | None = None) -> Stage[Refined]:
        """The same of elements that are few enough directions, or in a group that is known."""
        subgroup = fit.subgroup
        deviation = deviations(subgroup, fit.unknowns, fit.covariance)
        best = Refined(fit.unknowns, deviation, None)
        model: PooledModel | None = None
        for calibration, effort in _LADDER:
            taken = best.pool
            if taken is not None and taken.spread < CONVINCING:
                # What is left of calibrated rewards may still be their maps.
                if not taken.calibrated or taken.misfit < NEGLIGIBLE:
                    break
            elif taken is not None and not taken.calibrated and calibration == _LADDER[-1][0]:
                break  # neither factors nor shifts explain more: no map does
            if effort is MORE and (model is None or not _blurred(model)):
                continue
            if taken is not None:
                effort = max(effort, taken.effort, key=lambda one: one.waves)
            pool = Pool(
                subgroup,
                best.unknowns,
                self.estimator,
                self.steps.pool_steps,
                calibration,
                penalty,
                self._sees,
                effort,
                self.tails,
            )
            model = yield from self.run(pool)
            better = best.pool is None or model.spread < _WORTH_CALIBRATING * best.pool.spread
            if pool.accepted and better:
                deviation = deviations(subgroup, model.actions, model.covariance())
                best = Refined(model.actions, deviation, model)
        return best

    @property
    def tails(self) -> Tails | None:
        """What bends long tails of what rewards see."""
        tails = self.problem.tails
        return None if tails is None else tails.some(self._sees)

    @property
    def _sees(self) -> list[int]:
        """Which coordinates of the points rewards see."""
        view = self.problem.view
        return [view.columns.index(column) for column in view.sight.columns]

    def closed(self, subgroup: Subgroup, unknowns: Tensor) -> tuple[Tensor, Tensor]:
        """Generators ``(d, k, k)`` closed under the bracket, and the leading tasks' coordinates.

        They are an orthogonal basis of norm sqrt 2, see :func:`hgm.symmetry.algebra.standard`.
        """
        directions, coords = subgroup.keep(unknowns)
        coords = coords @ directions
        if subgroup.fixed:
            directions = torch.linalg.svd(coords, full_matrices=False).Vh
        closed = close(subgroup.group.hat(directions), self.group.dim_algebra)
        seen = counter_clockwise(standard(closed))
        return seen, lie.vee(subgroup.group.hat(coords), seen)
