r"""Matrix Lie groups and algebras as pure functions on tensors.

``k`` is the matrix size, ``d`` the dimension of the algebra, ``...`` any leading batch. A basis of
an algebra, `generators`, has shape ``(d, k, k)``; coordinates in it have shape ``(..., d)``.
Everything is differentiable, in float32 and float64.
"""

import math

import numpy as np
import torch
from torch import Tensor

_MAX_NEWTON_STEPS = 100  # an eigenvalue 1e-16 off the negative axis needs about 60
_MAX_ROOTS = 64
_FAR = 50.0  # times as far as elements went: no period of theirs
_COMPACT = 0.05  # largest real part of a compact generator's eigenvalues, of the imaginary parts
_PADE_ORDER = 8
_PADE_RADIUS = 0.34  # for order 8 in float64: Higham (2008), Table 11.1


def hat(coords: Tensor, generators: Tensor) -> Tensor:
    r"""Algebra element :math:`\hat c = \sum_i c_i W_i`, ``(..., d), (d, k, k) -> (..., k, k)``."""
    return torch.einsum("...d,dij->...ij", coords, generators)


def vee(matrix: Tensor, generators: Tensor) -> Tensor:
    r"""Coordinates :math:`\arg\min_c |\hat c - M|_F`, the inverse of :func:`hat` on the span.

    Args:
        matrix: Matrices, shape ``(..., k, k)``, projected onto the span if outside it.
        generators: Linearly independent basis, shape ``(d, k, k)``; need not be orthogonal.

    Returns:
        Coordinates, shape ``(..., d)``.
    """
    return matrix.flatten(-2) @ torch.linalg.pinv(generators.flatten(-2))


def exp(matrix: Tensor) -> Tensor:
    r"""Matrix exponential :math:`\sum_j A^j / j!`, ``(..., k, k) -> (..., k, k)``."""
    return torch.linalg.matrix_exp(matrix.contiguous())  # it cannot view some transposed batches


def log(element: Tensor) -> Tensor:
    r"""Principal matrix logarithm, inverse of :func:`exp` where :math:`|{\rm Im}\,\lambda| < \pi`.

    Inverse scaling and squaring, :math:`\log g = 2^s \log g^{1/2^s}`, with square roots by the
    product form of the Denman-Beavers iteration and a Gauss-Legendre (Pade) sum near the identity
    (Higham, *Functions of Matrices*, 2008, eq. 6.29 and Sec. 11.5). No eigenvectors are formed, so
    values and gradients hold at the identity and at defective matrices. The number of iterations
    depends on the values: not for use inside :func:`torch.func.vmap`, pass the batch instead.

    Args:
        element: Real square matrices, shape ``(..., k, k)``.

    Returns:
        Real logarithms, shape ``(..., k, k)``. A batch entry which is not finite, or has an
        eigenvalue on the closed negative real axis (a rotation by exactly pi), has no real
        principal logarithm: that entry alone is NaN, and passes back a zero gradient.
    """
    identity = torch.eye(element.shape[-1], dtype=element.dtype, device=element.device)
    undefined = ~_has_log(element)[..., None, None]
    root = torch.where(undefined, identity, element)
    num_roots = 0
    while num_roots < _MAX_ROOTS and _distance(root, identity) > _PADE_RADIUS:
        root = _sqrt(root, identity)
        num_roots += 1
    nodes, weights = np.polynomial.legendre.leggauss(_PADE_ORDER)  # on [-1, 1], needed on [0, 1]
    offset = (root - identity)[..., None, :, :]
    times = torch.as_tensor((nodes + 1) / 2).to(root)[:, None, None]
    shares = torch.as_tensor(weights / 2).to(root)[:, None, None]
    terms = torch.linalg.solve_ex(identity + times * offset, shares * offset).result
    return torch.where(undefined, torch.nan, 2.0**num_roots * terms.sum(-3))


def _has_log(element: Tensor) -> Tensor:
    """Whether entries are finite and off the closed negative real axis, ``(...)`` bool."""
    size, precision = element.shape[-1], torch.finfo(element.dtype).eps
    finite = element.detach().isfinite().all(-1).all(-1)
    values = torch.linalg.eigvals(element.detach().where(finite[..., None, None], 0.0))
    on_axis = (values.real <= 0) & (values.imag.abs() <= 10 * size * precision * values.abs())
    return finite & ~on_axis.any(-1)


def _distance(matrix: Tensor, identity: Tensor) -> float:
    """Largest Frobenius distance from the identity over the batch, 0 for an empty batch."""
    distance = torch.linalg.matrix_norm(matrix.detach() - identity)
    return float(distance.max()) if distance.numel() else 0.0


def _sqrt(element: Tensor, identity: Tensor) -> Tensor:
    """Principal square root by the scaled product Denman-Beavers iteration (Higham, eq. 6.29)."""
    root = product = element
    settled = False
    for _ in range(_MAX_NEWTON_STEPS):
        # The limit does not depend on the scale, so neither does its gradient: detach.
        logdet = torch.linalg.slogdet(product.detach()).logabsdet
        scale = torch.exp(-logdet / (2 * element.shape[-1]))[..., None, None]
        inverse = torch.linalg.inv_ex(product).inverse / scale**2
        root = scale * root @ (identity + inverse) / 2
        product = (identity + (scale**2 * product + inverse) / 2) / 2
        if settled:  # one step beyond convergence of the value, for that of the gradient
            break
        settled = _distance(product, identity) < torch.finfo(element.dtype).eps ** 0.5
    return root


def element(coords: Tensor, generators: Tensor) -> Tensor:
    """``exp(hat(coords))``, ``(..., n, n)``, at the cost of the coordinates that generators touch.

    No gradient passes to those entries of generators which are 0 throughout a row and column.

    Example:
        >>> turn = torch.tensor([[[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]])
        >>> element(torch.tensor([torch.pi / 2]), turn).round()
        tensor([[ 0., -1.,  0.],
                [ 1.,  0.,  0.],
                [ 0.,  0.,  1.]])
    """
    index, size = touched(generators), generators.shape[-1]
    moved = exp(hat(coords, block(generators, index)))
    whole = moved.new_zeros(*moved.shape[:-2], size, size)  # of `moved`: batched by vmap, too
    whole.diagonal(dim1=-2, dim2=-1).fill_(1)
    whole[..., index[:, None], index] = moved
    return whole


def touched(generators: Tensor) -> Tensor:
    """Coordinates that any generator ``(d, n, n)`` moves or reads; on others elements are 1."""
    used = (generators != 0).any(0)
    return (used.any(0) | used.any(1)).nonzero()[:, 0]


def block(matrices: Tensor, index: Tensor) -> Tensor:
    """Rows and columns ``index (m,)`` of matrices, ``(..., n, n)`` to ``(..., m, m)``."""
    return matrices[..., index[:, None], index]


def act(element: Tensor, points: Tensor) -> Tensor:
    r"""Points moved by matrices: :math:`g x`, or :math:`A x + b` for :math:`g = (A, b; 0, 1)`.

    Args:
        element: Shape ``(..., k, k)``, with ``k = n``, or ``n + 1`` in homogeneous coordinates.
        points: Rows that share an element, ``(..., K, n)``; the batches broadcast.

    Returns:
        Moved points, ``(..., K, n)``.

    Example:
        >>> shift = torch.tensor([[1.0, 2.0], [0.0, 1.0]])
        >>> act(shift, torch.zeros(1, 1))
        tensor([[2.]])
    """
    n = points.shape[-1]
    moved = points @ element[..., :n, :n].mT
    return moved if element.shape[-1] == n else moved + element[..., None, :n, n]


def field(generators: Tensor, points: Tensor) -> Tensor:
    r"""Vector fields of generators at points: :math:`W x`, or :math:`W x + b` for ``(W, b; 0, 0)``.

    The derivative of :func:`act` along a curve of matrices whose derivatives are the generators.

    Args:
        generators: Shape ``(..., d, k, k)``, ``k`` as for :func:`act`.
        points: Rows that share generators, ``(..., K, n)``; the batches broadcast.

    Returns:
        One vector per point and generator, ``(..., K, d, n)``.
    """
    n = points.shape[-1]
    moved = torch.einsum("...dij,...kj->...kdi", generators[..., :n, :n], points)
    return moved if generators.shape[-1] == n else moved + generators[..., None, :, :n, n]


def homogeneous(points: Tensor, size: int) -> Tensor:
    """Points ``(..., n)`` as ``(..., k)``: with a last component 1 where ``k = n + 1``.

    For what is linear in the entries of a matrix; :func:`act` and :func:`field` need no such thing.
    """
    if points.shape[-1] == size:
        return points
    return torch.cat((points, torch.ones_like(points[..., :1])), -1)


def bracket(a: Tensor, b: Tensor) -> Tensor:
    r"""Lie bracket :math:`[A, B] = AB - BA`, ``(..., k, k)``, batches broadcast."""
    return a @ b - b @ a


def adjoint(element: Tensor, generators: Tensor) -> Tensor:
    r"""Matrix of :math:`\mathrm{Ad}_g X = g X g^{-1}` in the basis `generators`, ``(..., d, d)``.

    Satisfies ``hat(adjoint(g, W) @ c, W) = g hat(c, W) g^-1`` for `g` in the group of the algebra.
    """
    moved = element[..., None, :, :] @ generators @ torch.linalg.inv(element)[..., None, :, :]
    return vee(moved, generators).mT


def structure_constants(generators: Tensor) -> Tensor:
    r"""The :math:`c_{ijk}` of :math:`[W_i, W_j] = \sum_k c_{ijk} W_k`, ``(d, d, d)``.

    Brackets outside the span are projected onto it; see :func:`closure_residual`.
    """
    return vee(bracket(generators[:, None], generators[None]), generators)


def killing_form(generators: Tensor) -> Tensor:
    r"""Killing form :math:`B_{ij} = \mathrm{tr}(\mathrm{ad}_i \mathrm{ad}_j)`, ``(d, d)``.

    Negative definite exactly when the algebra is compact and semisimple; zero if it is abelian.
    """
    constants = structure_constants(generators)
    return torch.einsum("ikl,jlk->ij", constants, constants)


def closure_residual(generators: Tensor) -> Tensor:
    r"""How far the span is from an algebra: :math:`\max_{ij} |[Q_i, Q_j] - \Pi[Q_i, Q_j]|_F`.

    :math:`Q` is the orthonormalised basis and :math:`\Pi` the projection on its span. The distance
    is relative to the norms of the two generators, which are 1, and not to that of their bracket:
    noise on two commuting generators stays small. Scalar between 0 and sqrt 2; 0 for ``d <= 1``.
    """
    if generators.shape[0] <= 1:
        return generators.new_zeros(())
    basis = orthonormalise(generators)
    brackets = bracket(basis[:, None], basis[None])
    inside = hat(torch.einsum("ijab,kab->ijk", brackets, basis), basis)
    return torch.linalg.matrix_norm(brackets - inside).max()


def orthonormalise(matrices: Tensor) -> Tensor:
    r"""Gram-Schmidt in the Frobenius inner product, ``(..., d, k, k) -> (..., d, k, k)``.

    Args:
        matrices: Linearly independent; a dependent one yields an arbitrary orthogonal direction.

    Raises:
        ValueError: If there are more than ``k * k`` matrices, which cannot be independent.
    """
    num, size = matrices.shape[-3], matrices.shape[-1]
    if num > size * size:
        raise ValueError(f"Expected at most {size * size} `matrices` of size {size}, but got {num}")
    q, r = torch.linalg.qr(matrices.flatten(-2).mT)
    ones = torch.ones((), dtype=r.dtype, device=r.device)
    signs = torch.copysign(ones, r.detach().diagonal(dim1=-2, dim2=-1))
    return (q * signs[..., None, :]).mT.reshape(matrices.shape)


def normalise(generators: Tensor) -> Tensor:
    r"""Scale each generator to Frobenius norm :math:`\sqrt 2`; a zero one stays zero.

    Coordinates of so(2), and of each plane rotation in so(n), are then radians.
    """
    norm = torch.linalg.matrix_norm(generators, keepdim=True)
    # Replaced before the division: selecting after it would give NaN gradients at zero.
    return generators * 2**0.5 / torch.where(norm > 0, norm, torch.ones_like(norm))


def span_cosine(a: Tensor, b: Tensor) -> Tensor:
    r"""Cosine of the largest principal angle between two spans of matrices, scalar in [0, 1].

    The smallest singular value of :math:`Q_a^T Q_b` for orthonormal bases in the Frobenius inner
    product (Björck and Golub, 1973). 1 for equal spans, 0 if their dimensions differ.
    For ``d = 1`` it is ``|<a, b>| / (|a| |b|)``.

    Raises:
        ValueError: If the matrices of `a` ``(d, k, k)`` and `b` differ in size.
    """
    if a.shape[1:] != b.shape[1:]:
        raise ValueError(f"Expected `b` of matrices {tuple(a.shape[1:])}, got {tuple(b.shape[1:])}")
    if a.shape[0] != b.shape[0]:
        return a.new_zeros(())
    if a.shape[0] == 0:
        return a.new_ones(())
    overlap = torch.einsum("iab,jab->ij", orthonormalise(a), orthonormalise(b))
    return torch.linalg.svdvals(overlap)[-1].clamp(max=1.0)


def so_generators(n: int) -> Tensor:
    """Basis of so(n), ``(n (n - 1) / 2, n, n)``: rotations from axis i to j > i, in radians.

    Example:
        >>> so_generators(2)
        tensor([[[ 0., -1.],
                 [ 1.,  0.]]])
    """
    rows, columns = torch.triu_indices(n, n, offset=1)
    generators = torch.zeros(len(rows), n, n)
    index = torch.arange(len(rows))
    generators[index, columns, rows] = 1.0
    generators[index, rows, columns] = -1.0
    return generators


def gl_generators(n: int) -> Tensor:
    """Basis of gl(n), ``(n * n, n, n)``: one unit entry each, so coordinates are the entries."""
    return torch.eye(n * n).reshape(n * n, n, n)


def reach(generators: Tensor, coords: Tensor) -> Tensor:
    r"""How far coordinates need to go along each generator to see its whole group, ``(d,)``.

    Half the period, :math:`\pi / \max |\mathrm{Im}\, \lambda|`, of a compact generator. Nothing
    bounds any other: twice as far as the given elements went.

    Args:
        generators: Generators, ``(d, n, n)``.
        coords: Coordinates of elements that were seen, ``(N, d)``.
    """
    values = torch.linalg.eigvals(generators)
    turn, growth = values.imag.abs().amax(-1), values.real.abs().amax(-1)
    seen, half = 2 * coords.abs().amax(0).to(turn), math.pi / turn.clamp_min(1e-12)
    # Errors let a shear turn, too, but so slowly that no element went anywhere near half a period.
    compact = (growth < _COMPACT * turn) & ((half <= _FAR * seen) | (seen == 0))
    return torch.where(compact, half, seen)
