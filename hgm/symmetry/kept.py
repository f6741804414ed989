"""What the dynamics say of the group, before any reward is looked at."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from hgm import lie
from hgm.dynamics import DynamicsModel
from hgm.numerics.gauss_newton import GaussNewton
from hgm.numerics.ranks import ALONE
from hgm.symmetry.completion import Shadow, shadow
from hgm.symmetry.findings import Dynamics, Problem
from hgm.symmetry.finite import FiniteTransformations, near, squares
from hgm.symmetry.samples import Samples

_REACH = 0.5  # radians, of rotations; farther, models of the dynamics are biased
_GROWTH = 1.0  # most, of logarithms of lengths
_LOOSE = 0.2  # standard deviation of entries
_MISFIT = 0.05  # of a typical displacement; what misses by more, the dynamics do not share
_STEPS = 6
_CONVERGED_LOSS = 1e-6
_MOST = 300  # unknowns; more would take minutes


class Kept(NamedTuple):
    """What the dynamics say of the group's coordinates.

    Attributes:
        price: What directions cost, a quadratic form, ``(D, D)``.
        directions: An orthonormal basis of those that they keep, ``(p, D)``.
    """

    price: Tensor
    directions: Tensor


def keep(problem: Problem, dynamics: Dynamics, samples: Samples) -> Kept:
    """Directions that the dynamics keep, by their form, then by finite elements.

    Args:
        problem: What is searched.
        dynamics: The dynamics and their form.
        samples: Scaled transitions.
    """
    group, index = problem.group, problem.view.index
    form, size = shadow(dynamics.form, index), len(problem.view.units.frame)
    basis = group.generators[:, : group.dim_space].flatten(1)
    directions = form.kept(basis)
    if 0 < len(directions) < group.dim_algebra:
        state, action = (part.flatten(0, 1) for part in (samples.state, samples.action))
        entries = directions @ basis @ form.follow.mT
        entries = sharpen(dynamics.model, state, action, entries, form, size)
        rows = squares(entries, state.shape[-1], size)
        seen = lie.vee(rows[:, index[:, None], index], group.generators)
        directions = torch.linalg.qr(seen.mT).Q.mT
    return Kept(basis @ form.price @ basis.mT, directions)


def sharpen(
    dynamics: DynamicsModel,
    state: Tensor,
    action: Tensor,
    entries: Tensor,
    form: Shadow,
    size: int,
) -> Tensor:
    r"""The same span of generators, as finite elements tell it, entries ``(p, n k + m m)``.

    Jacobians tell a generator to some per cent, which far elements multiply. Values of the dynamics
    do better, :math:`T(L_g s, K_g a) = L_g T(s, a)`. Changes within the span are none, so
    unknowns are those orthogonal to it. Where there are too many, entries are left as they are.

    Args:
        dynamics: Fitted model of the dynamics.
        state: States, ``(B, n)``.
        action: Actions, ``(B, m)``.
        entries: Of the generators, ``(p, n k + m m)``.
        form: Which of them may be other than 0.
        size: Matrix size ``k``.
    """
    n, free = state.shape[-1], form.free
    norm = torch.linalg.cholesky(entries @ entries.mT / 2)
    start = torch.linalg.solve_triangular(norm, entries, upper=False)
    across = torch.linalg.svd(start[:, free]).Vh[len(start) :]
    if not 0 < len(start) * len(across) <= _MOST:
        return entries

    def whole(unknowns: Tensor) -> Tensor:
        change = torch.zeros_like(start)
        change[:, free] = unknowns.view(len(start), -1) @ across
        return start + change

    growth = torch.linalg.eigvals(squares(start, n, size)).real.abs().amax(-1)
    far = (_GROWTH / growth.clamp_min(1e-12)).clamp_max(_REACH)
    problem = FiniteTransformations(dynamics, state, action, whole, far, size)
    before = start.new_zeros(len(start) * len(across))
    penalty = near(before, torch.full_like(before, _LOOSE))
    solver = GaussNewton(before, _MISFIT, 1e-3, penalty)
    for _ in range(_STEPS):
        trial = solver.propose(problem(solver.unknowns, True), ALONE)
        solver.decide(problem(trial, False), ALONE)
        if bool(solver.gain < _CONVERGED_LOSS):
            break
    return whole(solver.unknowns)
