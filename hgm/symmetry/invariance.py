"""Symmetries of the dynamics in closed form: the equivariance residual is linear in a generator."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from hgm import lie
from hgm.dynamics import DynamicsModel, Prediction
from hgm.symmetry.support import leaving


class EquivarianceForm(NamedTuple):
    r"""Quadratic forms in the entries of ``(W_S, W_A)``, ``(n k + m m)`` of them, state first.

    With rows ``E_1``, ``E_2`` of the twins of the dynamics, per transition and in units of the
    displacements' standard deviations:

    Attributes:
        cross: :math:`E_1^T E_2`; its symmetric part is :math:`|E(W)|^2` without the bias of noise,
            its antisymmetric part is noise alone.
        noise: :math:`(E_1 - E_2)^T (E_1 - E_2) / 2`, the mean square of either twin's noise.
        dim_state: State dimension ``n``.
        size: Matrix size ``k`` of the state generators.
    """

    cross: Tensor
    noise: Tensor
    dim_state: int
    size: int

    @property
    def gram(self) -> Tensor:
        """The form itself, symmetric."""
        return (self.cross + self.cross.mT) / 2


def equivariance_rows(
    state: Tensor, action: Tensor, change: Tensor, jacobian: Tensor, size: int
) -> Tensor:
    r"""Rows of the equivariance residual, docs/method.md eq. 2.

    .. math:: E(W) = \partial_s f\, W_S s + \partial_a f\, W_A a - W_S f(s, a),
              \qquad f(s, a) = T(s, a) - s.

    It vanishes for a symmetry of the dynamics ``T``, and is linear in the entries of ``W``.

    Args:
        state: States, ``(B, n)``.
        action: Actions, ``(B, m)``.
        change: Displacements ``f``, ``(..., B, n)``.
        jacobian: ``df / d(s, a)``, ``(..., B, n, n + m)``.
        size: Matrix size ``k`` of ``W_S``: `n`, or `n + 1` in homogeneous coordinates.

    Returns:
        Shape ``(..., B, n, n k + m m)``.
    """
    n = state.shape[-1]
    here = lie.homogeneous(state, size)
    # A displacement has no place: a translation does not move it.
    moved = torch.nn.functional.pad(change, (0, size - n))
    of_state = jacobian[..., :n, None] * here[:, None, None, :]
    eye = torch.eye(n).to(state)
    of_state = of_state - eye[:, :, None] * moved[..., None, None, :]
    of_action = jacobian[..., n:, None] * action[:, None, None, :]
    return torch.cat((of_state.flatten(-2), of_action.flatten(-2)), -1)


def equivariance_form(
    dynamics: DynamicsModel, state: Tensor, action: Tensor, size: int
) -> EquivarianceForm:
    """The form of fitted dynamics, a mean over states ``(B, n)`` and actions ``(B, m)``.

    What carries states off the quadrics that they are on counts as broken, at the rate at which it
    does: models may say anything of it.
    Squares count by the inverse variance of the noise, where that is not the same everywhere.
    """
    n, m = state.shape[-1], action.shape[-1]
    width = n * size + m * m
    cross, noise = (state.new_zeros(width, width) for _ in range(2))
    total = state.new_zeros(())
    inputs = torch.cat((state, action), -1)
    piece = max(1, _BUDGET // (width * n))
    for some in torch.arange(len(inputs), device=inputs.device).split(piece):
        found = Prediction(*dynamics.predict(inputs[some]))
        rows = equivariance_rows(state[some], action[some], *found, size)
        weights = dynamics.precision(inputs[some])
        one, two = (rows * (weights.sqrt() / dynamics.scale)[..., None]).flatten(1, 2)
        total += n * dynamics.trust(inputs[some]).sum()
        cross += one.mT @ two
        noise += (one - two).mT @ (one - two) / 2
    cross, noise = (form / total for form in (cross, noise))
    cross[: n * size, : n * size] += leaving(state, size)
    return EquivarianceForm(cross, noise, n, size)


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


FORM_POINTS = 2400
"""Transitions that the form of a search is a mean over."""

_BUDGET = 1 << 25
"""Numbers of a piece of rows."""
