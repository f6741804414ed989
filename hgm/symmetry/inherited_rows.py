r"""Rows of generators that rewards do not see, of tasks that inherit dynamics of their own.

What the dynamics of all tasks together keep says nothing of them then: they follow, with what the
group does to actions, from

.. math:: s' = L_i\, T_0(L_i^{-1} s, K_i^{-1} a).
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor
from torch.func import jacfwd

from hgm import lie
from hgm.dynamics import DynamicsModel
from hgm.numerics.gauss_newton import Terms
from hgm.symmetry.inheritance import Both, flattened, inherited_terms, stepped
from hgm.symmetry.samples import Samples


def refined_rows(
    samples: Samples, coords: Tensor, start: Both, free: Tensor, model: DynamicsModel
) -> Both:
    """Generators for which given dynamics of the base task explain all tasks' next states best.

    Args:
        samples: Scaled transitions of all tasks.
        coords: Coordinates of the tasks, ``(N, d)``.
        start: Where to start.
        free: What of state generators is unknown, an orthonormal basis ``(u, k, k)``.
        model: Dynamics of the base task.
    """
    dim, width = len(start.states), len(free)

    def both(unknowns: Tensor) -> Both:
        moved, actions = unknowns.split((dim * width, start.actions.numel()))
        states = start.states + lie.hat(moved.view(dim, width), free)
        return Both(states, actions.view_as(start.actions))

    def matrices(unknowns: Tensor, sign: float) -> Both:
        return both(unknowns).elements(sign * coords)

    def slopes(unknowns: Tensor, sign: float) -> Both:
        derivatives = jacfwd(partial(matrices, sign=sign))(unknowns)
        return Both(*(part.movedim(-1, 1) for part in derivatives))

    def residuals(unknowns: Tensor, derive: bool) -> Terms:
        away, back = (matrices(unknowns, sign) for sign in (1.0, -1.0))
        moves = (slopes(unknowns, 1.0), slopes(unknowns, -1.0)) if derive else None
        return flattened(inherited_terms(samples, model, away, back, moves))

    first = torch.cat((start.states.new_zeros(dim * width), start.actions.flatten()))
    return both(stepped(first, residuals))
