"""The order of the phases: from transitions to the algebra that carries tasks into tasks."""

from __future__ import annotations

import copy
import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor

from hgm import lie
from hgm.checks import check_int
from hgm.differentials.base import DifferentialEstimator
from hgm.dynamics import DynamicsModel, choose
from hgm.groups import LieGroup
from hgm.numerics.ranks import ALONE
from hgm.numerics.seeds import derive_seed
from hgm.symmetry.algebra import close, standard
from hgm.symmetry.alignment import draw_starts
from hgm.symmetry.completion import Completion, complete, shadow
from hgm.symmetry.directions import FEWEST, seen_directions, turned_towards_axes
from hgm.symmetry.findings import Dynamics, Findings, Problem, Refined, Span
from hgm.symmetry.finite import refine, snap_periods
from hgm.symmetry.heredity import (
    base_dynamics,
    carried,
    inherited_action_generators,
    own_dynamics,
)
from hgm.symmetry.invariance import equivariance_form
from hgm.symmetry.location import located
from hgm.symmetry.losses import Invariance, functional_invariance
from hgm.symmetry.orbits import Orbit, Parted, Some, apart, join, part, strangers
from hgm.symmetry.phases import (
    AlignPairs,
    AlignStarts,
    Fit,
    FitRewards,
    Gather,
    Once,
    Phase,
    Through,
)
from hgm.symmetry.refinement import Pool
from hgm.symmetry.relevance import SOURCES, Sight, look, points_of
from hgm.symmetry.samples import Samples
from hgm.symmetry.scaled import Scaled, Spanned
from hgm.symmetry.snapshot import counter_clockwise
from hgm.symmetry.subgroup import LeftActions, Subgroup, deviations, low_rank
from hgm.symmetry.view import Units, View, units_of
from hgm.symmetry.winding import one_generator

SAME_FIT = 0.15
"""Robust loss by which fewer directions may be worse than free elements, and still be enough."""

ALIGNED = 1.5
"""Held-out robust loss, relative to that of residuals as large as predicted."""

CONVINCING = 1.0
"""Spread of pooled residuals, in units of the tasks' own noise, that outweighs the above."""

_STARTS = 0  # purpose of a seed
_LEADING = 12  # tasks that find the algebra; the others are then located in it
_FORM_POINTS = 2400
_STRETCH, _LEAST_STRETCHES = 50, 4  # transitions of a stretch of time; stretches of either half
_WORTH_CALIBRATING = 0.9  # spread, relative to that of rewards as they are
_AS_WELL = 1.1  # spread, relative to that of elements with more freedom
_OWN_DYNAMICS = 0.02  # share of the motion, of which learned noise is a part
_INSIDE = 0.9  # cosine of directions that counts as the same
_SPREAD = 24  # starts per dimension of the algebra, of tasks that are located

T = TypeVar("T")
_MOST = {"num_starts": 1_000_000, "num_points": 1_000_000}
"""Largest values of steps that are not counted in steps."""
Stage = Generator[Phase, None, T]
"""Yields phases, of which every one is stepped until it is done, and returns what they found."""


@dataclass(frozen=True)
class SearchSteps:
    """Effort of the search.

    Args:
        num_starts: Starts of every left action; None: 12 per dimension of the points.
        num_points: Points of every task that a start is judged by.
        start_steps: Gauss-Newton steps from every start.
        pair_steps: Steps of every joint fit.
        pool_steps: Steps of pooled refinement.
        max_directions: Most shared directions that are tried.
    """

    num_starts: int | None = None
    num_points: int = 64
    start_steps: int = 7
    pair_steps: int = 10
    pool_steps: int = 15
    max_directions: int = 6

    def __post_init__(self) -> None:
        """Checks the arguments.

        Raises:
            ValueError: If one is no positive int.
        """
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None or field.name != "num_starts":
                check_int(field.name, value, 1, _MOST.get(field.name, 10_000))


def expected_loss(dim_residual: int) -> float:
    r"""Robust loss of residuals as large as predicted, :math:`E \log(1 + \chi^2_q)`, to 7%."""
    return math.log1p(0.75 * dim_residual)


class Search:
    """From transitions to an algebra, as a sequence of phases.

    Args:
        group: The ambient group; its ``raw_*`` parameters are learned in place.
        estimator: Estimator of reward differentials. It is fitted in place, or one of its kind in
            its stead where rewards see a part of the state only.
        invariance: One of :mod:`hgm.symmetry.losses`.
        dynamics: Models of the dynamics to choose from, the cheapest first.
        steps: Effort.
        sources: What rewards may be functions of, some of :data:`hgm.symmetry.relevance.SOURCES`.
        seed: Seed of the starts.

    Attributes:
        expected: Robust loss of residuals as large as predicted, per coordinate that rewards see.
    """

    def __init__(
        self,
        group: LieGroup,
        estimator: DifferentialEstimator,
        invariance: Invariance,
        dynamics: Sequence[DynamicsModel],
        steps: SearchSteps,
        sources: Sequence[str] = SOURCES,
        seed: int = 0,
    ) -> None:
        self.group, self.estimator, self.invariance = group, estimator, invariance
        self.dynamics, self.steps, self.seed = dynamics, steps, seed
        self.sources = sources

    def phases(self) -> Stage[Findings]:
        """Yields every phase, to be stepped until it is done; returns what they found."""
        kept = yield from _run(Gather())
        problem = yield from self._pose(kept)
        dynamics = yield from self._learn_dynamics(problem, kept)
        within = Within(self, problem, dynamics)
        root = yield from within.run(FitRewards(problem.estimator))
        span = yield from within.find(root)
        refined = yield from within.refine(span)
        pool = refined.pool
        if pool is None or pool.spread >= CONVINCING:
            parted = yield from part(within, root, kept)
            if parted is not None:
                return (yield from within.conclude_orbits(parted, kept))
        span, refined = yield from within.unwind(span, refined)
        return (yield from within.conclude(span, refined, kept))

    def _pose(self, kept: Samples) -> Stage[Problem]:
        """Units, what rewards see, and the group and the estimator for that."""
        units = units_of(kept, self.group.dim_matrix)
        scaled = units.scale(kept)
        sight = yield from _run(
            Once("what rewards see", "relevance", lambda: look(scaled, self.sources))
        )
        any_chart = self.group.resized(self.group.dim_space) is not None
        if any_chart and len(sight.columns) >= FEWEST:
            units, sight = yield from self._turn(units, scaled, sight)
        columns = list(range(self.group.dim_space))
        num = len(kept.reward)
        leading = torch.arange(0, num, max(1, -(-num // _LEADING)), device=kept.reward.device)
        group, estimator = self.group, self.estimator
        seen = sorted({*sight.columns, *(_next_column(sight.columns, columns))})
        smaller = group.resized(len(seen))
        other = estimator.resized(len(leading), len(seen))
        if smaller is not None and other is not None:
            columns, group, estimator = seen, smaller.to(units.frame), other
        else:
            group = Scaled(group, units.frame)
            other = estimator.resized(len(leading), len(columns))
            estimator, leading = (
                (estimator, torch.arange(num, device=leading.device))
                if other is None
                else (other, leading)
            )
        view = View(units, sight, columns)
        return Problem(view, group.requires_grad_(False), estimator, leading, smaller is not None)

    def _turn(self, units: Units, scaled: Samples, sight: Sight) -> Stage[tuple[Units, Sight]]:
        """Coordinates of which rewards see fewer, if there are such."""
        terms = sight.terms
        reward = scaled.reward if terms is None else scaled.reward - terms(scaled.action)
        points = points_of(scaled, sight.source)[..., sight.columns]
        found = yield from _run(
            Once("directions", "relevance", lambda: seen_directions(points, reward))
        )
        if found is None:
            return units, sight
        chart = torch.eye(units.dim_state).to(found)
        among = torch.tensor(sight.columns, device=found.device)
        chart[among[:, None], among], rows = turned_towards_axes(found)
        return units.turned(chart), sight._replace(columns=[sight.columns[row] for row in rows])

    def _learn_dynamics(self, problem: Problem, kept: Samples) -> Stage[Dynamics]:
        units = problem.view.units
        scaled = units.scale(kept)

        def learn() -> Dynamics:
            state, action, next_state = (
                part.flatten(0, 1) for part in (scaled.state, scaled.action, scaled.next_state)
            )
            inputs = torch.cat((state, action), -1)
            half = halves(scaled.reward.shape).to(inputs.device).flatten()
            change = next_state - state
            model = choose(self.dynamics, inputs, change, half)
            every = max(1, len(state) // _FORM_POINTS)
            form = equivariance_form(model, state[::every], action[::every], len(units.frame))
            return Dynamics(model, form)

        return (yield from _run(Once("dynamics and their symmetries", "dynamics", learn)))


class Within:
    """The search once it is posed: elements of the group on what rewards see."""

    def __init__(self, search: Search, problem: Problem, dynamics: Dynamics) -> None:
        self.problem, self.dynamics = problem, dynamics
        self.group, self.estimator = problem.group, problem.estimator
        self.invariance, self.steps, self.seed = search.invariance, search.steps, search.seed
        self.shadow = shadow(dynamics.form, problem.view.index)
        basis = self.group.generators[:, : self.group.dim_space].flatten(1)
        self.prior = basis @ self.shadow.price @ basis.mT
        self.kept = self.shadow.kept(basis)
        one = self.invariance is functional_invariance
        self.expected = expected_loss(1 if one else max(1, self.group.dim_space - 1))

    def run(self, phase: Phase) -> Stage[Any]:
        """Runs a phase on what rewards see of the leading tasks."""
        return (yield from _run(Through(self.problem.view, phase, self.problem.leading)))

    def some(self, tasks: Sequence[int]) -> Within:
        """The same search on some of the leading tasks, the first of them as the base."""
        other = copy.copy(self)
        other.estimator, leading = Some(self.estimator, tasks), self.problem.leading[list(tasks)]
        other.problem = self.problem._replace(estimator=other.estimator, leading=leading)
        return other

    def directions(self) -> list[Tensor]:
        """Directions ``(p, D)`` to look into: those that the dynamics keep."""
        if self._raw_parameters:
            return []
        if len(self.kept) == self.group.dim_algebra:
            return [torch.eye(self.group.dim_algebra).to(self.kept)]
        return [directions for directions, _ in self._narrower()]

    def find(self, root: Tensor) -> Stage[Span]:
        """Directions that all elements share: those that the dynamics keep, or any others."""
        for directions, wider in self._narrower():
            span = yield from self._find_in(
                self._spanned(directions), self.prior_in(directions), root
            )
            if span.fit.loss < 2 * ALIGNED * self.expected and self._says_something(span):
                if len(wider) == len(directions):
                    return span
                return (yield from self._widen(span, directions, wider))
        self.group.warm_start(root)
        return (yield from self._find_in(self.group, self.prior, root))

    def _spanned(self, directions: Tensor) -> LieGroup:
        return Spanned(self.group.hat(directions), self.group.dim_space)

    def _narrower(self) -> list[tuple[Tensor, Tensor]]:
        """Directions ``(p, D)`` to look into first, and those to go on in, ``(P, D)``."""
        groups: list[tuple[Tensor, Tensor]] = []
        if self._raw_parameters or len(self.kept) == self.group.dim_algebra:
            return groups
        size, dim = self.group.dim_matrix, self.group.dim_space
        if size > dim:
            linear = self.group.generators[:, :dim, :dim].flatten(1)
            shifts = torch.linalg.svd(linear.mT).Vh[torch.linalg.matrix_rank(linear) :]
            mix, inside, _ = torch.linalg.svd(shifts @ self.kept.mT)
            some = mix.mT[: len(inside)][inside > _INSIDE] @ shifts
            if len(some):
                groups.append((some, shifts))
        if len(self.kept):
            groups.append((self.kept, torch.eye(self.group.dim_algebra).to(self.kept)))
        return groups

    def _find_in(self, group: LieGroup, prior: Tensor, root: Tensor) -> Stage[Span]:
        starts = yield from self.align_each(group, prior, root)
        every = Subgroup(
            group, LeftActions(torch.eye(group.dim_algebra).to(starts), starts), fixed=True
        )
        free = yield from self.align("left actions, jointly", "alignment", every, prior)
        return (yield from self._find_span(free, prior))

    def _widen(self, span: Span, directions: Tensor, wider: Tensor) -> Stage[Span]:
        """The same elements in a wider group, where rewards say more of it than dynamics do."""
        everything = len(wider) == self.group.dim_algebra
        group = self.group if everything else self._spanned(wider)
        prior = self.prior if everything else self.prior_in(wider)
        directions = directions if everything else directions @ wider.mT
        actions = span.fit.subgroup.keep(span.fit.unknowns)
        shared = torch.linalg.qr(actions.directions.mT).Q.mT
        coords = actions.coords @ actions.directions @ shared.mT
        whole = LeftActions(shared @ directions, coords)
        if span.num_directions < len(coords):
            subgroup = Subgroup(group, whole)
            fit = yield from self.align("algebra in the whole group", "algebra", subgroup, prior)
        else:
            every = LeftActions(torch.eye(group.dim_algebra).to(coords), coords @ whole[0])
            subgroup = Subgroup(group, every, fixed=True)
            fit = yield from self.align("left actions, freely", "spectrum", subgroup, prior)
        free = yield from self._align_freely(group, fit.coords, prior)
        return Span(fit, free, span.num_directions)

    def _says_something(self, span: Span) -> bool:
        """Whether elements are few enough directions to be evidence of a group."""
        return span.num_directions < len(span.fit.coords) or len(span.fit.coords) == 1

    def prior_in(self, directions: Tensor) -> Tensor:
        """What the dynamics say of coordinates on directions ``(p, D)``, ``(p, p)``."""
        return directions @ self.prior @ directions.mT

    @property
    def _raw_parameters(self) -> bool:
        return any(True for _ in self.group.parameters())

    def align_each(self, group: LieGroup, prior: Tensor, root: Tensor) -> Stage[Tensor]:
        """Every element for itself, from starts all over the group, ``(N - 1, D)``."""
        num_starts = self.steps.num_starts or 12 * group.dim_space
        generator = torch.Generator().manual_seed(derive_seed(self.seed, _STARTS))
        starts = draw_starts(group, root, num_starts, generator)
        return (
            yield from self.run(
                AlignStarts(
                    group,
                    self.estimator,
                    self.invariance,
                    starts,
                    self.steps.start_steps,
                    self.steps.num_points,
                    prior,
                )
            )
        )

    def _align_freely(self, group: LieGroup, coords: Tensor, prior: Tensor) -> Stage[Fit]:
        """All elements jointly, each in any direction of a group: the spectrum is theirs."""
        every = torch.eye(group.dim_algebra).to(coords)
        subgroup = Subgroup(group, LeftActions(every, coords), fixed=True)
        return (yield from self.align("spectrum", "spectrum", subgroup, prior))

    def align(
        self, name: str, tag: str, subgroup: Subgroup, prior: Tensor | None = None
    ) -> Stage[Fit]:
        """All elements jointly, over all pairs of tasks."""
        prior = self.prior if prior is None else prior
        steps = self.steps.pair_steps
        phase = AlignPairs(name, tag, subgroup, self.estimator, self.invariance, steps, prior)
        return (yield from self.run(phase))

    def _find_span(self, free: Fit, prior: Tensor) -> Stage[Span]:
        """The fewest directions that explain all elements about as well as free ones do."""
        num_elements = self.estimator.num_tasks - 1
        group = free.subgroup.group
        # A span of as many directions as there are elements would explain nothing.
        most = min(num_elements - 1, group.dim_algebra, self.steps.max_directions)
        for num in range(1, most + 1):
            # The group's own parameters come first among the unknowns.
            own = slice(-free.coords.numel(), None)
            start = low_rank(free.coords, free.information[own, own], num)
            name, subgroup = f"algebra of {num} direction(s)", Subgroup(group, start)
            span = yield from self.align(name, "algebra", subgroup, prior)
            if (yield from self._enough(span, free)):
                # Freely again, from where the span led: a start may have been in a wrong basin.
                every = torch.eye(group.dim_algebra).to(span.coords)
                again = Subgroup(group, LeftActions(every, span.coords), fixed=True)
                free = yield from self.align("spectrum", "spectrum", again, prior)
                return Span(span, free, num)
        return Span(free, free, num_elements)

    def _enough(self, span: Fit, free: Fit) -> Stage[bool]:
        """Whether elements in a span fit about as well as free ones, which also fit noise."""
        if span.loss < free.loss + SAME_FIT:
            return True
        if span.loss >= 2 * ALIGNED * self.expected:
            return False
        # The pooled model has the power to tell.
        pool = Pool(span.subgroup, span.unknowns, self.estimator, self.steps.pool_steps)
        model = yield from self.run(pool)
        return bool(model.spread < CONVINCING)

    def refine(self, span: Span) -> Stage[Refined]:
        """One reward model for all tasks; without calibration where rewards are comparable."""
        if span.num_directions == self.estimator.num_tasks - 1 > 1:
            subgroup = span.fit.subgroup
            deviation = deviations(subgroup, span.fit.unknowns, span.fit.covariance)
            return Refined(span.fit.unknowns, deviation, None)
        return (yield from self.refine_fit(span.fit))

    def refine_fit(self, fit: Fit) -> Stage[Refined]:
        """The same of elements that are few enough directions, or in a group that is known."""
        subgroup = fit.subgroup
        deviation = deviations(subgroup, fit.unknowns, fit.covariance)
        best = Refined(fit.unknowns, deviation, None)
        for calibrated in (False, True):
            pool = Pool(subgroup, best.unknowns, self.estimator, self.steps.pool_steps, calibrated)
            model = yield from self.run(pool)
            better = best.pool is None or model.spread < _WORTH_CALIBRATING * best.pool.spread
            if pool.accepted and better:
                deviation = deviations(subgroup, model.actions, model.covariance())
                best = Refined(model.actions, deviation, model)
            if best.pool is not None and best.pool.spread < CONVINCING:
                break
        return best

    def unwind(self, span: Span, refined: Refined) -> Stage[tuple[Span, Refined]]:
        """One generator in place of several, where whole turns put all elements on its line."""
        subgroup, unknowns = span.fit.subgroup, refined.unknowns
        if self._raw_parameters:
            return span, refined
        elements = subgroup.elements(unknowns)[1:]
        line = one_generator(elements, self.closed(subgroup, unknowns)[0], refined.deviation)
        if line is None:
            return span, refined
        directions = lie.vee(line.generator, self.group.generators)[None]
        one = Subgroup(self.group, LeftActions(directions, line.coords[:, None]))
        fit = yield from self.align("one generator, after whole turns", "algebra", one)
        free = yield from self._align_freely(self.group, fit.coords, self.prior)
        wound = Span(fit, free, 1)
        again = yield from self.refine(wound)
        if refined.pool is None or again.pool is None:
            accepted = yield from self._enough(fit, span.free)
        else:
            accepted = bool(again.pool.spread < _AS_WELL * refined.pool.spread)
        return (wound, again) if accepted else (span, refined)

    def conclude(self, span: Span, refined: Refined, kept: Samples) -> Stage[Findings]:
        """The closed algebra, all tasks' coordinates in it, and what it does to everything."""
        seen, coords = self.closed(span.fit.subgroup, refined.unknowns)
        coords, orbits = yield from self._locate_others(seen, coords, refined, kept)
        return (yield from self._complete(span, refined, seen, coords, kept, orbits))

    def conclude_orbits(self, parted: Parted, kept: Samples) -> Stage[Findings]:
        """The same where tasks are on several orbits."""
        coords, orbits = yield from self._locate_in_orbits(parted, kept)
        refined = Refined(coords.flatten(), parted.deviation[1:], orbits[0].pool)
        return (yield from self._complete(parted.span, refined, parted.seen, coords, kept, orbits))

    def _complete(
        self,
        span: Span,
        refined: Refined,
        seen: Tensor,
        coords: Tensor,
        kept: Samples,
        orbits: Sequence[Orbit] = (),
    ) -> Stage[Findings]:
        """What a group on what rewards see does to everything."""
        units, index = self.problem.view.units, self.problem.view.index
        scaled = units.scale(kept)

        def whole() -> tuple[Completion, Tensor]:
            completion = complete(self.dynamics.form, seen, index)
            state, action = (part.flatten(0, 1) for part in (scaled.state, scaled.action))
            size, natural = len(units.frame), units.natural
            entries = refine(self.dynamics.model, state, action, completion, coords, size, natural)
            return completion, entries

        completion, entries = yield from _run(
            Once("the rest of the state, and actions", "completion", whole)
        )
        turn = _frequency(seen[0]) if len(seen) else 0.0
        generators, action_generators = split_entries(entries, len(units.frame), units, turn)

        def inherit() -> tuple[Tensor, bool]:
            if orbits:  # no element tells what the dynamics of another orbit should be
                return action_generators, False
            return inherited_or_shared(
                self.dynamics.model, scaled, generators, action_generators, coords
            )

        action_generators, inherited = yield from _run(
            Once("dynamics of single tasks", "heredity", inherit)
        )
        return Findings(
            problem=self.problem,
            kept=kept,
            dynamics=self.dynamics,
            seen=seen,
            generators=generators,
            action_generators=action_generators,
            inherited=inherited,
            completion=completion,
            coords=coords,
            num_directions=span.num_directions,
            spectrum=torch.linalg.svdvals(span.free.coords),
            pair_loss=span.fit.loss,
            free_loss=span.free.loss,
            expected_loss=self.expected,
            deviation=refined.deviation,
            pool=refined.pool,
            orbits=tuple(orbits),
        )

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

    def _locate_others(
        self, seen: Tensor, coords: Tensor, refined: Refined, kept: Samples
    ) -> Stage[tuple[Tensor, list[Orbit]]]:
        """Coordinates of all tasks, ``(N, d)``; those that did not lead are found in the group.

        Where its reward does not explain them, they are on other orbits.
        """
        leading, num = self.problem.leading, len(kept.reward)
        everyone = coords.new_zeros(num, len(seen))
        everyone[leading[1:]] = coords
        others = torch.tensor(sorted(set(range(num)) - set(leading.tolist())), device=coords.device)
        pool = refined.pool
        if pool is None or not len(others) or not len(seen):
            return everyone, []
        group, whole = Spanned(seen, self.group.dim_space), self.problem.view(kept)

        def locate() -> tuple[Tensor, list[Orbit]]:
            points, reward = (field[others] for field in whole)
            starts = group.spread(_SPREAD * len(seen), coords)
            everyone[others] = located(group, pool, points, reward, starts)
            first = Orbit(leading.tolist(), pool)
            if pool.calibrated:  # those of the others are not known
                return everyone, []
            strange = strangers(group, first, whole, others.tolist(), everyone)
            if not bool(strange.any()):
                return everyone, []
            places, more = apart(group, whole, others[strange].tolist(), everyone, pool)
            tasks = [*first.tasks, *others[~strange].tolist()]
            first = Orbit([tasks[0], *sorted(tasks[1:])], pool)
            return places, sorted([first, *more], key=lambda orbit: orbit.tasks[0])

        return (yield from _run(Once("the other tasks", "location", locate)))

    def _locate_in_orbits(self, parted: Parted, kept: Samples) -> Stage[tuple[Tensor, list[Orbit]]]:
        """Coordinates of all tasks, ``(N, d)``, and orbits by their indices among all."""
        leading, num = self.problem.leading.tolist(), len(kept.reward)
        coords = parted.coords.new_zeros(num, len(parted.seen))
        coords[leading] = parted.coords
        orbits = [Orbit([leading[i] for i in one.tasks], one.pool) for one in parted.orbits]
        others = sorted(set(range(num)) - set(leading))
        if others:
            group = Spanned(parted.seen, self.group.dim_space)
            find = partial(join, group, orbits, self.problem.view(kept), others, coords)
            coords, orbits = yield from _run(Once("the other tasks", "location", find))
        return coords, orbits


def split_entries(entries: Tensor, size: int, units: Units, turn: float) -> tuple[Tensor, Tensor]:
    """Generators ``(d, k, k)`` and ``(d, m, m)`` of entries, compact ones exactly periodic.

    What rewards see turns at the rate `turn`, which coordinates count on, and stays as it is.
    """
    n, m = units.dim_state, len(units.action)
    states, actions = entries.split((n * size, m * m), -1)
    generators = torch.nn.functional.pad(states.unflatten(-1, (n, size)), (0, 0, 0, size - n))
    action_generators = actions.unflatten(-1, (m, m))
    if len(entries) == 1:
        both = snap_periods(torch.block_diag(generators[0], action_generators[0]), turn)
        generators, action_generators = both[None, :size, :size], both[None, size:, size:]
    return generators, action_generators


def _frequency(generator: Tensor) -> float:
    """The largest frequency of a generator."""
    return float(torch.linalg.eigvals(generator).imag.max())


def inherited_or_shared(
    model: DynamicsModel,
    samples: Samples,
    generators: Tensor,
    action_generators: Tensor,
    coords: Tensor,
) -> tuple[Tensor, bool]:
    """Action generators, and whether tasks inherit dynamics of their own by them.

    Only where tasks differ in their dynamics, and differ less in the base task's frame.
    """
    half = halves(samples.reward.shape).to(coords.device)
    share = own_dynamics(model, half, samples, samples).share
    if share < _OWN_DYNAMICS or not len(generators):
        return action_generators, False
    found = inherited_action_generators(samples, half, generators, coords, action_generators)
    if len(found) == 1:
        size = generators.shape[-1]
        both = torch.block_diag(generators[0], found[0])
        found = snap_periods(both, _frequency(generators[0]))[None, size:, size:]
    elements, turns = (lie.exp(lie.hat(coords, basis)) for basis in (generators, found))
    there = carried(samples, elements, turns)
    moved = own_dynamics(base_dynamics(there, half), half, there, there).share
    return (found, True) if moved < share / 2 else (action_generators, False)


def halves(shape: torch.Size) -> Tensor:
    """Which half a transition belongs to: stretches of time take turns, ``(N, B)`` of 0 and 1."""
    num = shape[1]
    stretch = max(1, min(_STRETCH, num // (2 * _LEAST_STRETCHES)))
    return (torch.arange(num) // stretch % 2).expand(shape)


def _next_column(seen: list[int], every: list[int]) -> list[int]:
    """One more column where rewards see only one: on a line, gradients have one direction."""
    left = [column for column in every if column not in seen]
    return left[:1] if len(seen) == 1 else []


def discover(search: Search, samples: Samples) -> Findings:
    """Runs a whole search on samples held in memory: what a Trainer does, without one."""
    phases = search.phases()
    with torch.no_grad():
        while True:
            try:
                phase = next(phases)
            except StopIteration as end:
                return end.value
            while not phase.done:
                phase.step(samples, ALONE)
                phase.end_pass(ALONE)


def _run(phase: Phase) -> Stage[Any]:
    yield phase
    return phase.result
