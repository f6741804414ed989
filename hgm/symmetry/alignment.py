"""Left actions from reward differentials: many starts first, then all pairs of tasks at once."""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import jacfwd, vmap

from hgm.differentials.base import DifferentialEstimator
from hgm.groups import LieGroup
from hgm.numerics.fourier import Jet
from hgm.numerics.gauss_newton import Objective, Terms
from hgm.symmetry.losses import InvarianceLoss

SPREAD_OF_IGNORANCE = 1.0
"""Variance of a direction of which nothing is known; beyond it a point counts as not covered."""


def homogeneous(points: Tensor, size: int) -> Tensor:
    """Points ``(..., n)`` as ``(..., k)``: with a last component 1 where ``k = n + 1``."""
    if points.shape[-1] == size:
        return points
    return torch.cat((points, torch.ones_like(points[..., :1])), -1)


def draw_starts(group: LieGroup, root: Tensor, num: int, generator: torch.Generator) -> Tensor:
    r"""Coordinates of starts spread over the group, ``(num, D)``, the identity among them.

    Three in four are near-isometries of the data's covariance :math:`\Sigma`: the group that is
    looked for is compact, so it preserves some inner product, and that of the data is the best
    guess. They are :math:`\Sigma^{1/2} (\theta X + 0.1 Y) \Sigma^{-1/2}` with X skew of norm
    sqrt 2, Y random and angles :math:`\theta` spread evenly over :math:`(-\pi, \pi]`; the rest are
    small random elements, for groups that are not compact.

    Args:
        group: The group searched.
        root: Inverse square root :math:`\Sigma^{-1/2}` of the points' covariance, ``(n, n)``.
        num: Number of starts.
        generator: Source of randomness.
    """
    size, dim = group.dim_matrix, group.dim_space
    noise = torch.randn(2, num, size, size, generator=generator, dtype=root.dtype).to(root)
    skew = torch.zeros_like(noise[0])
    skew[:, :dim, :dim] = (noise[0] - noise[0].mT)[:, :dim, :dim]
    skew = skew * (math.sqrt(2) / skew.norm(dim=(-2, -1), keepdim=True).clamp_min(1e-12))
    angles = torch.linspace(-1, 1, num + 1, dtype=root.dtype, device=root.device)[1:] * math.pi
    white = torch.eye(size).to(root)
    white[:dim, :dim] = root
    rotations = angles[:, None, None] * skew + 0.1 * noise[1]
    starts = torch.linalg.solve(white, rotations @ white)
    starts[::4] = 0.5 * noise[1][::4]
    starts[0] = 0.0
    return group.vee(starts)


def element_derivative(group: LieGroup, coords: Tensor) -> Tensor:
    """Derivatives of ``exp`` along the coordinates, ``(..., D) -> (..., D, k, k)``."""
    flat = coords.reshape(-1, coords.shape[-1])
    derivative = vmap(jacfwd(group.exp))(flat).movedim(-1, 1)
    return derivative.reshape(*coords.shape[:-1], *derivative.shape[1:])


def base_objective(
    group: LieGroup,
    estimator: DifferentialEstimator,
    loss: InvarianceLoss,
    points: Tensor,
) -> Objective:
    """Objective of left actions of tasks 1 .. N-1, each for itself and from many starts.

    Both ways: the base task's points are carried into task i, and task i's into the base task.

    Args:
        group: The group searched; unknowns are coordinates ``(N - 1, S, D)``.
        estimator: Fitted reward differentials.
        loss: One of :mod:`hgm.symmetry.losses`.
        points: Points of every task, ``(N, K, n)``.
    """
    dim = group.dim_space
    tasks = torch.arange(len(points), device=points.device)
    own = Jet(*(field[:, None] for field in estimator.rough_jet(points, tasks)))
    columns = homogeneous(points, group.dim_matrix)[:, None]

    def one_way(element: Tensor, derivative: Tensor | None, forth: bool) -> Terms:
        element = element[..., :dim, :]
        derivative = None if derivative is None else derivative[..., :dim, :]
        here = slice(0, 1) if forth else slice(1, None)
        moved = (element @ columns[here].mT).mT
        if forth:
            target = _grouped(estimator, moved, tasks[1:])
        else:
            jet = _grouped(estimator, moved.flatten(0, 1)[None], tasks[:1])
            target = Jet(*(field[0].unflatten(0, moved.shape[:2]) for field in jet))
        source = Jet(*(field[here] for field in own))
        return loss(element, derivative, columns[here], target, source)

    def objective(coords: Tensor, derive: bool) -> Terms:
        element = group.exp(coords)
        derivative = element_derivative(group, coords) if derive else None
        forth = one_way(element, derivative, True)
        back = torch.linalg.inv(element)
        if derivative is not None:
            derivative = -back[..., None, :, :] @ derivative @ back[..., None, :, :]
        return concatenate(forth, one_way(back, derivative, False))

    return objective


def concatenate(a: Terms, b: Terms) -> Terms:
    """Observations of both, ``(..., K + K', q)``."""
    residual = torch.cat((a.residual, b.residual), -2)
    variance = torch.cat((a.variance, b.variance), -1)
    if a.jacobian is None or b.jacobian is None:
        return Terms(residual, variance, None)
    return Terms(residual, variance, torch.cat((a.jacobian, b.jacobian), -3))


def pair_objective(
    elements: Callable[[Tensor], Tensor],
    estimator: DifferentialEstimator,
    loss: InvarianceLoss,
    points: Tensor,
) -> Objective:
    r"""Objective of all left actions jointly, over all ordered pairs of tasks.

    :math:`L_i L_j^{-1}` carries task j into task i: every task's data test every element.

    Args:
        elements: Left actions ``(N, k, k)`` of unknowns ``(a,)``.
        estimator: Fitted reward differentials.
        loss: One of :mod:`hgm.symmetry.losses`.
        points: Points of every task, ``(N, K, n)``.
    """
    num, dim = points.shape[0], points.shape[-1]
    tasks = torch.arange(num, device=points.device)
    source = estimator.rough_jet(points, tasks)

    def pairs(unknowns: Tensor) -> Tensor:
        element = elements(unknowns)
        return element[:, None] @ torch.linalg.inv(element)

    def objective(unknowns: Tensor, derive: bool) -> Terms:
        element = pairs(unknowns)
        columns = homogeneous(points, element.shape[-1])
        moved = torch.einsum("tsij,skj->tski", element[..., :dim, :], columns)
        target = _grouped(estimator, moved, tasks)
        derivative = jacfwd(pairs)(unknowns).movedim(-1, 2)[..., :dim, :] if derive else None
        terms = loss(element[..., :dim, :], derivative, columns, target, source)
        flat = (None if field is None else field.flatten(0, 2) for field in terms)
        return Terms(*flat)  # type: ignore[arg-type]

    return objective


def score(terms: Terms, floor: float) -> Tensor:
    r"""Mean of :math:`\log t + \log(1 + |e|^2 / t)`: a likelihood, so ignorance costs, ``(...)``.

    Points carried out of the data have small weighted residuals; the first term makes a start that
    does so lose against one that predicts.
    """
    spread = (terms.variance + floor**2).clamp_max(SPREAD_OF_IGNORANCE)
    return torch.log(spread + terms.residual.square().sum(-1)).mean(-1)


def _grouped(estimator: DifferentialEstimator, moved: Tensor, tasks: Tensor) -> Jet:
    """Jets at points ``(T, S, K, n)``, those of row ``t`` under task ``tasks[t]``."""
    jet = estimator.rough_jet(moved.flatten(1, 2), tasks)
    return Jet(*(field.unflatten(1, moved.shape[1:3]) for field in jet))
