"""Left actions from reward differentials: many starts first, then all pairs of tasks at once."""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import jacfwd, vmap

from hgm import lie
from hgm.differentials.base import DifferentialEstimator
from hgm.groups import LieGroup
from hgm.numerics.fourier import Jet
from hgm.numerics.gauss_newton import Residuals, Terms
from hgm.symmetry.losses import Invariance

SPREAD_OF_IGNORANCE = 1.0
"""Variance of a direction of which nothing is known; beyond it a point counts as not covered."""

_FAR = 1.2  # standard deviations of the points
_MIXED = 2.0  # most of an element in a mixture
_SLOWEST = 0.15  # relative to the fastest plane's rate; slower ones do not turn
_MOST_REACH = 30.0  # along what neither turns, nor stretches, nor shifts, nor shears
_DIRECTIONS = 256  # that tell a form
_STILL = 0.05  # of a generator's square: what grows or moves less only turns
_AMISS = 0.1  # share of the square of a generator, below which its eigenvalues are errors


def draw_starts(group: LieGroup, root: Tensor, num: int, generator: torch.Generator) -> Tensor:
    r"""Coordinates of starts spread over the group, ``(num, D)``, the identity among them.

    Three in four are near-isometries of the data's covariance :math:`\Sigma`: the group that is
    looked for is compact, so it preserves some inner product, and that of the data is the best
    guess. They are :math:`\Sigma^{1/2} (\theta X + 0.1 Y) \Sigma^{-1/2}` with X skew of norm
    sqrt 2, Y random and angles :math:`\theta` spread evenly over :math:`(-\pi, \pi]`; the rest are
    small random elements, for groups that are not compact. Shifts are of the size of the data.

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
    starts[:, :dim, dim:] = _FAR * noise[1][:, :dim, dim:]
    starts[0] = 0.0
    return group.vee(starts)


def draw_within(
    group: LieGroup, root: Tensor, num: int, generator: torch.Generator, far: float = 1.0
) -> Tensor:
    r"""Coordinates of starts all over a group that is known, ``(S, D)``, the identity among them.

    The group need not be compact, and may have planes of several rates. Starts are spread evenly
    over a box along the axes of a form :math:`S + 1 / R^2`: they go as far as half a turn of the
    slowest plane, `R`, along what only turns; and where lengths or places change, by a factor of
    about `e`, or a deviation of the data. :math:`c^T S c` is, as nearly as a form can be, the sum
    of the squares of the real parts of the eigenvalues, of the shift, and of whitened generators
    that have next to no eigenvalues, for these shear.

    Args:
        group: The group searched.
        root: Inverse square root of the points' covariance, ``(n, n)``.
        num: Number of starts for a turn of the fastest plane; of several rates there are more.
        generator: Source of randomness.
        far: How many times as far as that lengths and places change.
    """
    dim, size = group.dim_space, group.dim_algebra
    some = torch.randn(_DIRECTIONS, size, generator=generator, dtype=torch.float64).to(root)
    some = some / some.norm(dim=-1, keepdim=True)
    linear = root @ group.hat(some)[:, :dim, :dim] @ torch.linalg.inv(root)
    values = torch.linalg.eigvals(linear)
    square = linear.square().sum((-2, -1))
    sheared = (square - values.abs().square().sum(-1) / _AMISS).clamp_min(0.0)
    products = (some[:, :, None] * some[:, None, :]).flatten(1)
    growth = values.real.square().sum(-1) + sheared
    form = (torch.linalg.pinv(products) @ growth).view(size, size)
    shifts = (root @ group.generators[:, :dim, dim:]).flatten(1)
    axes, vectors = torch.linalg.eigh(form + shifts @ shifts.mT)
    turning = vectors[:, axes < _STILL]
    if turning.shape[1]:  # shifts among them would slow them down
        own = some @ turning
        own = own / own.norm(dim=-1, keepdim=True).clamp_min(1e-12) @ turning.mT
        linear = root @ group.hat(own)[:, :dim, :dim] @ torch.linalg.inv(root)
        values = torch.linalg.eigvals(linear)
    rates = values.imag.abs()
    fastest = rates.amax(-1, keepdim=True)
    slowest = torch.where(rates > _SLOWEST * fastest, rates, fastest).amin(-1).median()
    turns = float(fastest.median() / slowest.clamp_min(1e-12))
    half_turn = math.pi / slowest.clamp_min(math.pi / _MOST_REACH)
    axes = axes / far**2
    seed = int(torch.randint(1 << 31, (), generator=generator))
    engine = torch.quasirandom.SobolEngine(size, scramble=True, seed=seed)
    count = round(num * max(1.0, min(turns, 1 / _SLOWEST)))
    box = 2 * engine.draw(count, dtype=torch.float64).to(root) - 1
    starts = (box / (axes.clamp_min(0.0) + half_turn**-2).sqrt()) @ vectors.mT
    starts[0] = 0.0
    return starts


def draw_mixtures(coords: Tensor, num: int, generator: torch.Generator) -> Tensor:
    """Combinations of two elements' coordinates ``(N - 1, D)`` each, ``(num, D)``.

    Elements share few directions: where some are right, others are found along these, though a
    start there by chance is as rare as the group has dimensions.
    """
    pairs = torch.randint(len(coords), (2, num), generator=generator)
    mix = _MIXED * (2 * torch.rand(2, num, 1, generator=generator, dtype=torch.float64) - 1)
    mix[1, ::2] = 0.0
    return (mix.to(coords) * coords[pairs]).sum(0)


def element_derivative(group: LieGroup, coords: Tensor) -> Tensor:
    """Derivatives of ``exp`` along the coordinates, ``(..., D) -> (..., D, k, k)``."""
    flat = coords.reshape(-1, coords.shape[-1])
    derivative = vmap(jacfwd(group.exp))(flat).movedim(-1, 1)
    return derivative.reshape(*coords.shape[:-1], *derivative.shape[1:])


def base_residuals(
    group: LieGroup,
    estimator: DifferentialEstimator,
    invariance: Invariance,
    points: Tensor,
) -> Residuals:
    """Residuals of left actions of tasks 1 .. N-1, each for itself and from many starts.

    Both ways: the base task's points are carried into task i, and task i's into the base task.

    Args:
        group: The group searched; unknowns are coordinates ``(N - 1, S, D)``.
        estimator: Fitted reward differentials.
        invariance: One of :mod:`hgm.symmetry.losses`.
        points: Points of every task, ``(N, K, n)``.
    """
    tasks = torch.arange(len(points), device=points.device)
    own = Jet(*(field[:, None] for field in estimator.rough_jet(points, tasks)))
    base, others = (Jet(*(field[part] for field in own)) for part in (slice(1), slice(1, None)))

    def residuals(coords: Tensor, derive: bool) -> Terms:
        away = group.exp(coords)
        back = torch.linalg.inv(away)
        change = element_derivative(group, coords) if derive else None
        undone = None if change is None else -back[..., None, :, :] @ change @ back[..., None, :, :]
        there = _grouped(estimator, lie.act(away, points[:1, None]), tasks[1:])
        moved = lie.act(back, points[1:, None])
        home = _grouped(estimator, moved.flatten(0, 1)[None], tasks[:1])
        home = Jet(*(field[0].unflatten(0, moved.shape[:2]) for field in home))
        return concatenate(
            invariance(away, change, points[:1, None], there, base),
            invariance(back, undone, points[1:, None], home, others),
        )

    return residuals


def residuals_among(
    group: LieGroup,
    estimator: DifferentialEstimator,
    invariance: Invariance,
    points: Tensor,
    known: Tensor,
) -> Residuals:
    """Residuals of left actions as those of :func:`base_residuals`, against all other tasks.

    Points of every other task are carried by its own element, as far as that is known.

    Args:
        group: The group searched; unknowns are coordinates ``(N - 1, S, D)``.
        estimator: Fitted reward differentials.
        invariance: One of :mod:`hgm.symmetry.losses`.
        points: Points of every task, ``(N, K, n)``.
        known: Elements of all tasks, ``(N, k, k)``.
    """
    num, each = points.shape[:2]
    tasks = torch.arange(num, device=points.device)
    source = estimator.rough_jet(points, tasks)
    back = torch.linalg.inv(known)
    own = tasks[1:, None, None, None] == tasks[:, None]

    def residuals(coords: Tensor, derive: bool) -> Terms:
        element = group.exp(coords)[:, :, None] @ back
        change = None
        if derive:
            change = element_derivative(group, coords)[:, :, None] @ back[:, None]
        moved = lie.act(element, points)
        jet = _grouped(estimator, moved.flatten(2, 3), tasks[1:])
        target = Jet(*(field.unflatten(2, (num, each)) for field in jet))
        residual, variance, jacobian = invariance(element, change, points, target, source)
        residual = residual.masked_fill(own[..., None], 0.0).flatten(2, 3)
        variance = variance.masked_fill(own, torch.inf).flatten(2, 3)
        return Terms(residual, variance, None if jacobian is None else jacobian.flatten(2, 3))

    return residuals


def concatenate(a: Terms, b: Terms) -> Terms:
    """Observations of both, ``(..., K + K', q)``."""
    residual = torch.cat((a.residual, b.residual), -2)
    variance = torch.cat((a.variance, b.variance), -1)
    if a.jacobian is None or b.jacobian is None:
        return Terms(residual, variance, None)
    return Terms(residual, variance, torch.cat((a.jacobian, b.jacobian), -3))


def pair_residuals(
    elements: Callable[[Tensor], Tensor],
    estimator: DifferentialEstimator,
    invariance: Invariance,
    points: Tensor,
) -> Residuals:
    r"""Residuals of all left actions jointly, over all ordered pairs of tasks.

    :math:`L_i L_j^{-1}` carries task j into task i: every task's data test every element.

    Args:
        elements: Left actions ``(N, k, k)`` of unknowns ``(a,)``.
        estimator: Fitted reward differentials.
        invariance: One of :mod:`hgm.symmetry.losses`.
        points: Points of every task, ``(N, K, n)``.
    """
    tasks = torch.arange(len(points), device=points.device)
    source = estimator.rough_jet(points, tasks)

    def pairs(unknowns: Tensor) -> Tensor:
        element = elements(unknowns)
        return element[:, None] @ torch.linalg.inv(element)

    def residuals(unknowns: Tensor, derive: bool) -> Terms:
        element = pairs(unknowns)
        target = _grouped(estimator, lie.act(element, points), tasks)
        derivative = jacfwd(pairs)(unknowns).movedim(-1, 2) if derive else None
        terms = invariance(element, derivative, points, target, source)
        flat = (None if field is None else field.flatten(0, 2) for field in terms)
        return Terms(*flat)  # type: ignore[arg-type]

    return residuals


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
