"""The order of the phases: from transitions to the algebra that carries tasks into tasks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from hgm.charts import Chart
from hgm.charts.straighten import Straightened, straighten
from hgm.differentials.base import DifferentialEstimator
from hgm.differentials.bent import Bent
from hgm.dynamics import DynamicsModel, choose
from hgm.dynamics.bent import with_bent
from hgm.groups import LieGroup
from hgm.numerics.ranks import ALONE
from hgm.symmetry.believed import convincing
from hgm.symmetry.charting import Sharpened, sharpen
from hgm.symmetry.conclusion import conclude, conclude_orbits
from hgm.symmetry.directions import FEWEST, seen_directions, turned_towards_axes
from hgm.symmetry.explanation import explain, explain_in_kept
from hgm.symmetry.findings import Dynamics, Findings, Problem, Refined, Span
from hgm.symmetry.invariance import FORM_POINTS, equivariance_form
from hgm.symmetry.kept import keep
from hgm.symmetry.losses import Invariance
from hgm.symmetry.orbits import part
from hgm.symmetry.phases import FitRewards, Gather, Once, Stage, run_phase
from hgm.symmetry.relevance import SOURCES, Sight, look, points_of
from hgm.symmetry.samples import Samples, halves
from hgm.symmetry.scaled import Scaled, Spanned
from hgm.symmetry.simplification import simplify
from hgm.symmetry.steps import SearchSteps
from hgm.symmetry.support import staying
from hgm.symmetry.tails import worth_bending
from hgm.symmetry.view import Units, View, units_of
from hgm.symmetry.within import Within

_LEADING = 12  # tasks that find the algebra; the others are then located in it


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
        chart: Coordinates to search in. Where there is something to be learned, a copy is learned
            first, and kept if it may be believed; None: the states themselves.

    Attributes:
        coordinates: The chart in which the search is made, as far as it has come; None: in the
            states themselves. Phases expect samples in it.
        straightened: Whether a chart was learned, and why; None where there was none to learn.
        sharpened: Whether rewards have sharpened it, and why; None where they could not.
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
        chart: Chart | None = None,
    ) -> None:
        self.group, self.estimator, self.invariance = group, estimator, invariance
        self.dynamics, self.steps, self.seed = dynamics, steps, seed
        self.sources, self.chart = sources, chart
        self.coordinates: Chart | None = None
        self.straightened: Straightened | None = None
        self.sharpened: Sharpened | None = None

    def phases(self) -> Stage[Findings]:
        """Yields every phase, to be stepped until it is done; returns what they found."""
        learned = self.chart is not None and self.chart.learned
        self.coordinates = None if learned else self.chart
        self.straightened = self.sharpened = None
        kept = yield from run_phase(Gather())
        if self.chart is None or not self.chart.learned:
            return (yield from self._find(kept))
        return (yield from self._find_in(self.chart, kept))

    def _find(self, kept: Samples) -> Stage[Findings]:
        """Everything, in the coordinates of the samples."""
        problem = yield from self._pose(kept)
        dynamics = yield from self._learn_dynamics(problem, kept)
        scaled = problem.view.units.scale(kept)
        keeping = Once("what they keep", "dynamics", lambda: keep(problem, dynamics, scaled))
        withins = [
            Within(problem, dynamics, some, self.invariance, self.steps, self.seed)
            for some in (yield from run_phase(keeping))
        ]
        root = yield from withins[0].run(FitRewards(problem.estimator))
        within, span, refined = yield from _by_strictest(withins, root)
        if not convincing(refined):
            parted = yield from part(within, root, kept)
            if parted is not None:
                return (yield from conclude_orbits(within, parted, kept))
        span, refined = yield from simplify(within, span, refined)
        return (yield from conclude(within, span, refined, kept))

    def _find_in(self, chart: Chart, kept: Samples) -> Stage[Findings]:
        """The same in a chart that is learned, once more in one that rewards have sharpened."""
        moves = (kept.state, kept.action, kept.next_state)
        learn = Once("coordinates", "chart", lambda: straighten(chart, *moves))
        self.straightened = straight = yield from run_phase(learn)
        self.coordinates = straight.chart
        findings = yield from self._find(self.in_chart(kept))
        learn = Once("coordinates and rewards", "chart", lambda: sharpen(straight, kept, findings))
        self.sharpened = yield from run_phase(learn)
        if self.sharpened is None or self.sharpened.chart is None:
            return findings
        self.coordinates = self.sharpened.chart
        return (yield from self._find(self.in_chart(kept)))

    def in_chart(self, samples: Samples) -> Samples:
        """Samples of the states in the chart of the search."""
        chart = self.coordinates
        if chart is None:
            return samples
        state, next_state = chart(samples.state), chart(samples.next_state)
        return samples._replace(state=state, next_state=next_state)

    def _pose(self, kept: Samples) -> Stage[Problem]:
        """Units, what rewards see, and the group and the estimator for that."""
        units = units_of(kept, self.group.dim_matrix)
        scaled = units.scale(kept)
        sight = yield from run_phase(
            Once("what rewards see", "relevance", lambda: look(scaled, self.sources))
        )
        any_chart = self.group.resized(self.group.dim_space) is not None
        if any_chart and len(sight.columns) >= FEWEST:
            units, sight = yield from self._turn(units, scaled, sight)
            scaled = units.scale(kept)
        columns = list(range(self.group.dim_space))
        num = len(kept.reward)
        leading = torch.arange(0, num, max(1, -(-num // _LEADING)), device=kept.reward.device)
        group, estimator = self.group, self.estimator
        seen = sorted({*sight.columns, *(_next_column(sight.columns, columns))})
        smaller = group.resized(len(seen))
        other = estimator.resized(len(leading), len(seen))
        if smaller is not None and other is not None:
            columns, estimator = seen, other
            group = _staying(smaller.to(units.frame), scaled.state[..., seen].flatten(0, 1))
        else:
            group = Scaled(group, units.frame)
            other = estimator.resized(len(leading), len(columns))
            estimator, leading = (
                (estimator, torch.arange(num, device=leading.device))
                if other is None
                else (other, leading)
            )
        view = View(units, sight, columns)
        tails = None
        if estimator is not self.estimator:  # that one is to answer in the points' own coordinates
            bending = Once("long tails", "relevance", lambda: worth_bending(*view(kept)))
            tails = yield from run_phase(bending)
        if tails is not None:
            estimator = Bent(estimator, tails)
        whole = smaller is not None
        return Problem(view, group.requires_grad_(False), estimator, leading, whole, tails)

    def _turn(self, units: Units, scaled: Samples, sight: Sight) -> Stage[tuple[Units, Sight]]:
        """Coordinates of which rewards see fewer, if there are such."""
        terms = sight.terms
        reward = scaled.reward if terms is None else scaled.reward - terms(scaled.action)
        points = points_of(scaled, sight.source)[..., sight.columns]
        found = yield from run_phase(
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
            model = choose(with_bent(self.dynamics, inputs), inputs, change, half)
            every = max(1, len(state) // FORM_POINTS)
            form = equivariance_form(model, state[::every], action[::every], len(units.frame))
            return Dynamics(model, form)

        return (yield from run_phase(Once("dynamics and their symmetries", "dynamics", learn)))


def _by_strictest(withins: Sequence[Within], root: Tensor) -> Stage[tuple[Within, Span, Refined]]:
    """By the first search whose directions do, or by the last one, whatever that takes."""
    for within in withins[:-1]:
        explained = yield from explain_in_kept(within, root)
        if explained is not None:
            return within, *explained
    return withins[-1], *(yield from explain(withins[-1], root))


def _staying(group: LieGroup, states: Tensor) -> LieGroup:
    """The part of a group that carries states along the quadrics that they are on."""
    if any(True for _ in group.parameters()):
        return group
    inside = staying(group.generators, states[:: max(1, len(states) // FORM_POINTS)])
    return group if inside is None else Spanned(inside, group.dim_space)


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
