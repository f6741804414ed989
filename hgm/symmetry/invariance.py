"""Symmetries of the dynamics in closed form: the equivariance residual is linear in a generator."""

from typing import NamedTuple

import torch
from torch import Tensor

from hgm import lie


class EquivarianceForm(NamedTuple):
    r"""The quadratic form :math:`\sum |E(W)|^2` in the entries of ``(W_S, W_A)``.

    Attributes:
        gram: Of the rows ``E``, ``(n k + m m, n k + m m)``, the state's entries first.
        motion: Of the rows :math:`W_S (T - s)` alone, ``(n k, n k)``: what there is to explain.
    """

    gram: Tensor
    motion: Tensor


def equivariance_form(
    state: Tensor, action: Tensor, next_state: Tensor, jacobian: Tensor, size: int
) -> EquivarianceForm:
    r"""Sums over transitions of the equivariance residual, docs/method.md eq. 2.

    .. math:: E(W) = \partial_s T\, W_S s + \partial_a T\, W_A a - W_S T(s, a)

    It vanishes for a symmetry of the dynamics ``T``. Sums over data, hence over processes.

    Args:
        state: States, ``(B, n)``.
        action: Actions, ``(B, m)``.
        next_state: ``T(s, a)``, ``(B, n)``.
        jacobian: ``dT / d(s, a)``, ``(B, n, n + m)``.
        size: Matrix size ``k`` of ``W_S``: `n`, or `n + 1` in homogeneous coordinates.
    """
    n = state.shape[-1]
    here, there = lie.homogeneous(state, size), lie.homogeneous(next_state, size)
    eye = torch.eye(n).to(state)
    rows_state = torch.einsum("bij,bk->bijk", jacobian[..., :n], here)
    rows_state = (rows_state - torch.einsum("ij,bk->bijk", eye, there)).flatten(-2)
    rows_action = torch.einsum("bij,bk->bijk", jacobian[..., n:], action).flatten(-2)
    rows = torch.cat((rows_state, rows_action), -1).flatten(0, 1)
    moved = torch.einsum("ij,bk->bijk", eye, there - here).flatten(-2).flatten(0, 1)
    return EquivarianceForm(rows.mT @ rows, moved.mT @ moved)


def action_generators(form: EquivarianceForm, generators: Tensor) -> tuple[Tensor, Tensor]:
    r"""The ``W_A`` that best go with given ``W_S``, and how much motion stays unexplained.

    :math:`W_A = \arg\min |E(W_S, W_A)|^2`, a linear solve.

    Args:
        form: From :func:`equivariance_form`.
        generators: State generators, ``(d, k, k)``.

    Returns:
        Action generators ``(d, m, m)``, and :math:`\sum_j |E_j|^2 / \sum_j |W_j (T - s)|^2`, 0 for
        a symmetry of the dynamics and about 1 for a map that has nothing to do with them.
    """
    num = len(form.motion)
    k = generators.shape[-1]
    columns = generators[:, : num // k].flatten(1).mT
    cross, square = form.gram[num:, :num], form.gram[num:, num:]
    solution = -torch.linalg.pinv(square, hermitian=True) @ cross @ columns
    both = torch.cat((columns, solution))
    residual = (both * (form.gram @ both)).sum()
    motion = (columns * (form.motion @ columns)).sum()
    m = round(len(square) ** 0.5)
    return solution.mT.unflatten(-1, (m, m)), (residual / motion.clamp_min(1e-300)).clamp_min(0.0)


def affine_fields(points: Tensor, gradients: Tensor) -> tuple[Tensor, Tensor]:
    r"""Affine vector fields along which a function is constant, by their singular values.

    The field :math:`p \mapsto W p + b` leaves `r` invariant if :math:`\nabla r(p) \cdot (W p + b)`
    vanishes: a linear system in ``(W, b)`` (docs/method.md eq. 1), whose null space is the
    symmetry algebra of the one function.

    Args:
        points: Points, ``(B, n)``.
        gradients: Gradients there, ``(B, n)``.

    Returns:
        Singular values ascending, ``(n (n + 1),)``, in root mean squares of the field's rate, and
        the fields ``(W, b)``, each of norm 1, ``(n (n + 1), n, n + 1)``.
    """
    n = points.shape[-1]
    unit = gradients / gradients.norm(dim=-1, keepdim=True).clamp_min(1e-12)
    rows = torch.einsum("bi,bk->bik", unit, lie.homogeneous(points, n + 1)).flatten(-2)
    _, values, fields = torch.linalg.svd(rows, full_matrices=False)
    order = values.argsort()
    return values[order] / len(points) ** 0.5, fields[order].unflatten(-1, (n, n + 1))
