r"""Rows of generators that rewards do not see, of tasks that inherit dynamics of their own.

What the dynamics of all tasks together keep says nothing of them then: they follow, with what the
group does to actions, from

.. math:: s' = L_i\, T_0(L_i^{-1} s, K_i^{-1} a).
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.func import jacfwd

from hgm import lie
from hgm.dynamics import DynamicsModel
from hgm.numerics.gauss_newton import GaussNewton, Terms
from hgm.numerics.ranks import ALONE
from hgm.symmetry.samples import Samples

_MISFIT = 0.1  # of a typical displacement
_STEPS = 2


class Both(NamedTuple):
    """Generators on states ``(d, k, k)`` and on actions ``(d, m, m)``."""

    states: Tensor
    actions: Tensor

    def elements(self, coords: Tensor) -> Both:
        """What elements of coordinates ``(N, d)`` do, ``(N, k, k)`` and ``(N, m, m)``."""
        return Both(*(lie.exp(lie.hat(coords, part)) for part in self))


def refined_rows(
    samples: Samples, coords: Tensor, start: Both, free: Tensor, model: DynamicsModel
) -> Both:
    """Generators for which given dynamics of the base task explain all tasks' next states best.

    Next states are compared where they were seen: in the base task's frame, a group that shrinks
    everything would explain them.

    Args:
        samples: Scaled transitions of all tasks.
        coords: Coordinates of the tasks, ``(N, d)``.
        start: Where to start.
        free: Which entries of state generators are unknown, ``(k, k)``.
        model: Dynamics of the base task.
    """
    given = start.states * ~free
    n, width = samples.state.shape[-1], int(free.sum())

    def both(unknowns: Tensor) -> Both:
        rows, actions = unknowns.split((len(given) * width, start.actions.numel()))
        places = torch.zeros(width, *free.shape).to(given)
        places[torch.arange(width), *free.nonzero().mT] = 1.0
        states = given + lie.hat(rows.view(len(given), width), places)
        return Both(states, actions.view_as(start.actions))

    def matrices(unknowns: Tensor, sign: float) -> Both:
        return both(unknowns).elements(sign * coords)

    def residuals(unknowns: Tensor, derive: bool) -> Terms:
        away, back = matrices(unknowns, 1.0), matrices(unknowns, -1.0)
        place, action = lie.act(back.states, samples.state), lie.act(back.actions, samples.action)
        prediction = model.predict(torch.cat((place, action), -1).flatten(0, 1))
        there = place + prediction.value.mean(0).view_as(place)
        (found, slope), (seen, _) = map(
            model.reading, (lie.act(away.states, there), samples.next_state)
        )
        residual, variance = found - seen, model.left_over.square().sum().expand(seen.shape[:2])
        if not derive:
            return Terms(residual.flatten(0, 1), variance.flatten(), None)
        slopes = prediction.jacobian.mean(0).unflatten(0, place.shape[:2])
        going, coming = (
            Both(*(part.movedim(-1, 1) for part in jacfwd(partial(matrices, sign=sign))(unknowns)))
            for sign in (1.0, -1.0)
        )
        moved = lie.field(coming.states, samples.state)
        turned = lie.field(coming.actions, samples.action)
        inner = moved + moved @ slopes[..., :n].mT + turned @ slopes[..., n:].mT
        along = inner @ away.states[:, None, :n, :n].mT + lie.field(going.states, there)
        return Terms(
            residual.flatten(0, 1),
            variance.flatten(),
            (along * slope[..., None, :]).flatten(0, 1),
        )

    first = torch.cat((start.states[:, free].flatten(), start.actions.flatten()))
    solver = GaussNewton(first, _MISFIT, damping=1e-3)
    for _ in range(_STEPS):
        trial = solver.propose(residuals(solver.unknowns, True), ALONE)
        solver.decide(residuals(trial, False), ALONE)
    return both(solver.unknowns)
