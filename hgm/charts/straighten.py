"""Learning a chart from transitions alone, and whether it may be believed."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from scipy.stats import t as student
from torch import Tensor, nn

from hgm.charts.base import Chart
from hgm.charts.identity import Identity
from hgm.charts.likelihood import (
    Moves,
    action_features,
    fit_linear,
    gaussian,
    surprise,
)
from hgm.dynamics import FourierDynamics

_MOST = 16384  # transitions that a chart is learned from, evenly chosen over tasks and time
_STRETCH, _EVERY = 50, 4  # transitions of a stretch of time; every fourth stretch is held out
_STEPS, _MORE_STEPS = 80, 40  # quasi-Newton steps; more of them once all transitions count
_PRIOR = 2.0  # inverse variance of a parameter, a priori, over two: charts are smooth
_LEVEL = 0.99


class Straightened(NamedTuple):
    """A chart, and why it may be believed.

    Attributes:
        chart: The chart; None where held-out transitions are not likelier in it than without.
        gain: By how many nats held-out transitions get likelier than if the dynamics of the states
            themselves were linear.
        low: Lower end of its 99% interval.
        high: Upper end.
        over_free: The same by how many nats, compared with any dynamics of these states.
        part: The chart as learned from three quarters of the transitions alone.
    """

    chart: Chart | None
    gain: float
    low: float
    high: float
    over_free: float
    part: Chart | None = None

    def record(self) -> dict[str, Any]:
        """Plain numbers."""
        ends = (self.low, self.high)
        return {
            "accepted": self.chart is not None,
            "gain": self.gain,
            "interval": [end if math.isfinite(end) else None for end in ends],
            "gain_over_free": self.over_free,
        }


class Parted(NamedTuple):
    """Transitions of all tasks on one list, and the stretch of time of each."""

    moves: Moves
    stretch: Tensor

    @property
    def held(self) -> Tensor:
        """Which are held out, ``(B,)`` bool."""
        return self.stretch % _EVERY == _EVERY - 1


def parted(state: Tensor, action: Tensor, next_state: Tensor) -> Parted:
    """Transitions ``(N, B, .)``, thinned out evenly if they are too many."""
    num, length = state.shape[:2]
    size = max(1, min(_STRETCH, length // (2 * _EVERY)))
    stretch = torch.arange(length).div(size, rounding_mode="floor")
    # Stretches are told apart over tasks; which of them are held out differs between tasks.
    per_task = _EVERY * math.ceil((int(stretch.max()) + 1) / _EVERY)
    stretch = (
        stretch + per_task * torch.arange(num)[:, None] + torch.arange(num)[:, None]
    ).flatten()
    every = max(1, math.ceil(num * length / _MOST))
    flat = (part.flatten(0, 1)[::every] for part in (state, action, next_state))
    one, two, three = flat
    return Parted(Moves(one, action_features(two), three), stretch[::every].to(state.device))


def straighten(chart: Chart, state: Tensor, action: Tensor, next_state: Tensor) -> Straightened:
    """Learns a copy of a chart in which the dynamics are linear.

    It is learned from three quarters of the transitions, judged on the others, and if it may be
    believed, learned from all. It may where linear dynamics in it make held-out transitions
    likelier for sure than linear dynamics of the states do, and likelier than any dynamics of the
    states: a chart that only comes nearer to linear dynamics, where there are none, is of no use.

    Args:
        chart: Where it starts from.
        state: States, ``(N, B, n)``.
        action: Actions, ``(N, B, m)``.
        next_state: Next states, ``(N, B, n)``.
    """
    whole = parted(state, action, next_state)
    moves, held = whole.moves, whole.held
    chart = copy.deepcopy(chart).to(moves.state)
    chart.set_scale(moves.state)
    learn(chart, lambda: fit_linear(chart, moves.at(~held))[1], int((~held).sum()))
    with torch.no_grad():
        own = judged(chart, whole)
        bare = judged(Identity(chart.dim_space).to(moves.state), whole)
        found = interval(bare - own, whole.stretch[held])
        over_free = float((_free(whole, action.flatten(0, 1)) - own).mean())
    if not (found[1] > 0 and over_free > 0):
        return Straightened(None, *found, over_free)
    part = copy.deepcopy(chart).requires_grad_(False)
    learn(chart, lambda: fit_linear(chart, moves)[1], len(held), _MORE_STEPS)
    for one in (part, chart):
        one.settle(moves.state)
    return Straightened(chart.requires_grad_(False), *found, over_free, part)


def judged(chart: Chart, whole: Parted) -> Tensor:
    """Surprise of held-out transitions, by linear dynamics that the others tell."""
    linear, _ = fit_linear(chart, whole.moves.at(~whole.held))
    return surprise(chart, linear, whole.moves.at(whole.held))


def learn(module: nn.Module, loss: Callable[[], Tensor], num: int, steps: int = _STEPS) -> None:
    """Quasi-Newton steps on a mean over `num` transitions, with a Gaussian prior of parameters."""
    unknowns = [part.requires_grad_(True) for part in module.parameters()]
    solver = torch.optim.LBFGS(
        unknowns, 1.0, steps, history_size=30, tolerance_change=1e-8, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        solver.zero_grad()
        total = loss() + _PRIOR / num * sum(part.square().sum() for part in unknowns)
        total.backward()
        return total

    with torch.enable_grad():
        solver.step(closure)


def interval(gain: Tensor, stretch: Tensor) -> tuple[float, float, float]:
    """Mean of ``(H,)`` and its 99% interval over stretches ``(H,)``."""
    _, index, count = stretch.unique(return_inverse=True, return_counts=True)
    means = torch.zeros(len(count)).to(gain).index_add(0, index, gain) / count
    mean, num = float(gain.mean()), len(means)
    if num < 2:
        return mean, -math.inf, math.inf
    reach = float(student.ppf((1 + _LEVEL) / 2, num - 1)) * float(means.std()) / math.sqrt(num)
    return mean, mean - reach, mean + reach


def _free(whole: Parted, action: Tensor) -> Tensor:
    """Surprise of held-out transitions by dynamics that are any function of states and actions."""
    moves, held = whole.moves, whole.held
    every = max(1, round(len(action) / len(held)))
    inputs = torch.cat((moves.state, action[::every]), -1)
    change, half = moves.next_state - moves.state, (whole.stretch // _EVERY + whole.stretch) % 2
    n = moves.state.shape[-1]
    model = FourierDynamics(n, action.shape[-1])
    seen = ~held
    model.fit(inputs[seen], change[seen], half[seen])
    left = model.left(inputs[seen], change[seen], half[seen])
    miss = change[held] - model.values(inputs[held]).mean(0)
    return gaussian(miss, left.mT @ left / len(left))
