"""What a span of generators is: its closure, whether it is compact, and its name."""

import torch
from torch import Tensor

from hgm import lie

_CLOSURE_TOLERANCE = 0.1
_EIGENVALUE_TOLERANCE = 0.05
_DEFINITE, _COMPACT_ENOUGH = 0.01, 0.05


def close(generators: Tensor, max_dim: int, noise: float = _CLOSURE_TOLERANCE) -> Tensor:
    """Smallest span that holds `generators` and their brackets, orthonormal, ``(d', k, k)``.

    Brackets are of orthonormal generators; what sticks out of the span by less than `noise` counts
    as such. Stops at `max_dim`, the ambient dimension.
    """
    basis = lie.orthonormalise(generators)
    while len(basis) < max_dim:
        brackets = lie.bracket(basis[:, None], basis[None]).flatten(0, 1)
        inside = torch.einsum("pab,kab->pk", brackets, basis)
        outside = (brackets - lie.hat(inside, basis)).flatten(1)
        # Every bracket occurs twice with opposite signs, so its singular value is sqrt 2 times it.
        _, values, rows = torch.linalg.svd(outside, full_matrices=False)
        new = rows[values > 2**0.5 * noise][: max_dim - len(basis)]
        if not len(new):
            break
        basis = lie.orthonormalise(torch.cat((basis, new.unflatten(-1, basis.shape[1:]))))
    return basis


def standard(generators: Tensor) -> Tensor:
    r"""A basis of the same span in which coordinates are radians, where there are any.

    Compact algebras have an inner product that no change of coordinates alters,
    :math:`-\mathrm{tr}(W_a W_b)`: the basis is orthogonal in it, each of them with 2, as for a
    rotation of a plane. Other spans are orthogonal in the Frobenius product, of norm
    sqrt 2, in the coordinates that they come in.
    """
    basis = lie.orthonormalise(generators)
    if not len(basis):
        return basis
    traces = -torch.einsum("aij,bji->ab", basis, basis)
    values = torch.linalg.eigvalsh(traces)
    if float(values[0]) < _DEFINITE * float(values[-1]) or compactness(basis) > _COMPACT_ENOUGH:
        return lie.normalise(basis)
    # Gram-Schmidt: the first stays the first.
    root = torch.linalg.cholesky(traces / 2)
    return torch.linalg.solve_triangular(root, basis.flatten(1), upper=False).view_as(basis)


def compactness(generators: Tensor) -> Tensor:
    r"""Largest :math:`|\mathrm{Re}\,\lambda| / |\lambda|_{\max}` over generators' eigenvalues.

    0 for a compact algebra, whose generators are skew in some inner product; 1 for scalings. Taken
    over the generators and ten fixed combinations of them.
    """
    mix = torch.randn(
        10, len(generators), generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    all_of_them = torch.cat((generators, lie.hat(mix.to(generators), generators)))
    values = torch.linalg.eigvals(all_of_them)
    largest = values.abs().amax(-1).clamp_min(1e-12)
    # A nilpotent generator has no eigenvalues to speak of, and its group is not compact.
    norms = torch.linalg.matrix_norm(all_of_them)
    ratio = values.real.abs().amax(-1) / largest
    return torch.where(largest < 0.1 * norms, 1.0, ratio).max()


def name(generators: Tensor) -> str:
    """Name of the algebra, or ``dim-d`` where it has none here.

    so(2), so(3), u(1)^k (compact and abelian), scaling (real eigenvalues of one sign), boost (real
    of both signs), shear (nilpotent), spiral (complex), sl(2), abelian-d, gl(n).
    """
    dim, size = len(generators), generators.shape[-1]
    compact = float(compactness(generators)) < _EIGENVALUE_TOLERANCE
    if dim == 0:
        return "trivial"
    if dim == 1:
        return "so(2)" if compact else _name_line(generators[0])
    if dim == size**2:
        return f"gl({size})"
    basis = lie.orthonormalise(generators)
    if float(lie.closure_residual(basis)) > _CLOSURE_TOLERANCE:
        return f"dim-{dim} (not closed)"
    abelian = torch.linalg.matrix_norm(lie.bracket(basis[:, None], basis[None])).max() < 0.1
    if abelian:
        return f"u(1)^{dim}" if compact else f"abelian-{dim}"
    if dim == 3:
        signs = torch.linalg.eigvalsh(lie.killing_form(basis))
        if (signs < -0.01).all():
            return "so(3)"
        if (signs.abs() > 0.01).all():
            return "sl(2)"
    if compact and dim == size * (size - 1) // 2:
        return f"so({size})"
    return f"dim-{dim}"


def _name_line(generator: Tensor) -> str:
    generator = generator / torch.linalg.matrix_norm(generator)
    values = torch.linalg.eigvals(generator)
    if values.abs().max() < 0.1:
        return "shear"
    if values.imag.abs().max() > _EIGENVALUE_TOLERANCE * values.abs().max():
        return "spiral"
    real = values.real
    return "boost" if real.min() * real.max() < -1e-3 else "scaling"


def nearest_basis(generators: Tensor, other: Tensor) -> Tensor:
    """Combinations of generators ``(d, k, k)`` that are nearest to those of a nearly equal span."""
    return torch.linalg.lstsq(generators.flatten(1).mT, other.flatten(1).mT).solution.mT
