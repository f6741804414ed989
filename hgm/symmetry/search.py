"""The order of the phases: from transitions to the algebra that carries tasks into tasks."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import NamedTuple

import torch
from torch import Tensor
from torch.func import jacfwd

from hgm import lie
from hgm.checks import check_int
from hgm.differentials.base import DifferentialEstimator
from hgm.groups import LieGroup
from hgm.numerics.fourier import FourierRegression
from hgm.numerics.ranks import ALONE
from hgm.symmetry.algebra import close
from hgm.symmetry.invariance import EquivarianceForm, action_generators
from hgm.symmetry.losses import InvarianceLoss, functional_invariance
from hgm.symmetry.phases import (
    AlignPairs,
    AlignStarts,
    Data,
    Equivariance,
    FitModels,
    Phase,
    Pool,
    starts_of,
)
from hgm.symmetry.pooling import PooledModel
from hgm.symmetry.representation import Represent
from hgm.symmetry.subgroup import LeftActions, Subgroup
from hgm.symmetry.verdict import ALIGNED

SAME_FIT = 0.15
"""Robust loss by which fewer directions may be worse than free elements, and still be enough."""

CONVINCING = 1.0
"""Spread of pooled residuals, in units of the tasks' own noise, that outweighs the above."""


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
                check_int(field.name, value, 1)


class Findings(NamedTuple):
    """What the phases leave, in the group's coordinates.

    Attributes:
        actions: Directions ``(d, D)`` of the closed algebra, an orthogonal basis of generators of
            norm sqrt 2, and coordinates ``(N - 1, d)``.
        num_directions: How many directions the elements need; brackets add the rest.
        spectrum: Singular values of the freely fitted elements' coordinates, descending.
        pair_loss: Mean robust loss over all pairs of tasks, with elements in the span.
        free_loss: The same with free elements.
        deviation: Predicted standard deviation of the elements, in radians, ``(N - 1,)``.
        form: Equivariance form of the dynamics.
        action_generators: What the directions do to actions, ``(d, m, m)``.
        pool: The one reward model that explained all tasks and so refined the elements, if any.
    """

    actions: LeftActions
    num_directions: int
    spectrum: Tensor
    pair_loss: float
    free_loss: float
    deviation: Tensor
    form: EquivarianceForm
    action_generators: Tensor
    pool: PooledModel | None


def expected_loss(dim_residual: int) -> float:
    r"""Robust loss of residuals as large as predicted, :math:`E \log(1 + \chi^2_q)`, to 7%."""
    return math.log1p(0.75 * dim_residual)


class Search:
    """Runs the phases one after the other; iterate it, and step each phase until it is done.

    Args:
        group: The ambient group; its ``raw_*`` parameters are learned in place.
        estimator: Estimator of reward differentials.
        loss: One of :mod:`hgm.symmetry.losses`.
        dynamics: Regression of ``s' - s`` on ``(s, a)``.
        num_tasks: Number of tasks ``N``.
        steps: Effort.
        seed: Seed of the starts.
    """

    def __init__(
        self,
        group: LieGroup,
        estimator: DifferentialEstimator,
        loss: InvarianceLoss,
        dynamics: FourierRegression,
        num_tasks: int,
        steps: SearchSteps,
        seed: int = 0,
    ) -> None:
        self.group, self.estimator, self.loss = group, estimator, loss
        self.dynamics, self.num_tasks, self.steps, self.seed = dynamics, num_tasks, steps, seed
        one = loss is functional_invariance
        self.expected = expected_loss(1 if one else group.dim_space - 1)
        self.findings: Findings | None = None

    def __iter__(self) -> Iterator[Phase]:
        """Yields phases; after the last one, :attr:`findings` is set."""
        models = FitModels(self.estimator, self.dynamics)
        yield models
        dynamics = Equivariance(self.dynamics, self.group.dim_matrix)
        yield dynamics
        self.group.warm_start(models.root)
        num_starts = self.steps.num_starts or 12 * self.group.dim_space
        starts = AlignStarts(
            self.group,
            self.estimator,
            self.loss,
            starts_of(self.group, models.root, num_starts, self.seed),
            self.num_tasks,
            self.steps.start_steps,
            self.steps.num_points,
        )
        yield starts
        free = self._free("left actions, jointly", starts.coords)
        yield free
        span, enough, num_directions = free, False, 0
        for num_directions in range(1, self._most_directions() + 1):
            span = self._span(num_directions, free)
            yield span
            enough = span.value < free.value + SAME_FIT
            if not enough and span.value < 2 * ALIGNED * self.expected:
                # Free elements also fit noise. The pooled model has the power to tell.
                trial = self._pool(span)
                yield trial
                enough = bool(trial.model.spread < CONVINCING)
            if enough:
                # Freely again, from where the span led: a start may have been in a wrong basin.
                free = self._free("spectrum", _coords(span))
                yield free
                break
        if not enough:
            span = free
        subgroup, unknowns, model = span.subgroup, span.solver.unknowns, None
        deviation = deviations(subgroup, unknowns, span.solver.covariance())
        pool: Pool | None = None
        while (enough or self.num_tasks == 2) and (pool is None or pool.comparable):
            pool = Pool(subgroup, unknowns, self.estimator, self.steps.pool_steps, rougher=pool)
            yield pool
            if not pool.accepted:
                break
            model = pool.model
            unknowns = model.actions
            deviation = deviations(subgroup, unknowns, model.covariance())
        actions = self._closed(subgroup, unknowns)
        generators = self.group.hat(actions.directions)
        start, _ = action_generators(dynamics.form, generators)
        coords = torch.cat((torch.zeros_like(actions.coords[:1]), actions.coords))
        represent = Represent(self.dynamics, generators, start, coords)
        yield represent
        self.findings = Findings(
            actions=actions,
            num_directions=num_directions if enough else self.num_tasks - 1,
            spectrum=torch.linalg.svdvals(_coords(free)),
            pair_loss=span.value,
            free_loss=free.value,
            deviation=deviation,
            form=dynamics.form,
            action_generators=represent.action_generators,
            pool=model,
        )

    def _most_directions(self) -> int:
        """A span of as many directions as there are elements would explain nothing."""
        return min(self.num_tasks - 2, self.group.dim_algebra, self.steps.max_directions)

    def _free(self, name: str, coords: Tensor) -> AlignPairs:
        every = torch.eye(self.group.dim_algebra).to(coords)
        return self._align(name, LeftActions(every, coords), fixed=True)

    def _span(self, num: int, free: AlignPairs) -> AlignPairs:
        coords = _coords(free)
        # The group's own parameters come first among the unknowns.
        own = slice(-coords.numel(), None)
        actions = low_rank(coords, free.solver.information()[own, own], num)
        return self._align(f"algebra of {num} direction(s)", actions, fixed=False)

    def _align(self, name: str, actions: LeftActions, fixed: bool) -> AlignPairs:
        subgroup = Subgroup(self.group, actions, fixed)
        return AlignPairs(name, subgroup, self.estimator, self.loss, self.steps.pair_steps)

    def _pool(self, span: AlignPairs) -> Pool:
        unknowns, steps = span.solver.unknowns, self.steps.pool_steps
        return Pool(span.subgroup, unknowns, self.estimator, steps)

    def _closed(self, subgroup: Subgroup, unknowns: Tensor) -> LeftActions:
        """The left actions on directions that are closed under the bracket."""
        directions, coords = subgroup.keep(unknowns)
        coords = coords @ directions
        if subgroup.fixed:
            directions = torch.linalg.svd(coords, full_matrices=False).Vh
        matrices = lie.normalise(close(self.group.hat(directions), self.group.dim_algebra))
        # A rotation should read counter-clockwise: positive below the diagonal.
        sign = torch.sign(matrices.tril(-1).sum((-2, -1)) + 1e-9)
        matrices = matrices * sign[:, None, None]
        elements = self.group.hat(coords)
        return LeftActions(self.group.vee(matrices), lie.vee(elements, matrices))


def discover(search: Search, data: Data) -> Findings:
    """Runs a whole search on data held in memory: what a Trainer does, without one."""
    for phase in search:
        while not phase.done:
            with torch.set_grad_enabled(isinstance(phase, FitModels)):
                phase.step(data, ALONE)
                phase.end_pass(ALONE)
    assert search.findings is not None, "the last phase sets it"
    return search.findings


def low_rank(coords: Tensor, information: Tensor, rank: int, num_steps: int = 50) -> LeftActions:
    r"""Shared directions `W` and coordinates `C` with :math:`C W \approx A`, in the given metric.

    Minimises :math:`\mathrm{vec}(C W - A)^T \Lambda\, \mathrm{vec}(C W - A)` by alternating least
    squares from the singular vectors of `A`: what the data leave open in an element does not
    bend the directions.

    Args:
        coords: Elements' coordinates `A`, ``(N - 1, D)``.
        information: Their inverse covariance, ``((N - 1) D, (N - 1) D)``.
        rank: Number of directions.
        num_steps: Alternations.
    """
    num, dim = coords.shape
    floor = 1e-9 * information.diagonal().max().clamp_min(1e-300)
    metric = information + floor * torch.eye(num * dim).to(coords)
    directions = torch.linalg.svd(coords).Vh[:rank]
    eye_num, eye_dim = torch.eye(num).to(coords), torch.eye(dim).to(coords)

    def solve(basis: Tensor) -> Tensor:
        basis = basis.reshape(num * dim, -1)
        return torch.linalg.solve(basis.mT @ metric @ basis, basis.mT @ (metric @ coords.flatten()))

    def coordinates() -> Tensor:
        return solve(torch.einsum("ij,ax->ixja", eye_num, directions)).view(num, rank)

    for _ in range(num_steps):
        directions = solve(torch.einsum("ia,xy->ixay", coordinates(), eye_dim)).view(rank, dim)
        directions = torch.linalg.qr(directions.mT).Q.mT
    return LeftActions(directions, coordinates())


def deviations(subgroup: Subgroup, unknowns: Tensor, covariance: Tensor) -> Tensor:
    r"""Predicted standard deviation of left actions, ``(N - 1,)``, in radians of a rotation.

    :math:`\sqrt{\mathrm{tr}(J \Sigma J^T) / 2}` with `J` the derivative of
    :math:`L_i(u_0)^{-1} L_i(u)` along the unknowns.
    """
    elements = subgroup.elements(unknowns)
    inverse = torch.linalg.inv(elements)
    derivative = torch.einsum("tij,tjka->tika", inverse, jacfwd(subgroup.elements)(unknowns))
    variance = torch.einsum("tika,ab,tikb->t", derivative, covariance, derivative)
    return (variance / 2).clamp_min(0.0).sqrt()[1:]


def _coords(phase: AlignPairs) -> Tensor:
    """Coordinates of the elements of tasks 1 .. N-1 in the group, ``(N - 1, D)``."""
    directions, coords = phase.subgroup.split(phase.solver.unknowns)[1]
    return coords @ directions
