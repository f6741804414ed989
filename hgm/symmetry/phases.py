"""Phases of discovery: each takes batches until it is done, and leaves its result."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import torch
from torch import Tensor

from hgm.differentials.base import DifferentialEstimator
from hgm.groups import LieGroup
from hgm.numerics.fourier import FourierRegression, whitening
from hgm.numerics.gauss_newton import GaussNewton
from hgm.numerics.ranks import Ranks
from hgm.symmetry.alignment import base_residuals, pair_residuals, score
from hgm.symmetry.dynamics import dynamics_form
from hgm.symmetry.invariance import EquivarianceForm
from hgm.symmetry.losses import Invariance
from hgm.symmetry.samples import Samples, thin
from hgm.symmetry.snapshot import Snapshot, principal, snapshot_of
from hgm.symmetry.subgroup import Subgroup

START_FLOOR = 0.1
"""Misfit allowed to directions, in radians, while the basin is sought."""
FLOOR = 0.01
"""The same in the joint fits."""
_STEPS_BEFORE_PRUNING = 2
_PRUNING = 3  # only the best third of the starts goes on
_PAIR_BUDGET = 3000  # points that one joint step evaluates, over all pairs of tasks
_CONVERGED_LOSS = 1e-4


class Phase(ABC):
    """A stretch of the training loop: takes steps until it is done, then has its :attr:`result`.

    Attributes:
        name: What a progress bar shows.
        tag: One word for the curve of its loss; phases of one kind share it.
        num_steps: Most batches it takes; for models, most passes over the data.
        taken: Batches taken so far; :meth:`step` counts.
    """

    name: str
    tag: str
    num_steps: int
    taken: int = 0

    @property
    def done(self) -> bool:
        """Whether the result is there."""
        return self.taken >= self.num_steps

    @abstractmethod
    def step(self, samples: Samples, ranks: Ranks) -> Tensor:
        """Takes one batch, and returns a scalar to show."""

    def end_pass(self, ranks: Ranks) -> None:  # noqa: B027 - an optional hook
        """Called at the end of a pass over the data."""

    @property
    @abstractmethod
    def result(self) -> Any:
        """What the phase found."""

    @property
    def snapshot(self) -> Snapshot | None:
        """Where its elements stand after the last step; None for a phase that has none."""
        return None


class FitModels(Phase):
    """Reward models of all tasks, one model of the dynamics that they share."""

    name, tag = "reward differentials", "models"

    def __init__(self, estimator: DifferentialEstimator, dynamics: FourierRegression) -> None:
        self.estimator, self.dynamics = estimator, dynamics
        self.num_steps, self._passes = estimator.num_passes, 0

    @property
    def done(self) -> bool:
        """Whether all passes over the data are made."""
        return self._passes >= self.num_steps

    def step(self, samples: Samples, ranks: Ranks) -> Tensor:
        """Adds a batch to the models; the estimator alone may descend by autograd."""
        self.taken += 1
        if self.taken == 1:
            self._root = whitening(samples.next_state, ranks).root
        if self._passes == 0:
            # Tasks take turns, since the first rows choose the length scales.
            inputs = torch.cat((samples.state, samples.action), -1).transpose(0, 1).flatten(0, 1)
            step = (samples.next_state - samples.state).transpose(0, 1).flatten(0, 1)
            self.dynamics.accumulate(inputs[None], step[None], ranks)
        with torch.enable_grad():
            return self.estimator.update(samples.next_state, samples.reward, ranks).detach()

    def end_pass(self, ranks: Ranks) -> None:
        """Solves what has a closed form."""
        if self._passes == 0:
            self.dynamics.solve(ranks)
        self.estimator.finish(ranks)
        self._passes += 1

    @property
    def result(self) -> Tensor:
        """Inverse square root of the points' covariance, ``(n, n)``."""
        return self._root


class Equivariance(Phase):
    """The quadratic form of the dynamics' equivariance residual."""

    name, tag = "equivariance of the dynamics", "equivariance"
    num_steps = 1

    def __init__(self, dynamics: FourierRegression, size: int) -> None:
        self.dynamics, self.size = dynamics, size

    def step(self, samples: Samples, ranks: Ranks) -> Tensor:
        """Sums the form over one batch."""
        self.taken += 1
        form = dynamics_form(self.dynamics, samples, self.size)
        self._form = EquivarianceForm(*(ranks.sum(term) for term in form))
        return self._form.gram.new_zeros(())

    @property
    def result(self) -> EquivarianceForm:
        """The form."""
        return self._form


class AlignStarts(Phase):
    """Left actions one by one, from many starts; keeps the best start of every task.

    Args:
        group: The group searched.
        estimator: Fitted reward differentials.
        invariance: One of :mod:`hgm.symmetry.losses`.
        starts: Coordinates of the starts, ``(S, D)``.
        num_steps: Gauss-Newton steps.
        num_points: Points of every task per step.
    """

    name, tag = "left actions, each alone", "starts"

    def __init__(
        self,
        group: LieGroup,
        estimator: DifferentialEstimator,
        invariance: Invariance,
        starts: Tensor,
        num_steps: int,
        num_points: int,
    ) -> None:
        self.group, self.estimator, self.invariance = group, estimator, invariance
        self.num_steps, self.num_points = num_steps, num_points
        self.solver = GaussNewton(starts.repeat(estimator.num_tasks - 1, 1, 1), START_FLOOR)

    def step(self, samples: Samples, ranks: Ranks) -> Tensor:
        """One step from every start that is left."""
        self.taken += 1
        few = thin(samples.next_state, self.num_points)
        residuals = base_residuals(self.group, self.estimator, self.invariance, few)
        trial = self.solver.propose(residuals(self.solver.unknowns, True), ranks)
        loss = self.solver.decide(residuals(trial, False), ranks)
        best = loss.argmin(1, keepdim=True)
        if self.taken == _STEPS_BEFORE_PRUNING or self.done:
            scores = ranks.sum(score(residuals(self.solver.unknowns, False), START_FLOOR))
            self.solver.keep(scores.argsort(1)[:, : 1 + scores.shape[1] // _PRUNING])
            best = torch.zeros_like(best)
        self._best = torch.take_along_dim(self.solver.unknowns, best[..., None], 1)[:, 0]
        self._loss = loss.amin(1).mean()
        return self._loss

    @property
    def result(self) -> Tensor:
        """Coordinates of the best start of every task, ``(N - 1, D)``."""
        return self._best

    @property
    def snapshot(self) -> Snapshot | None:
        """The best start of every task, on its principal directions."""
        directions, coords = principal(self._best)
        return snapshot_of(self.tag, self.group.hat(directions), coords, float(self._loss))


class Fit(NamedTuple):
    """Left actions that were fitted to all pairs of tasks.

    Attributes:
        subgroup: What their unknowns mean.
        unknowns: The unknowns, ``(u,)``.
        information: Inverse covariance of the unknowns, ``(u, u)``.
        covariance: Its inverse in the directions that the data tell, ``(u, u)``.
        loss: Mean robust loss.
    """

    subgroup: Subgroup
    unknowns: Tensor
    information: Tensor
    covariance: Tensor
    loss: float

    @property
    def coords(self) -> Tensor:
        """Coordinates of the elements of tasks 1 .. N-1 in the group, ``(N - 1, D)``."""
        return self.subgroup.coords(self.unknowns)


class AlignPairs(Phase):
    """Left actions jointly over all pairs of tasks, in a span of shared directions or freely.

    Args:
        name: What a progress bar shows.
        tag: One word for the curve of its loss.
        subgroup: The unknown left actions.
        estimator: Fitted reward differentials.
        invariance: One of :mod:`hgm.symmetry.losses`.
        num_steps: Most Gauss-Newton steps.
    """

    def __init__(
        self,
        name: str,
        tag: str,
        subgroup: Subgroup,
        estimator: DifferentialEstimator,
        invariance: Invariance,
        num_steps: int,
    ) -> None:
        self.name, self.tag, self.num_steps = name, tag, num_steps
        self.subgroup, self.estimator, self.invariance = subgroup, estimator, invariance
        self.solver = GaussNewton(subgroup.start, FLOOR, damping=1e-3)
        self._loss = float("inf")

    def step(self, samples: Samples, ranks: Ranks) -> Tensor:
        """One step on some of the points of every task."""
        self.taken += 1
        few = thin(samples.next_state, max(30, _PAIR_BUDGET // len(samples.next_state) ** 2))
        elements = self.subgroup.elements
        residuals = pair_residuals(elements, self.estimator, self.invariance, few)
        trial = self.solver.propose(residuals(self.solver.unknowns, True), ranks)
        loss = self.solver.decide(residuals(trial, False), ranks)
        self._loss = float(loss)
        return loss

    @property
    def done(self) -> bool:
        """Whether the last step gained next to nothing, or the steps are used up."""
        return bool(self.solver.gain < _CONVERGED_LOSS) or super().done

    @property
    def result(self) -> Fit:
        """The elements, as of the last step."""
        solver = self.solver
        information, covariance = solver.information(), solver.covariance()
        return Fit(self.subgroup, solver.unknowns, information, covariance, self._loss)

    @property
    def snapshot(self) -> Snapshot | None:
        """The elements on their shared directions, or on principal ones where they are free."""
        return self.subgroup.snapshot(self.tag, self.solver.unknowns, self._loss)
