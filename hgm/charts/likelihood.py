r"""How likely displacements are, if they are as simple as they can be in a chart.

In a chart `psi` that straightens the dynamics, a next state is linear in the state and some
function of the action, up to noise that is the same everywhere:

.. math:: \psi(s') = A \psi(s) + b(a) + \xi, \qquad \xi \sim N(0, \Sigma).

As a density of the states that were seen, with the determinant of the chart's Jacobian,

.. math:: \log p(s' \mid s, a)
          = \log N(\psi(s'); A \psi(s) + b(a), \Sigma) + \log |\det \psi'(s')|,

it cannot be raised by making coordinates small, and it knows no units: charts that differ by an
affine map are equally likely. `A`, `b` (waves of the action) and `Sigma` have closed forms.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from hgm.charts.base import Chart
from hgm.numerics.fourier import features

_NUM_WAVES = 64
_RIDGE = 1e-8  # of the mean square of every regressor


class Moves(NamedTuple):
    """Transitions: states ``(B, n)``, functions of their actions ``(B, K)``, next states."""

    state: Tensor
    action: Tensor
    next_state: Tensor

    def at(self, index: Tensor) -> Moves:
        """Some of them."""
        return Moves(*(part[index] for part in self))


class Linear(NamedTuple):
    """Regression of coordinates reached on those before and the action, ``(n + K, n)``, and noise.

    Attributes:
        weights: `A` and `b`.
        covariance: `Sigma`, ``(n, n)``.
    """

    weights: Tensor
    covariance: Tensor


def action_features(action: Tensor) -> Tensor:
    """Waves, a linear part and a constant of actions in their units, ``(B, m) -> (B, K)``."""
    spread = action.std(0)
    scaled = action / torch.where(spread > 0, spread, 1.0)
    random = torch.Generator().manual_seed(0)
    frequencies = torch.randn(_NUM_WAVES, action.shape[1], generator=random, dtype=torch.float64)
    phases = 2 * math.pi * torch.rand(_NUM_WAVES, generator=random, dtype=torch.float64)
    return features(scaled, frequencies.to(action), phases.to(action))


def fit_linear(chart: Chart, moves: Moves) -> tuple[Linear, Tensor]:
    """The likeliest linear dynamics in a chart, and minus their mean log-likelihood.

    The latter, up to a constant, may be differentiated: at the optimum, the weights' own
    derivatives do not count.
    """
    reached, slope = chart(moves.next_state), chart.log_slope(moves.next_state)
    given = torch.cat((chart(moves.state), moves.action), -1)
    with torch.no_grad():
        gram = given.mT @ given
        ridge = torch.diag(_RIDGE * gram.diagonal())
        weights = torch.linalg.solve(gram + ridge, given.mT @ reached)
    left = reached - given @ weights
    covariance = left.mT @ left / len(left)
    return Linear(weights, covariance), covariance.logdet() / 2 - slope.mean()


def surprise(chart: Chart, linear: Linear, moves: Moves) -> Tensor:
    """Minus the log-likelihood of every transition, up to a constant, ``(B,)``."""
    given = torch.cat((chart(moves.state), moves.action), -1)
    left = chart(moves.next_state) - given @ linear.weights
    return gaussian(left, linear.covariance) - chart.log_slope(moves.next_state)


def gaussian(left: Tensor, covariance: Tensor) -> Tensor:
    """Minus the log of a normal density of residuals ``(B, n)``, up to a constant, ``(B,)``."""
    square = (left @ torch.linalg.inv(covariance) * left).sum(-1)
    return (square - left.shape[-1] + covariance.logdet()) / 2
