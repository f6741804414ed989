"""What it means that a left action carries one task into another: residuals and derivatives."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from hgm import lie
from hgm.numerics.fourier import Jet
from hgm.numerics.gauss_newton import Terms

Invariance = Callable[[Tensor, Tensor | None, Tensor, Jet, Jet], Terms]
"""See :func:`differential_invariance`, whose signature all of them share."""

_TINY = 1e-12


def differential_invariance(
    element: Tensor, derivative: Tensor | None, points: Tensor, target: Jet, source: Jet
) -> Terms:
    r"""Misalignment of the pulled-back gradient with the source's own, docs/method.md eq. 3.

    .. math:: e = \frac{v}{|v|} - \frac{\nabla r_j(p)}{|\nabla r_j(p)|},
              \qquad v = L^T \nabla r_i(L p), \qquad |e|^2 / 2 = 1 - \cos(v, \nabla r_j(p)).

    It is oriented: it vanishes for parallel gradients and is largest for opposite ones, so the
    element half a turn away is no second minimum. Increasing transforms of any task's reward leave
    it unchanged. Its derivative along :math:`dL` is that of ``v``,
    :math:`dL^T \nabla r_i + L^T H_i\, dL\, p`, across ``v`` and relative to ``|v|``.

    Args:
        element: The ``L``, shape ``(..., k, k)`` with ``k = n``, or ``n + 1`` in homogeneous
            coordinates.
        derivative: ``dL`` along `a` unknowns, ``(..., a, k, k)``, or None.
        points: Points ``p`` of the source task, ``(..., K, n)``.
        target: Jet of the target's reward ``r_i`` at ``L p``, fields ``(..., K)`` and so on.
        source: Jet of the source's reward ``r_j`` at ``p``.

    Returns:
        Residuals of dimension ``n``, dimensionless; the variance is that of the directions.
    """
    dim = points.shape[-1]
    linear = element[..., :dim, :dim]
    pulled = target.gradient @ linear
    norm = pulled.norm(dim=-1, keepdim=True).clamp_min(_TINY)
    unit = pulled / norm
    own = source.gradient.norm(dim=-1, keepdim=True).clamp_min(_TINY)
    residual = unit - source.gradient / own
    variance = target.gradient_variance / target.gradient.square().sum(-1).clamp_min(_TINY**2)
    variance = variance + source.gradient_variance / own[..., 0].square()
    if derivative is None:
        return Terms(residual, variance, None)
    turned = torch.einsum("...aij,...ki->...kaj", derivative[..., :dim, :dim], target.gradient)
    change = turned + lie.field(derivative, points) @ (target.hessian @ linear[..., None, :, :])
    change = change - unit[..., None, :] * (change * unit[..., None, :]).sum(-1, keepdim=True)
    return Terms(residual, variance, change / norm[..., None])


def functional_invariance(
    element: Tensor, derivative: Tensor | None, points: Tensor, target: Jet, source: Jet
) -> Terms:
    r"""Difference of values, :math:`e = r_i(L p) - r_j(p)`, docs/method.md eq. 4.

    The counterpart that differential invariance is compared with. It sees rescaled rewards as
    broken symmetry. Arguments and result as :func:`differential_invariance`, with residuals of
    dimension 1 in units of the rewards.
    """
    residual = (target.value - source.value)[..., None]
    variance = target.value_variance + source.value_variance
    if derivative is None:
        return Terms(residual, variance, None)
    change = (lie.field(derivative, points) @ target.gradient[..., None])[..., 0]
    return Terms(residual, variance, change[..., None])


def relative_invariance(
    element: Tensor, derivative: Tensor | None, points: Tensor, target: Jet, source: Jet
) -> Terms:
    """As :func:`functional_invariance`, in standard deviations of the source's rewards."""
    scale = source.value.std(-1, keepdim=True).clamp_min(_TINY)
    terms = functional_invariance(element, derivative, points, target, source)
    along = None if terms.jacobian is None else terms.jacobian / scale[..., None, None]
    return Terms(terms.residual / scale[..., None], terms.variance / scale.square(), along)


INVARIANCES: dict[str, Invariance] = {
    "differential": differential_invariance,
    "functional": functional_invariance,
}
"""Choices of ``model.loss``."""


def expected_loss(dim_residual: int) -> float:
    r"""Robust loss of residuals as large as predicted, :math:`E \log(1 + \chi^2_q)`, to 7%."""
    return math.log1p(0.75 * dim_residual)
