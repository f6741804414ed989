"""Pooled refinement by features that a network learns: of rewards that waves cannot follow."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from hgm.numerics.basis import Basis
from hgm.numerics.fourier import Whitening, fit_with, moments
from hgm.numerics.learned import FAR, in_halves, learn
from hgm.numerics.ranks import Ranks
from hgm.symmetry.effort import Learned
from hgm.symmetry.phases import Phase
from hgm.symmetry.pooling import PooledModel
from hgm.symmetry.samples import Seen, every_second, halves, thin
from hgm.symmetry.snapshot import Snapshot
from hgm.symmetry.subgroup import deviations

_MOST = 16384  # transitions of all tasks that are learned from
_ROUNDS, _STEPS = 2, 3  # features are learned anew once elements are better
LESS = 0.9
"""Of the square that is missed of held-out rewards: what is worth other features."""

_BUDGET = 32768
ROOM = 1 << 25
"""Numbers of the table of what points do along unknowns."""


class Learn(Phase):
    """Pooled refinement whose features are units of networks, from where another one ended.

    Two networks learn the base task's reward, each from half of all tasks' transitions. Only where
    they miss clearly less of the other half than waves do, elements are refined by them.

    Args:
        model: Where the other ended.
        missed: Mean square that is to be missed less of, of tasks that networks are not told of;
            None: what the model's waves miss, of times.
    """

    name, tag = "pooled refinement, learned features", "pooling"
    num_steps = _ROUNDS * (1 + _STEPS)

    def __init__(self, model: PooledModel, missed: float | None = None) -> None:
        self.before = self.model = model
        self._missed, self._gains = missed, True
        self._by_task = missed is not None

    def step(self, samples: Seen, ranks: Ranks) -> Tensor:
        """Learns features, or takes one step by those that were learned."""
        points, rewards = samples
        if self.taken % (1 + _STEPS) == 0:
            self._learn(samples, ranks)
        else:
            total = int(ranks.sum(torch.ones_like(rewards).sum()))
            table = self.model.unknowns.numel() * points.shape[-1]
            every = max(1, -(-total // _BUDGET), -(-rewards.numel() * table // ROOM))
            self.model.step(points[:, ::every], rewards[:, ::every], ranks)
        self.taken += 1
        return self.model.spread

    @property
    def done(self) -> bool:
        """Whether waves do as well, or the steps are used up."""
        return super().done or not self._gains

    @property
    def result(self) -> PooledModel:
        """That with learned features, if it explains more and is more sure; else that of before."""
        if self.model is self.before or not self.model.increasing:
            return self.before
        if self._by_task:  # what was before saw less
            return self.model
        doubt, before = (_doubt(model) for model in (self.model, self.before))
        return self.model if doubt < before else self.before

    @property
    def snapshot(self) -> Snapshot | None:
        """The refined elements."""
        model = self.model
        return model.subgroup.snapshot(self.tag, model.actions, float(model.spread))

    def _learn(self, samples: Seen, ranks: Ranks) -> None:
        problem = Regression.of(self.model, samples, ranks, self.before.spread, self._by_task)
        if self._missed is None:
            self._missed = problem.missed_before()
        learned, missed = _shared(*problem.learned(), ranks)
        self._gains = missed < (LESS if self.model is self.before else 1.0) * self._missed
        if self._gains:
            self._missed = missed
            self.model = self.model.relearned(learned)


def _shared(learned: Learned, missed: float, ranks: Ranks) -> tuple[Learned, float]:
    """What all processes learned, which may differ by rounding: the mean."""

    def mean(value: Tensor) -> Tensor:
        return ranks.sum(value) / ranks.sum(torch.ones_like(value))

    basis = Basis(*(mean(part) for part in learned.basis if part is not None))
    return learned._replace(basis=basis), float(mean(learned.white.mean.new_tensor(missed)))


def _doubt(model: PooledModel) -> float:
    covariance = model.covariance()
    return float(deviations(model.subgroup, model.actions, covariance).square().sum())


class Regression(NamedTuple):
    """The base task's reward as a regression, of two halves of the transitions, ``(2, K, ...)``.

    Attributes:
        model: Whose.
        white: How points are whitened.
        points: These.
        gain: What the reward is multiplied by.
        target: What it then is to be: in units of noise.
        usual: About what is left of it.
    """

    model: PooledModel
    white: Whitening
    points: Tensor
    gain: Tensor
    target: Tensor
    usual: Tensor

    @staticmethod
    def of(
        model: PooledModel, seen: Seen, ranks: Ranks, spread: Tensor, by_task: bool = False
    ) -> Regression:
        """Of points ``(N, B, q)`` and rewards ``(N, B)`` of every process, and a usual spread.

        Halves are stretches of time, or every second task.
        """
        most = _MOST // len(seen.reward) // int(ranks.sum(torch.ones_like(seen.reward[:1, 0])))
        points, rewards = (ranks.cat(thin(part, max(1, most)), 1) for part in seen)
        white, place, gain, target = model.regression(points, rewards)
        half = every_second(rewards.shape) if by_task else halves(rewards.shape)
        half = half.to(points.device)
        place, gain, target = in_halves(half, place, gain.expand_as(target), target)
        return Regression(model, white, place, gain, target, spread)

    def missed_before(self) -> float:
        """Mean square of what the model's features miss of the half that weights were not told."""
        table = self.model.basis.table(self.points) * self.gain[..., None]
        weights, _ = fit_with(moments(table, self.target[..., None]), self.model.ridge.expand(2))
        return self._mean(self.target - (table @ weights.flip(0))[..., 0])

    def learned(self) -> tuple[Learned, float]:
        """Features that networks learn, and the same of these networks."""
        reward, typical = self.target / self.gain, self.gain.mean()
        centre, unit = reward.mean(), reward.std().clamp_min(1e-300)
        # One network serves tasks of unlike noise: residuals count in units of that.
        usual = float(self.usual / (typical * unit))
        twins = learn(self.points, (reward - centre) / unit, self.gain / typical, usual)
        left = twins.crossed(_BUDGET)[..., 0].flip(0) * unit * self.gain
        return Learned(self.white, Basis.of(twins)), self._mean(left)

    def _mean(self, left: Tensor) -> float:
        return float(left.abs().clamp_max(FAR * self.usual).square().mean())
