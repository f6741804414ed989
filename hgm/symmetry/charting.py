r"""A chart that rewards sharpen: learned once more, together with what was found in it.

Rewards tell far elements, and so the places that these connect: with the group's elements and one
reward, everything is learned again at once, from

.. math:: -\log p(s' \mid s, a) + \log |r_i - R(L_i^{-1} \psi(s'))|,

the dynamics as in :mod:`hgm.charts.likelihood`, `R` a regression with weights in closed form. The
dynamics stay the witness: they know nothing of rewards, so held-out transitions get likelier where
rewards have moved the chart towards the truth, and less likely where these have bent it to their
own ends.
"""

from __future__ import annotations

import copy
import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from hgm import lie
from hgm.charts import Chart
from hgm.charts.likelihood import fit_linear
from hgm.charts.straighten import Parted, Straightened, interval, judged, learn, parted
from hgm.geometry.sight import seen_point
from hgm.numerics.fourier import features
from hgm.symmetry.findings import Findings
from hgm.symmetry.samples import Samples
from hgm.symmetry.view import View

_WAVES, _RIDGE = 256, 1e-6
_SCALES = (-1.2, 0.7)  # logarithms of the waves' lengths, in deviations of the points
_MOST = 4096  # transitions whose rewards count, evenly chosen
_ROUNDS, _STEPS = 2, 30
_WEIGHT = 0.1  # of rewards: more bends the chart to what the waves can follow
_TAIL = 1e3  # of the weights of residuals, in squares of their deviation


class Sharpened(NamedTuple):
    """A chart that rewards have sharpened.

    Attributes:
        chart: The chart; None where the one of before stays.
        gain: By how many nats held-out transitions get likelier.
        low: Lower end of its 99% interval.
        high: Upper end.
        rewards: Logarithm of the factor by which held-out rewards' residuals fall.
    """

    chart: Chart | None
    gain: float
    low: float
    high: float
    rewards: float

    def record(self) -> dict[str, Any]:
        """Plain numbers."""
        ends = (self.low, self.high)
        return {
            "accepted": self.chart is not None,
            "gain": self.gain,
            "interval": [end if math.isfinite(end) else None for end in ends],
            "rewards": self.rewards,
        }


class _Tasks(NamedTuple):
    """What rewards say: the transitions of all tasks on one list.

    Attributes:
        state: States, ``(B, n)``.
        next_state: Next states, ``(B, n)``.
        reward: Rewards without what they owe to the action, ``(B,)``.
        task: Whose they are, ``(B,)``.
    """

    state: Tensor
    next_state: Tensor
    reward: Tensor
    task: Tensor


class _OneReward(nn.Module):
    """One reward of all tasks in a chart: elements are learned, weights follow.

    Every task's element is its own, whatever group was found: a chart that is off by some per cent
    may hide it.

    Args:
        findings: What was found in the chart of before.
        points: What rewards see there, ``(B, q)``.
    """

    def __init__(self, findings: Findings, points: Tensor) -> None:
        super().__init__()
        self.view = findings.problem.view
        logs = lie.hat(findings.coords, findings.seen)
        self.logs = nn.Parameter(logs[1:, : len(self.view.columns)].clone())
        self.mean, self.scale = points.mean(0), points.std(0)
        random, q = torch.Generator().manual_seed(0), points.shape[-1]
        scales = torch.linspace(*_SCALES, _WAVES, dtype=torch.float64).exp()[:, None]
        waves = torch.randn(_WAVES, q, generator=random, dtype=torch.float64) / scales
        phases = 2 * math.pi * torch.rand(_WAVES, generator=random, dtype=torch.float64)
        self.frequencies, self.phases = waves.to(points), phases.to(points)

    @property
    def elements(self) -> Tensor:
        """What carries every task into the base task, ``(N, k, k)``."""
        q = self.logs.shape[1]
        logs = self.logs.new_zeros(len(self.logs) + 1, self.logs.shape[-1], self.logs.shape[-1])
        logs[1:, :q] = self.logs
        return lie.exp(-logs)

    def table(self, chart: Chart, tasks: _Tasks) -> Tensor:
        """Features of what rewards see, carried to the base task, ``(B, M)``."""
        seen = _seen(self.view, chart, tasks)
        points = lie.act(self.elements[tasks.task], seen[:, None])[:, 0]
        return features((points - self.mean) / self.scale, self.frequencies, self.phases)

    def left(
        self, chart: Chart, fit: _Tasks, weights: Tensor, at: _Tasks | None = None
    ) -> tuple[Tensor, Tensor]:
        """What rewards miss the one that `fit` tells, weighted by ``(B,)``, at `fit` or `at`.

        And the penalty of its weights, ``()``.
        """
        table = self.table(chart, fit)
        with torch.no_grad():
            heavy = table * weights[:, None]
            gram = heavy.mT @ table
            ridge = _RIDGE * gram.diagonal().mean()
            eye = torch.eye(len(gram)).to(gram)
            solved = torch.linalg.solve(gram + ridge * eye, heavy.mT @ fit.reward)
        there, table = (fit, table) if at is None else (at, self.table(chart, at))
        return there.reward - table @ solved, ridge * solved.square().sum()


def _seen(view: View, chart: Chart, tasks: _Tasks) -> Tensor:
    """What rewards see of states in a chart, ``(B, q)``."""
    units, n = view.units, view.units.dim_state
    shift = units.frame[:n, n] if len(units.frame) > n else 0.0
    state, next_state = (
        (chart(part) - shift) @ units.into.mT for part in (tasks.state, tasks.next_state)
    )
    return seen_point(state, next_state, view.sight.source)[:, view.columns]


def sharpen(chart: Straightened, raw: Samples, findings: Findings) -> Sharpened | None:
    """Learns a chart again with the rewards; None where tasks are on several orbits.

    Args:
        chart: The chart of the dynamics.
        raw: Transitions of the states themselves.
        findings: What was found in the chart.
    """
    if chart.part is None or findings.orbits or not len(findings.seen):
        return None
    whole = parted(raw.state, raw.action, raw.next_state)
    tasks = _tasks(findings, raw, len(whole.stretch))
    better, seen = copy.deepcopy(chart.part), ~whole.held
    reward = _OneReward(findings, _seen(findings.problem.view, better, tasks))
    first = _residuals(reward, chart.part, tasks, whole)
    _learn(better, reward, whole, tasks, seen)
    with torch.no_grad():
        gained = judged(chart.part, whole) - judged(better, whole)
        found = interval(gained, whole.stretch[whole.held])
    rewards = first - _residuals(reward, better, tasks, whole)
    if not (found[2] > 0 and rewards > 0):  # the dynamics alone may not tell the two apart
        return Sharpened(None, *found, rewards)
    _learn(better, reward, whole, tasks, torch.ones_like(seen))
    better.settle(whole.moves.state)
    return Sharpened(better.requires_grad_(False), *found, rewards)


def _tasks(findings: Findings, raw: Samples, num: int) -> _Tasks:
    """The transitions that :func:`parted` leaves `num` of, with their rewards."""
    view = findings.problem.view
    terms, reward = view.sight.terms, raw.reward
    reward = reward if terms is None else reward - terms(raw.action / view.units.action)
    index = torch.arange(len(reward), device=reward.device)[:, None].expand(reward.shape)
    fields = [raw.state, raw.next_state, reward, index]
    flat = [part.flatten(0, 1) for part in fields]
    every = -(-len(flat[0]) // num)
    return _Tasks(*(part[::every] for part in flat))


def _at(tasks: _Tasks, which: Tensor) -> _Tasks:
    return _Tasks(*(part[which] for part in tasks))


@torch.no_grad()
def _residuals(reward: _OneReward, chart: Chart, tasks: _Tasks, whole: Parted) -> float:
    """Logarithm of the median size of held-out rewards' residuals."""
    fit, held = _at(tasks, ~whole.held), _at(tasks, whole.held)
    left, _ = reward.left(chart, fit, torch.ones_like(fit.reward), held)
    return float(left.abs().median().log())


def _learn(chart: Chart, reward: _OneReward, whole: Parted, tasks: _Tasks, which: Tensor) -> None:
    moves, some = whole.moves.at(which), _at(tasks, which)
    some = _at(some, torch.arange(0, len(some.reward), -(-len(some.reward) // _MOST)))
    both = nn.ModuleList((chart, reward))
    weights = torch.ones_like(some.reward)
    for _ in range(_ROUNDS):
        with torch.no_grad():
            square = reward.left(chart, some, weights)[0].square()
            weights = 1 / (1 + square / (_TAIL * square.median().clamp_min(1e-300)))
        heavy = weights

        def loss(heavy: Tensor = heavy) -> Tensor:
            left, penalty = reward.left(chart, some, heavy)
            square = (heavy * left.square()).sum() + penalty
            # Of what R misses, there are no more independent values than waves.
            share = min(1.0, _WAVES / len(some.reward)) * _WEIGHT
            return fit_linear(chart, moves)[1] + share * (square / heavy.sum()).log() / 2

        learn(both, loss, len(moves.state), _STEPS)
