r"""What tasks' next states are missed by, if dynamics are inherited.

.. math:: s' = L_i\, T_0(L_i^{-1} s, K_i^{-1} a)
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from hgm import lie
from hgm.dynamics import DynamicsModel
from hgm.numerics.gauss_newton import GaussNewton, Penalty, Residuals, Terms
from hgm.numerics.ranks import ALONE
from hgm.symmetry.finite import snap_periods
from hgm.symmetry.samples import Samples

_MISFIT = 0.1  # of a typical displacement
_STEPS = 2  # then the base task's dynamics are fitted anew


class Both(NamedTuple):
    """Generators on states ``(d, k, k)`` and on actions ``(d, m, m)``; or elements, for tasks."""

    states: Tensor
    actions: Tensor

    def elements(self, coords: Tensor) -> Both:
        """What elements of coordinates ``(N, d)`` do, ``(N, k, k)`` and ``(N, m, m)``."""
        return Both(*(lie.exp(lie.hat(coords, part)) for part in self))

    def periodic(self, turn: float) -> Both:
        """The same of one generator, exactly periodic if it is compact.

        Args:
            turn: Frequency that is known and that others are ratios to.
        """
        size = self.states.shape[-1]
        both = snap_periods(torch.block_diag(self.states[0], self.actions[0]), turn)[None]
        return Both(both[:, :size, :size], both[:, size:, size:])


def inherited_terms(
    samples: Samples,
    model: DynamicsModel,
    away: Both,
    back: Both,
    slopes: tuple[Both, Both] | None,
) -> Terms:
    """Residuals of next states ``(N, B, n)``, as readings of the model.

    Next states are compared where they were seen: in the base task's frame, a group that shrinks
    everything would explain them.

    Args:
        samples: Scaled transitions of all tasks.
        model: Dynamics of the base task.
        away: Elements of all tasks, ``(N, k, k)`` and ``(N, m, m)``.
        back: Their inverses.
        slopes: Derivatives of both by ``u`` unknowns, ``(N, u, k, k)`` and ``(N, u, m, m)``; None:
            those of residuals are not asked for.
    """
    n = samples.state.shape[-1]
    place, action = lie.act(back.states, samples.state), lie.act(back.actions, samples.action)
    prediction = model.predict(torch.cat((place, action), -1).flatten(0, 1))
    there = place + prediction.value.mean(0).view_as(place)
    found, reading = model.reading(lie.act(away.states, there))
    residual = found - model.reading(samples.next_state)[0]
    variance = model.left_over.square().sum().expand(residual.shape[:2])
    if slopes is None:
        return Terms(residual, variance, None)
    going, coming = slopes
    inside = prediction.jacobian.mean(0).unflatten(0, place.shape[:2])
    moved = lie.field(coming.states, samples.state)
    turned = lie.field(coming.actions, samples.action)
    inner = moved + moved @ inside[..., :n].mT + turned @ inside[..., n:].mT
    along = inner @ away.states[:, None, :n, :n].mT + lie.field(going.states, there)
    return Terms(residual, variance, along * reading[..., None, :])


def flattened(terms: Terms) -> Terms:
    """All tasks' terms as those of one problem."""
    residual, variance, jacobian = terms
    flat = None if jacobian is None else jacobian.flatten(0, 1)
    return Terms(residual.flatten(0, 1), variance.flatten(), flat)


def stepped(start: Tensor, residuals: Residuals, penalty: Penalty | None = None) -> Tensor:
    """Unknowns ``(a,)`` after the steps that are made for given dynamics of the base task."""
    solver = GaussNewton(start, _MISFIT, damping=1e-3, penalty=penalty)
    for _ in range(_STEPS):
        trial = solver.propose(residuals(solver.unknowns, True), ALONE)
        solver.decide(residuals(trial, False), ALONE)
    return solver.unknowns
