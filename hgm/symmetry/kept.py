"""What the dynamics say of the group, before any reward is looked at."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.func import jacfwd

from hgm import lie
from hgm.dynamics import DynamicsModel
from hgm.numerics.gauss_newton import GaussNewton, Penalty
from hgm.numerics.ranks import ALONE
from hgm.symmetry.completion import Shadow, shadow
from hgm.symmetry.findings import Dynamics, Problem
from hgm.symmetry.finite import FiniteTransformations, finite_misses, near, squares
from hgm.symmetry.phases import Fit, root_of
from hgm.symmetry.samples import Samples

_REACH = 0.5  # radians, of rotations; farther, models of the dynamics are biased
_LOOSE = 0.2  # standard deviation of entries
_MISFIT = 0.05  # of a typical displacement; what misses by more, the dynamics do not share
_STEPS = 6
_CONVERGED_LOSS = 1e-6
_ROUNDING, _TINY = 1e-6, 1e-9
_SHORT = 0.1  # radians, elements that say nothing of directions
_TAIL = 3.0  # of the degrees of freedom: squares beyond it count for less and less
_MOST = 300  # unknowns; more would take minutes
_FEW = 1500  # transitions that tell what finite elements break
_BROKEN = 0.01  # of the square of a typical displacement


class Kept(NamedTuple):
    """What the dynamics say of the group's coordinates.

    Attributes:
        price: What directions cost, a quadratic form, ``(D, D)``.
        directions: An orthonormal basis of those that they keep, ``(p, D)``.
        precision: How surely these are they: the inverse covariance of what one of them may be off,
            across all of them, ``(D, D)``; None where it is not known.
    """

    price: Tensor
    directions: Tensor
    precision: Tensor | None = None


class Sharp(NamedTuple):
    """Generators as finite elements tell them.

    Attributes:
        entries: Their entries, ``(p, n k + m m)``.
        doubt: A root of the covariance of all entries, ``(p, n k + m m, u)``; None if not known.
    """

    entries: Tensor
    doubt: Tensor | None


def keep(problem: Problem, dynamics: Dynamics, samples: Samples) -> list[Kept]:
    """Directions that the dynamics keep, by their form, then by finite elements.

    First, where there are such, those alone that elements far along them do not break, either.

    Args:
        problem: What is searched.
        dynamics: The dynamics and their form.
        samples: Scaled transitions.
    """
    group, index = problem.group, problem.view.index
    form, size = shadow(dynamics.form, index), len(problem.view.units.frame)
    basis = group.generators[:, : group.dim_space].flatten(1)
    price = basis @ form.price @ basis.mT
    directions = form.kept(basis)
    if not 0 < len(directions) < group.dim_algebra:
        return [Kept(price, directions)]
    state, action = (part.flatten(0, 1) for part in (samples.state, samples.action))
    entries = directions @ basis @ form.follow.mT
    allowed = allowed_entries(group.generators, index, form, state.shape[-1], size)

    def seen(entries: Tensor) -> Tensor:
        rows = squares(entries, state.shape[-1], size)
        return lie.vee(rows[:, index[:, None], index], group.generators)

    def sharpened(entries: Tensor) -> Kept:
        entries, doubt = sharpen(dynamics.model, state, action, entries, allowed, size)
        directions, mix = torch.linalg.qr(seen(entries).mT)
        directions, precision = directions.mT, None
        if doubt is not None:
            # Of an orthonormal basis, as directions are.
            doubt = torch.linalg.solve(mix.mT, doubt.flatten(1)).view_as(doubt)
            off = torch.stack([seen(one.mT).mT for one in doubt])
            covariance = across(directions, (off @ off.mT).mean(0))
            precision = torch.linalg.pinv(covariance, rtol=_ROUNDING, hermitian=True)
        return Kept(price, directions, precision)

    if any(True for _ in group.parameters()):  # directions change as it is learned
        return [sharpened(entries)]
    fewer = unbroken(dynamics.model, state, action, entries, size)
    parts = [fewer, entries] if 0 < len(fewer) < len(entries) else [entries]
    return [sharpened(one) for one in parts]


def unbroken(
    dynamics: DynamicsModel, state: Tensor, action: Tensor, entries: Tensor, size: int
) -> Tensor:
    r"""Those combinations of generators, entries ``(p, n k + m m)``, that finite elements keep.

    Where Jacobians are poor, half of their noise hides much. What values of the dynamics miss
    :math:`T(L s, K a) = L T(s, a)` by, in opposite elements, is a form whose noise twins tell; a
    direction goes where it is a tenth of a typical displacement per radian, and more than noise.

    Args:
        dynamics: Fitted model of the dynamics.
        state: States, ``(B, n)``, of which some are carried.
        action: Actions, ``(B, m)``.
        entries: Of the generators.
        size: Matrix size ``k``.
    """
    entries = orthonormal(entries)
    every = max(1, -(-len(state) // _FEW))
    far = torch.full_like(entries[:, 0], _REACH)
    missed = finite_misses(dynamics, state[::every], action[::every], entries, far, size)
    one, two = missed.transpose(0, 1).flatten(2) / missed[0, 0].numel() ** 0.5
    cross, noise = one @ two.mT, (one - two) @ (one - two).mT / 2
    values, vectors = torch.linalg.eigh((cross + cross.mT) / 2)
    usual = (vectors.mT @ noise @ vectors).diagonal()
    return vectors.mT[(values < _BROKEN) | (values < usual)] @ entries


def allowed_entries(generators: Tensor, index: Tensor, form: Shadow, n: int, size: int) -> Tensor:
    """An orthonormal basis of what whole generators may have, ``(f, n k + m m)``.

    Of rows and columns `index`, what the group has, ``(D, c, c)``; of the others, all that is free.
    """
    width = len(form.free)
    whole = generators.new_zeros(len(generators), size, size)
    whole[:, index[:, None], index] = lie.orthonormalise(generators)
    seen = torch.zeros(size, size, dtype=torch.bool, device=index.device)
    seen[index[:, None], index] = True
    rest = form.free.clone()
    rest[: n * size] &= ~seen[:n].flatten()
    own = torch.nn.functional.pad(whole[:, :n].flatten(1), (0, width - n * size))
    return torch.cat((own, torch.eye(width).to(own)[rest]))


def sharpen(
    dynamics: DynamicsModel,
    state: Tensor,
    action: Tensor,
    entries: Tensor,
    allowed: Tensor,
    size: int,
) -> Sharp:
    r"""The same span of generators, as finite elements tell it, entries ``(p, n k + m m)``.

    Jacobians tell a generator to some per cent, which far elements multiply. Values of the dynamics
    do better, :math:`T(L_g s, K_g a) = L_g T(s, a)`. Changes within the span are none, so
    unknowns are those orthogonal to it. Where there are too many, entries are left as they are.

    Args:
        dynamics: Fitted model of the dynamics.
        state: States, ``(B, n)``.
        action: Actions, ``(B, m)``.
        entries: Of the generators, ``(p, n k + m m)``.
        allowed: An orthonormal basis of what they may be, ``(f, n k + m m)``.
        size: Matrix size ``k``.
    """
    start = orthonormal(entries)
    across = torch.linalg.svd(start @ allowed.mT).Vh[len(start) :] @ allowed
    if not 0 < len(start) * len(across) <= _MOST:
        return Sharp(entries, None)

    far = torch.full_like(start[:, 0], _REACH)
    problem = FiniteTransformations(dynamics, state, action, start, across, far, size)
    before = start.new_zeros(len(start) * len(across))
    penalty = near(before, torch.full_like(before, _LOOSE))
    solver = GaussNewton(before, _MISFIT, 1e-3, penalty)
    for _ in range(_STEPS):
        trial = solver.propose(problem(solver.unknowns, True), ALONE)
        solver.decide(problem(trial, False), ALONE)
        if bool(solver.gain < _CONVERGED_LOSS):
            break
    root = torch.linalg.inv(torch.linalg.cholesky(solver.normal)).mT.unflatten(0, (len(start), -1))
    return Sharp(problem.entries(solver.unknowns), across.mT @ root)


def orthonormal(entries: Tensor) -> Tensor:
    """An orthogonal basis of the same span, of norm sqrt 2, ``(p, n k + m m)``."""
    norm = torch.linalg.cholesky(entries @ entries.mT / 2)
    return torch.linalg.solve_triangular(norm, entries, upper=False)


def across(directions: Tensor, form: Tensor) -> Tensor:
    """A form ``(D, D)`` on what is orthogonal to orthonormal directions ``(p, D)``."""
    other = torch.eye(len(form)).to(form) - directions.mT @ directions
    return other @ form @ other


def held(fit: Fit, precision: Tensor, degrees: int, tails: bool = True) -> Penalty:
    """What dynamics say of the directions of elements, per radian that these go.

    With Cauchy's tails if wanted: models of the dynamics are smooth, and may be wrong all over.

    Args:
        fit: The elements.
        precision: Inverse covariance of what a direction may be off, ``(D, D)``.
        degrees: Its rank.
        tails: Whether squares beyond three times the degrees of freedom count for less and less.
    """
    subgroup, root = fit.subgroup, root_of(precision)
    size = fit.coords.norm(dim=-1, keepdim=True).clamp_min(_SHORT) * len(fit.coords) ** 0.5

    def residual(unknowns: Tensor) -> Tensor:
        off = (subgroup.coords(unknowns) / size @ root).flatten()
        if not tails:
            return off
        ratio = off.square().sum() / (_TAIL * degrees) + _TINY
        return off * (torch.log1p(ratio) / ratio).sqrt()

    return lambda unknowns: (residual(unknowns), jacfwd(residual)(unknowns))
