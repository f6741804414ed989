"""The order of the phases: from transitions to the algebra that carries tasks into tasks."""

import math
from collections.abc import Generator
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import torch
from torch import Tensor

from hgm import lie
from hgm.checks import check_int
from hgm.differentials.base import DifferentialEstimator
from hgm.groups import LieGroup
from hgm.numerics.fourier import FourierRegression
from hgm.numerics.ranks import ALONE
from hgm.numerics.seeds import derive_seed
from hgm.symmetry.algebra import close
from hgm.symmetry.alignment import draw_starts
from hgm.symmetry.findings import Findings, Refined, Span
from hgm.symmetry.invariance import EquivarianceForm, action_generators
from hgm.symmetry.losses import Invariance, functional_invariance
from hgm.symmetry.phases import AlignPairs, AlignStarts, Equivariance, Fit, FitModels, Phase
from hgm.symmetry.refinement import Pool
from hgm.symmetry.representation import Represent
from hgm.symmetry.samples import Samples
from hgm.symmetry.snapshot import counter_clockwise
from hgm.symmetry.subgroup import LeftActions, Subgroup, deviations, low_rank
from hgm.symmetry.verdict import ALIGNED

SAME_FIT = 0.15
"""Robust loss by which fewer directions may be worse than free elements, and still be enough."""

CONVINCING = 1.0
"""Spread of pooled residuals, in units of the tasks' own noise, that outweighs the above."""

_STARTS = 0  # purpose of a seed

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
    pool_steps: int = 7
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
        estimator: Estimator of reward differentials, fitted in place.
        invariance: One of :mod:`hgm.symmetry.losses`.
        dynamics: Regression of ``s' - s`` on ``(s, a)``, fitted in place.
        steps: Effort.
        seed: Seed of the starts.

    Attributes:
        expected: Robust loss of residuals as large as predicted.
    """

    def __init__(
        self,
        group: LieGroup,
        estimator: DifferentialEstimator,
        invariance: Invariance,
        dynamics: FourierRegression,
        steps: SearchSteps,
        seed: int = 0,
    ) -> None:
        self.group, self.estimator, self.invariance = group, estimator, invariance
        self.dynamics, self.steps, self.seed = dynamics, steps, seed
        one = invariance is functional_invariance
        self.expected = expected_loss(1 if one else group.dim_space - 1)

    def phases(self) -> Stage[Findings]:
        """Yields every phase, to be stepped until it is done; returns what they found."""
        root = yield from _run(FitModels(self.estimator, self.dynamics))
        form = yield from _run(Equivariance(self.dynamics, self.group.dim_matrix))
        starts = yield from self._align_each(root)
        free = yield from self._align_freely("left actions, jointly", "alignment", starts)
        span = yield from self._find_span(free)
        refined = yield from self._refine(span)
        return (yield from self._conclude(span, refined, form))

    def _align_each(self, root: Tensor) -> Stage[Tensor]:
        """Every element for itself, from starts all over the group, ``(N - 1, D)``."""
        self.group.warm_start(root)
        num_starts = self.steps.num_starts or 12 * self.group.dim_space
        generator = torch.Generator().manual_seed(derive_seed(self.seed, _STARTS))
        starts = draw_starts(self.group, root, num_starts, generator)
        return (
            yield from _run(
                AlignStarts(
                    self.group,
                    self.estimator,
                    self.invariance,
                    starts,
                    self.steps.start_steps,
                    self.steps.num_points,
                )
            )
        )

    def _align_freely(self, name: str, tag: str, coords: Tensor) -> Stage[Fit]:
        """All elements jointly, each in any direction of the group."""
        every = torch.eye(self.group.dim_algebra).to(coords)
        subgroup = Subgroup(self.group, LeftActions(every, coords), fixed=True)
        return (yield from self._align(name, tag, subgroup))

    def _align(self, name: str, tag: str, subgroup: Subgroup) -> Stage[Fit]:
        steps = self.steps.pair_steps
        phase = AlignPairs(name, tag, subgroup, self.estimator, self.invariance, steps)
        return (yield from _run(phase))

    def _find_span(self, free: Fit) -> Stage[Span]:
        """The fewest directions that explain all elements about as well as free ones do."""
        num_elements = self.estimator.num_tasks - 1
        # A span of as many directions as there are elements would explain nothing.
        most = min(num_elements - 1, self.group.dim_algebra, self.steps.max_directions)
        for num in range(1, most + 1):
            # The group's own parameters come first among the unknowns.
            own = slice(-free.coords.numel(), None)
            start = low_rank(free.coords, free.information[own, own], num)
            name, subgroup = f"algebra of {num} direction(s)", Subgroup(self.group, start)
            span = yield from self._align(name, "algebra", subgroup)
            if (yield from self._enough(span, free)):
                # Freely again, from where the span led: a start may have been in a wrong basin.
                free = yield from self._align_freely("spectrum", "spectrum", span.coords)
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
        model = yield from _run(pool)
        return bool(model.spread < CONVINCING)

    def _refine(self, span: Span) -> Stage[Refined]:
        """One reward model for all tasks; without calibration where rewards are comparable."""
        num_elements, subgroup = self.estimator.num_tasks - 1, span.fit.subgroup
        deviation = deviations(subgroup, span.fit.unknowns, span.fit.covariance)
        best, pool = Refined(span.fit.unknowns, deviation, None), None
        if span.num_directions == num_elements > 1:
            return best
        while pool is None or pool.comparable:
            pool = Pool(subgroup, best.unknowns, self.estimator, self.steps.pool_steps, pool)
            model = yield from _run(pool)
            if not pool.accepted:
                break
            deviation = deviations(subgroup, model.actions, model.covariance())
            best = Refined(model.actions, deviation, model)
        return best

    def _conclude(self, span: Span, refined: Refined, form: EquivarianceForm) -> Stage[Findings]:
        """The closed algebra, and what it does to actions."""
        actions = self._closed(span.fit.subgroup, refined.unknowns)
        generators = self.group.hat(actions.directions)
        start, _ = action_generators(form, generators)
        findings = Findings(
            actions=actions,
            num_directions=span.num_directions,
            spectrum=torch.linalg.svdvals(span.free.coords),
            pair_loss=span.fit.loss,
            free_loss=span.free.loss,
            deviation=refined.deviation,
            form=form,
            action_generators=start,
            pool=refined.pool,
        )
        represent = Represent(self.dynamics, generators, start, findings.coords)
        return findings._replace(action_generators=(yield from _run(represent)))

    def _closed(self, subgroup: Subgroup, unknowns: Tensor) -> LeftActions:
        """The left actions on directions that are closed under the bracket."""
        directions, coords = subgroup.keep(unknowns)
        coords = coords @ directions
        if subgroup.fixed:
            directions = torch.linalg.svd(coords, full_matrices=False).Vh
        closed = close(self.group.hat(directions), self.group.dim_algebra)
        matrices = counter_clockwise(lie.normalise(closed))
        elements = self.group.hat(coords)
        return LeftActions(self.group.vee(matrices), lie.vee(elements, matrices))


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
