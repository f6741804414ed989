"""The phase that refines left actions by one reward model for all tasks."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from hgm import lie
from hgm.differentials.base import DifferentialEstimator
from hgm.numerics.fourier import Jet
from hgm.numerics.gauss_newton import Penalty
from hgm.numerics.ranks import Ranks
from hgm.numerics.tails import Tails
from hgm.symmetry.calibration import calibrate, start_maps
from hgm.symmetry.effort import MORE, USUAL, Effort
from hgm.symmetry.findings import Refined
from hgm.symmetry.learned_rewards import Learn
from hgm.symmetry.phases import Phase, Stage
from hgm.symmetry.pooling import PooledModel
from hgm.symmetry.samples import Seen, thin
from hgm.symmetry.snapshot import Snapshot
from hgm.symmetry.subgroup import Subgroup, deviations

if TYPE_CHECKING:
    from hgm.symmetry.within import Within

_CONVERGED_MOVE = 1e-4  # radians, for rotations; the next step would be smaller by far
_FINE_BUDGET = 32768  # of those that do: elements are known far better than anyone needs
_SETTLED = 0.9  # spread relative to that of the step before
_PACE = 3  # steps that tell how fast the spread falls, after the last choice of a length scale
_POOL_BUDGET = 4096  # points, over all tasks and processes, of pooled steps that do not decide yet
_CALIBRATION = 500  # points of every task that start the rewards' calibration
MISFIT = 1e-3
"""Standard deviations of the reward that any model may be off."""

NEGLIGIBLE = 5e-6
"""Share of the rewards' variance that one model may miss: an amplitude of 0.2%."""

_AS_GOOD_AS_OWN = 1.3  # in units of the tasks' own noise


class Pool(Phase):
    """Pooled refinement of left actions, see :class:`~hgm.symmetry.pooling.PooledModel`.

    Args:
        subgroup: The unknown left actions.
        unknowns: Where they start.
        estimator: Fitted reward models, which know the noise.
        num_steps: Most steps.
        calibration: What else is unknown: nothing (``"same"``), factors and shifts of the tasks'
            rewards (``"affine"``), or ``"increasing"`` maps of them.
        penalty: What is known of the unknowns besides.
        sees: Which coordinates of the points rewards see; None: all.
        effort: What the one model describes rewards by.
        tails: What bends long tails of what rewards see; None: nothing does.
    """

    name, tag = "pooled refinement", "pooling"

    def __init__(
        self,
        subgroup: Subgroup,
        unknowns: Tensor,
        estimator: DifferentialEstimator,
        num_steps: int,
        calibration: str = "same",
        penalty: Penalty | None = None,
        sees: Sequence[int] | None = None,
        effort: Effort = USUAL,
        tails: Tails | None = None,
    ) -> None:
        self.subgroup, self.unknowns, self.estimator = subgroup, unknowns, estimator
        self.effort, self.tails = effort, tails
        self.num_steps, self.calibration, self.penalty = num_steps, calibration, penalty
        self.sees, self._converged, self._fine = sees, False, False
        self._spreads: list[float] = []

    def step(self, samples: Seen, ranks: Ranks) -> Tensor:
        """One step of the pooled model, on some of the transitions while that will do."""
        self.taken += 1
        if self.taken == 1:
            self.model = self._start(samples, ranks)
        points, rewards = samples
        # Every process must come to the same number, or some would wait for ever.
        total = int(ranks.sum(torch.ones_like(rewards).sum()))
        every, least = (max(1, total // most) for most in (_POOL_BUDGET, _FINE_BUDGET))
        self._fine = every == 1 or self._converged or self.taken >= self.num_steps - 1
        every = least if self._fine else every
        points, rewards = points[:, ::every], rewards[:, ::every]
        before = float(self.model.spread)
        spread = self.model.step(points, rewards, ranks)
        # Robust weights settle later than the elements do, and move them a little.
        settled = bool(spread > _SETTLED * before)
        self._converged = settled and bool(self.model.moved < _CONVERGED_MOVE)
        self._spreads.append(float(spread))
        return spread

    @property
    def done(self) -> bool:
        """Whether the last step moved next to nothing, the steps are used up, or will not do."""
        return super().done or self._hopeless or (self._fine and self._converged)

    @property
    def _hopeless(self) -> bool:
        """Whether a spread that goes on falling as in the last steps is not accepted in the end."""
        if self.taken <= USUAL.choices[-1] + _PACE:
            return False
        now, before = self._spreads[-1], self._spreads[-1 - _PACE]
        fall = min(now / max(before, 1e-300), 1.0) ** ((self.num_steps - self.taken) / _PACE)
        return now * fall > _AS_GOOD_AS_OWN

    @property
    def result(self) -> PooledModel:
        """The model, as of the last step."""
        return self.model

    @property
    def accepted(self) -> bool:
        """Whether one model explains all tasks about as well as their own models do."""
        return bool(self.model.spread < _AS_GOOD_AS_OWN) and self.model.increasing

    @property
    def snapshot(self) -> Snapshot | None:
        """The refined elements."""
        return self.subgroup.snapshot(self.tag, self.model.actions, float(self.model.spread))

    def _start(self, samples: Seen, ranks: Ranks) -> PooledModel:
        noise = self.estimator.noise.clamp_min(MISFIT)
        start = partial(
            PooledModel,
            self.subgroup,
            self.unknowns,
            noise,
            penalty=self.penalty,
            sees=self.sees,
            effort=self.effort,
            tails=self.tails,
        )
        if self.calibration == "same":
            return start()
        few, rewards = thin(samples.points, _CALIBRATION), thin(samples.reward, _CALIBRATION)
        inverse = torch.linalg.inv(self.subgroup.elements(self.unknowns))
        carried = lie.act(inverse, few)
        base_task = torch.zeros(1, dtype=torch.int64, device=carried.device)
        base = self.estimator.jet(carried.flatten(0, 1)[None], base_task)
        base = Jet(*(field[0].unflatten(0, carried.shape[:2]) for field in base))
        if self.calibration == "affine":
            return start(calibration=calibrate(base, rewards, noise, ranks))
        return start(maps=start_maps(base, rewards, noise, ranks))


def sharpened(within: Within, refined: Refined) -> Stage[Refined]:
    """The same with more waves, where those that there are miss something and are not the most."""
    pool = refined.pool
    if pool is None or pool.effort is MORE or pool.misfit < NEGLIGIBLE:
        return refined
    model = yield from within.run(Sharpen(pool))
    return Refined(model.actions, _deviations(model), model)


def by_learned_features(within: Within, refined: Refined) -> Stage[Refined]:
    """Elements by learned features, where waves miss something; the reward model stays theirs."""
    pool = refined.pool
    if pool is None or pool.misfit < NEGLIGIBLE:
        return refined
    model = yield from within.run(Learn(pool))
    return Refined(model.actions, _deviations(model), pool)


def _deviations(model: PooledModel) -> Tensor:
    return deviations(model.subgroup, model.actions, model.covariance())


class Sharpen(Phase):
    """Pooled refinement with more waves, from where the other ended.

    Args:
        model: Where it ended.
    """

    name, tag = "pooled refinement, more waves", "pooling"
    num_steps = 4

    def __init__(self, model: PooledModel) -> None:
        self.before, self.model = model, model.finer()
        self._converged = False

    def step(self, samples: Seen, ranks: Ranks) -> Tensor:
        """One step on all transitions, or as many as will do."""
        self.taken += 1
        points, rewards = samples
        every = max(1, int(ranks.sum(torch.ones_like(rewards).sum())) // _FINE_BUDGET)
        spread = self.model.step(points[:, ::every], rewards[:, ::every], ranks)
        self._converged = bool(self.model.moved < _CONVERGED_MOVE)
        return spread

    @property
    def done(self) -> bool:
        """Whether the last step moved next to nothing, or the steps are used up."""
        return super().done or self._converged

    @property
    def result(self) -> PooledModel:
        """That with more waves, if it explains more, and so tells the elements better.

        At a cusp no number of waves does: there far residuals only add to its errors.
        """
        explains = self.model.increasing and self.model.residue < self.before.residue
        known = [_deviations(model).square().sum() for model in (self.model, self.before)]
        return self.model if explains and bool(known[0] < known[1]) else self.before

    @property
    def snapshot(self) -> Snapshot | None:
        """The refined elements."""
        model = self.model
        return model.subgroup.snapshot(self.tag, model.actions, float(model.spread))
