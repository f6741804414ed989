"""Phases of discovery: each takes batches until it is done, and leaves its result."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor

from hgm.differentials.base import DifferentialEstimator
from hgm.groups import LieGroup
from hgm.numerics.fourier import FourierRegression, Jet, whitening
from hgm.numerics.gauss_newton import GaussNewton
from hgm.numerics.ranks import Ranks
from hgm.symmetry.alignment import (
    base_objective,
    draw_starts,
    homogeneous,
    pair_objective,
    score,
)
from hgm.symmetry.invariance import EquivarianceForm, equivariance_form
from hgm.symmetry.losses import InvarianceLoss
from hgm.symmetry.pooling import PooledModel, calibrate
from hgm.symmetry.subgroup import Subgroup

START_FLOOR = 0.1
"""Misfit allowed to directions, in radians, while the basin is sought."""
FLOOR = 0.01
"""The same in the joint fits."""
_STEPS_BEFORE_PRUNING = 2
_PRUNING = 3  # only the best third of the starts goes on
_PAIR_BUDGET = 3000  # points that one joint step evaluates, over all pairs of tasks
_CONVERGED_LOSS = 1e-4
_CONVERGED_MOVE = 1e-4  # radians, for rotations; the next step would be smaller by far
_DYNAMICS_BUDGET = 2400
_POOL_BUDGET = 4096  # points, over all tasks and processes, of pooled steps that do not decide yet
_CALIBRATION = 500  # points of every task that start the rewards' calibration
_MISFIT = 1e-3  # standard deviations of the reward that any model may be off
_AS_GOOD_AS_OWN = 1.3  # in units of the tasks' own noise
_COMPARABLE = 5.0  # Wald statistic per unknown, 1 expected; smooth misfit inflates it


class Data(NamedTuple):
    """Transitions of N tasks in float64; rewards in units of their standard deviation.

    Shapes: `state` and `following` ``(N, B, n)``, `action` ``(N, B, m)``, `reward` ``(N, B)``.
    """

    state: Tensor
    action: Tensor
    reward: Tensor
    following: Tensor


class Phase(ABC):
    """A stretch of the training loop.

    Attributes:
        name: What a progress bar shows.
        num_steps: Most batches it takes.
    """

    name: str
    num_steps: int
    taken: int = 0

    @property
    def done(self) -> bool:
        """Whether the result is there."""
        return self.taken >= self.num_steps

    def step(self, data: Data, ranks: Ranks) -> Tensor:
        """Takes one batch, and returns a scalar to show."""
        self.taken += 1
        return self._step(data, ranks)

    @abstractmethod
    def _step(self, data: Data, ranks: Ranks) -> Tensor:
        """Hook of :meth:`step`."""

    def end_pass(self, ranks: Ranks) -> None:  # noqa: B027 - an optional hook
        """Called at the end of a pass over the data."""


class FitModels(Phase):
    """Reward models of all tasks, one model of the dynamics that they share."""

    name = "reward differentials"

    def __init__(self, estimator: DifferentialEstimator, dynamics: FourierRegression) -> None:
        self.estimator, self.dynamics = estimator, dynamics
        self.num_steps, self._passes = estimator.num_passes, 0

    @property
    def done(self) -> bool:
        """Whether all passes over the data are made."""
        return self._passes >= self.num_steps

    def _step(self, data: Data, ranks: Ranks) -> Tensor:
        if self.taken == 1:
            self.root = whitening(data.following, ranks).root
        if self._passes == 0:
            # Tasks take turns, since the first rows choose the length scales.
            inputs = torch.cat((data.state, data.action), -1).transpose(0, 1).flatten(0, 1)
            step = (data.following - data.state).transpose(0, 1).flatten(0, 1)
            self.dynamics.accumulate(inputs[None], step[None], ranks)
        return self.estimator.update(data.following, data.reward, ranks)

    def end_pass(self, ranks: Ranks) -> None:
        """Solves what has a closed form."""
        if self._passes == 0:
            self.dynamics.solve(ranks)
        self.estimator.finish(ranks)
        self._passes += 1


class AlignStarts(Phase):
    """Left actions one by one, from many starts; keeps the best start of every task.

    Args:
        group: The group searched.
        estimator: Fitted reward differentials.
        loss: One of :mod:`hgm.symmetry.losses`.
        starts: Coordinates of the starts, ``(S, D)``.
        num_tasks: Number of tasks ``N``.
        num_steps: Gauss-Newton steps.
        num_points: Points of every task per step.
    """

    name = "left actions, each alone"

    def __init__(
        self,
        group: LieGroup,
        estimator: DifferentialEstimator,
        loss: InvarianceLoss,
        starts: Tensor,
        num_tasks: int,
        num_steps: int,
        num_points: int,
    ) -> None:
        self.group, self.estimator, self.loss = group, estimator, loss
        self.num_steps, self.num_points = num_steps, num_points
        self.solver = GaussNewton(starts.repeat(num_tasks - 1, 1, 1), START_FLOOR)

    def _step(self, data: Data, ranks: Ranks) -> Tensor:
        few = thin(data.following, self.num_points)
        objective = base_objective(self.group, self.estimator, self.loss, few)
        loss = self.solver.step(objective, ranks)
        if self.taken == _STEPS_BEFORE_PRUNING or self.done:
            scores = ranks.sum(score(objective(self.solver.unknowns, False), START_FLOOR))
            self.solver.keep(scores.argsort(1)[:, : 1 + scores.shape[1] // _PRUNING])
            self.coords = self.solver.unknowns[:, 0]
        return loss.amin(1).mean()


class AlignPairs(Phase):
    """Left actions jointly over all pairs of tasks, in a span of shared directions or freely.

    Attributes:
        value: Mean robust loss of the last step.
    """

    def __init__(
        self,
        name: str,
        subgroup: Subgroup,
        estimator: DifferentialEstimator,
        loss: InvarianceLoss,
        num_steps: int,
    ) -> None:
        self.name, self.num_steps = name, num_steps
        self.subgroup, self.estimator, self.loss = subgroup, estimator, loss
        self.solver = GaussNewton(subgroup.start, FLOOR, damping=1e-3)
        self.value, self._converged = float("inf"), False

    def _step(self, data: Data, ranks: Ranks) -> Tensor:
        few = thin(data.following, max(30, _PAIR_BUDGET // len(data.following) ** 2))
        objective = pair_objective(self.subgroup.elements, self.estimator, self.loss, few)
        loss = self.solver.step(objective, ranks)
        self.value = float(loss)
        self._converged = bool(self.solver.gain < _CONVERGED_LOSS)
        return loss

    @property
    def done(self) -> bool:
        """Whether the last step gained next to nothing, or the steps are used up."""
        return self._converged or super().done


class Pool(Phase):
    """Pooled refinement of left actions, see :class:`~hgm.symmetry.pooling.PooledModel`.

    Args:
        subgroup: The unknown left actions.
        unknowns: Where they start.
        estimator: Fitted reward models, which know the noise.
        num_steps: Most steps.
        rougher: A pool with unknown calibration of the rewards, which showed that there is none;
            None for such a pool.
    """

    name = "pooled refinement"

    def __init__(
        self,
        subgroup: Subgroup,
        unknowns: Tensor,
        estimator: DifferentialEstimator,
        num_steps: int,
        rougher: Pool | None = None,
    ) -> None:
        self.subgroup, self.unknowns, self.estimator = subgroup, unknowns, estimator
        self.num_steps, self.rougher = num_steps, rougher
        self._converged, self._fine = False, False

    def _step(self, data: Data, ranks: Ranks) -> Tensor:
        if self.taken == 1:
            self.model = self._start(data, ranks)
        points, rewards = data.following, data.reward
        # Every process must come to the same number, or some would wait for ever.
        every = int(ranks.sum(torch.ones_like(rewards).sum())) // _POOL_BUDGET
        self._fine = every <= 1 or self._converged or self.taken >= self.num_steps - 1
        if not self._fine:
            points, rewards = points[:, ::every], rewards[:, ::every]
        spread = self.model.step(points, rewards, ranks)
        self._converged = bool(self.model.moved < _CONVERGED_MOVE)
        return spread

    @property
    def done(self) -> bool:
        """Whether the last step moved next to nothing, or the steps are used up."""
        if super().done or self.taken == 0:
            return super().done
        # A first pool only leads to the second one, unless rewards are not comparable.
        leads = bool(self.model.moved < 10 * _CONVERGED_MOVE) and self.comparable
        return leads or (self._fine and self._converged)

    def _start(self, data: Data, ranks: Ranks) -> PooledModel:
        noise = self.estimator.noise.clamp_min(_MISFIT)
        if self.rougher is not None:
            return PooledModel(self.subgroup, self.unknowns, noise, like=self.rougher.model)
        few, rewards = thin(data.following, _CALIBRATION), thin(data.reward, _CALIBRATION)
        points = homogeneous(few, self.subgroup.group.dim_matrix)
        inverse = torch.linalg.inv(self.subgroup.elements(self.unknowns))
        carried = (inverse @ points.mT).mT[..., : few.shape[-1]]
        base = self.estimator.jet(
            carried.flatten(0, 1)[None], torch.zeros_like(inverse[:1, 0, 0]).long()
        )
        base = Jet(*(field[0].unflatten(0, carried.shape[:2]) for field in base))
        calibration = calibrate(base, rewards, noise, ranks)
        return PooledModel(self.subgroup, self.unknowns, noise, calibration)

    @property
    def accepted(self) -> bool:
        """Whether one model explains all tasks about as well as their own models do."""
        return bool(self.model.spread < _AS_GOOD_AS_OWN)

    @property
    def comparable(self) -> bool:
        """Whether the rewards seem equally scaled, so that the calibration may be left out."""
        return self.rougher is None and bool(self.model.calibration_test() < _COMPARABLE)


class Equivariance(Phase):
    """The quadratic form of the dynamics' equivariance residual."""

    name = "equivariance of the dynamics"
    num_steps = 1

    def __init__(self, dynamics: FourierRegression, size: int) -> None:
        self.dynamics, self.size = dynamics, size

    def _step(self, data: Data, ranks: Ranks) -> Tensor:
        form = dynamics_form(self.dynamics, data, self.size)
        self.form = EquivarianceForm(*(ranks.sum(term) for term in form))
        return self.form.gram.new_zeros(())


def dynamics_form(dynamics: FourierRegression, data: Data, size: int) -> EquivarianceForm:
    """The form of fitted dynamics at states and actions of a batch."""
    few = max(100, _DYNAMICS_BUDGET // len(data.state))
    state, action = thin(data.state, few).flatten(0, 1), thin(data.action, few).flatten(0, 1)
    step, jacobian = dynamics.predict(torch.cat((state, action), -1)[None])
    slope, n = jacobian[0], state.shape[-1]
    slope = torch.cat((slope[..., :n] + torch.eye(n).to(slope), slope[..., n:]), -1)
    return equivariance_form(state, action, state + step[0], slope, size)


def starts_of(group: LieGroup, root: Tensor, num: int, seed: int) -> Tensor:
    """Starts for :class:`AlignStarts`, equal on all ranks."""
    return draw_starts(group, root, num, torch.Generator().manual_seed(seed)).detach()


def thin(points: Tensor, num: int) -> Tensor:
    """At most about `num` points of every task, evenly spaced in time, ``(N, K, n)``."""
    return points[:, :: max(1, points.shape[1] // num)]
