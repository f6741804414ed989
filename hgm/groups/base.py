"""The contract of a connected matrix Lie group: what a user writes, and what is then given."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import final

import torch
from torch import Tensor, nn

from hgm import lie


class LieGroup(nn.Module, ABC):
    r"""A connected matrix Lie group acting linearly, or affinely, on points of :math:`R^n`.

    Write :attr:`dim_space`, :attr:`dim_algebra` and :meth:`_generators`; where a closed form is
    known, also ``_exp``, ``_log`` and ``_contains``. The public methods check shapes, call these
    hooks, and are not overridden. Learned parameters are called ``raw_*``, live in :math:`R^k`, and
    reach the group through a property. :func:`hgm.testing.check_group` tests the result.

    Shapes: `n` is :attr:`dim_space`, `k` :attr:`dim_matrix`, `d` :attr:`dim_algebra`; leading batch
    dimensions ``...`` broadcast. Points are columns, ``y = g @ x``.
    """

    @property
    @abstractmethod
    def dim_algebra(self) -> int:
        """Number `d` of generators."""

    @property
    @abstractmethod
    def dim_space(self) -> int:
        """Dimension `n` of the points acted on."""

    @property
    def dim_matrix(self) -> int:
        """Size `k` of the matrices: `n`, or ``n + 1`` in homogeneous coordinates."""
        return self.dim_space

    @abstractmethod
    def _generators(self) -> Tensor:
        """Linearly independent basis of the algebra, ``(d, k, k)``, differentiable."""

    def _exp(self, coords: Tensor) -> Tensor:
        """Hook of :meth:`exp`, ``(..., d) -> (..., k, k)``: no control flow on values."""
        return lie.exp(lie.hat(coords, self.generators))

    def _log(self, element: Tensor) -> Tensor:
        """Hook of :meth:`log`, ``(..., k, k) -> (..., d)``."""
        return lie.vee(lie.log(element), self.generators)

    def _contains(self, element: Tensor, atol: float) -> tuple[Tensor, str]:
        """Hook of :meth:`contains`: ``(...)`` bool, and what is amiss with the False entries."""
        log = lie.log(element)
        residual = log - lie.hat(lie.vee(log, self.generators), self.generators)
        relative = residual.norm(dim=(-2, -1)) / (1 + log.norm(dim=(-2, -1)))
        return relative <= atol, "its principal logarithm is off the span of the generators, or nan"

    def resized(self, dim_space: int) -> LieGroup | None:
        """All maps of the same kind on another dimension; None where the kind has no such thing.

        Only a group that knows no coordinates may answer: one that holds every map of its kind.
        """
        return None

    def warm_start(self, root: Tensor) -> None:  # noqa: B027 - an optional hook
        r"""Lets learned parameters start from the data; nothing to do where there are none.

        Args:
            root: Inverse square root :math:`\Sigma^{-1/2}` of the points' covariance, ``(n, n)``:
                a group that preserves an inner product probably preserves nearly this one.
        """

    @final
    @property
    def generators(self) -> Tensor:
        """Basis of the algebra, ``(d, k, k)``, in the group's dtype and on its device.

        Raises:
            ValueError: If :meth:`_generators` returns another shape.
        """
        generators = self._generators()
        k = self.dim_matrix
        if generators.shape != (self.dim_algebra, k, k):
            expected, got = (self.dim_algebra, k, k), tuple(generators.shape)
            raise ValueError(f"Expected `_generators()` of shape {expected}, but got {got}")
        return generators

    @final
    def hat(self, coords: Tensor) -> Tensor:
        """Algebra element with these coordinates, ``(..., d) -> (..., k, k)``."""
        self._check("coords", coords, (self.dim_algebra,))
        return lie.hat(coords, self.generators)

    @final
    def vee(self, matrix: Tensor) -> Tensor:
        """Least-squares coordinates of an algebra element, ``(..., k, k) -> (..., d)``."""
        self._check("matrix", matrix, (self.dim_matrix, self.dim_matrix))
        return lie.vee(matrix, self.generators)

    @final
    def exp(self, coords: Tensor) -> Tensor:
        r"""Group element :math:`\exp(\sum_i c_i W_i)`, ``(..., d) -> (..., k, k)``.

        Usable under :func:`torch.func.vmap` and its Jacobians.

        Raises:
            ValueError: If the last dimension of `coords` is not `d`.

        Example:
            >>> from hgm.groups import SO
            >>> group = SO(2)
            >>> group.log(group.exp(torch.tensor([0.3])))
            tensor([0.3000])
        """
        self._check("coords", coords, (self.dim_algebra,))
        return self._exp(coords)

    def forward(self, coords: Tensor) -> Tensor:
        """The same as :meth:`exp`, so that :func:`torch.func.functional_call` can vary `raw_*`."""
        return self.exp(coords)

    @final
    def log(self, element: Tensor) -> Tensor:
        r"""Coordinates of the principal logarithm, :math:`\mathrm{vee}(\log g)`.

        Inverse of :meth:`exp` on elements whose eigenvalues avoid the closed negative real axis
        (Higham, *Functions of Matrices*, 2008, Thm. 1.31); NaN for the others.

        Args:
            element: Group elements, shape ``(..., k, k)``. Membership is not checked; see
                :meth:`contains`.

        Returns:
            Coordinates in the basis :attr:`generators`, shape ``(..., d)``, in the generators'
            units (radians for rotations).

        Raises:
            ValueError: If the last two dimensions are not ``(k, k)``.
        """
        self._check_element("element", element)
        return self._log(element)

    @final
    def identity(self) -> Tensor:
        """The identity, ``(k, k)``."""
        generators = self.generators
        return torch.eye(self.dim_matrix, dtype=generators.dtype, device=generators.device)

    @final
    def compose(self, a: Tensor, b: Tensor) -> Tensor:
        """The product ``a @ b``, which applies `b` first, ``(..., k, k)``."""
        self._check_element("a", a)
        self._check_element("b", b)
        _check_broadcast("b", b.shape[:-2], a.shape[:-2])
        return a @ b

    @final
    def inverse(self, element: Tensor) -> Tensor:
        """The inverse element, ``(..., k, k)``."""
        self._check_element("element", element)
        return torch.linalg.inv(element)

    @final
    def action(self, element: Tensor, points: Tensor) -> Tensor:
        r"""Moves points: :math:`g x`, or :math:`A x + b` for :math:`g = (A, b; 0, 1)`.

        Args:
            element: Group elements, shape ``(..., k, k)``.
            points: Points, shape ``(..., n)``; the batches broadcast.

        Returns:
            Moved points, shape ``(..., n)``.

        Raises:
            ValueError: If a shape is wrong or the batches do not broadcast.
        """
        self._check_element("element", element)
        self._check("points", points, (self.dim_space,))
        _check_broadcast("points", points.shape[:-1], element.shape[:-2])
        return lie.act(element, points[..., None, :])[..., 0, :]

    @final
    def linear_part(self, element: Tensor) -> Tensor:
        """Jacobian of the action in the points, ``(..., k, k) -> (..., n, n)``."""
        self._check_element("element", element)
        return element[..., : self.dim_space, : self.dim_space]

    @final
    def contains(self, element: Tensor, atol: float | None = None) -> Tensor:
        """Whether elements are in the group, ``(..., k, k) -> (...)`` bool.

        Args:
            element: Matrices, shape ``(..., k, k)``.
            atol: Tolerance, relative to 1; by default the square root of the dtype's precision.
        """
        return self._checked_contains(element, atol)[0]

    @final
    def why_not(self, element: Tensor, atol: float | None = None) -> str | None:
        """Why :meth:`contains` refuses some of the elements, None if it accepts all."""
        inside, reason = self._checked_contains(element, atol)
        if inside.all():
            return None
        return f"{int((~inside).sum())} of {inside.numel()} not in {type(self).__name__}: {reason}"

    def extra_repr(self) -> str:
        """Sizes shown by ``print(group)``."""
        return f"dim_space={self.dim_space}, dim_algebra={self.dim_algebra}"

    @torch.no_grad()
    def _checked_contains(self, element: Tensor, atol: float | None) -> tuple[Tensor, str]:
        self._check_element("element", element)
        tolerance = torch.finfo(element.dtype).eps ** 0.5 if atol is None else atol
        return self._contains(element, tolerance)

    def _check_element(self, name: str, value: Tensor) -> None:
        n, k = self.dim_space, self.dim_matrix
        if k not in (n, n + 1):
            raise ValueError(f"Expected `dim_matrix` {n} or {n + 1} (homogeneous), but got {k}")
        self._check(name, value, (k, k))

    def _check(self, name: str, value: Tensor, shape: tuple[int, ...]) -> None:
        if value.shape[-len(shape) :] != shape:
            expected = ", ".join(["...", *map(str, shape)])
            got = tuple(value.shape)
            raise ValueError(f"Expected `{name}` of shape ({expected}), but got {got}")


def _check_broadcast(name: str, got: torch.Size, batch: torch.Size) -> None:
    try:
        torch.broadcast_shapes(got, batch)
    except RuntimeError:
        raise ValueError(
            f"Expected `{name}` with a batch shape that broadcasts with {tuple(batch)}, "
            f"but got {tuple(got)}"
        ) from None


MAX_DIM = 128
"""Largest dimension of the points: a basis has up to its fourth power of entries."""


def check_dim(name: str, value: int, minimum: int) -> int:
    """Returns `value` if it is an integer of at least `minimum`, else raises and names it."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"Expected `{name}` to be an int, but got {value!r}")
    if value < minimum:
        raise ValueError(f"Expected `{name}` to be at least {minimum}, but got {value}")
    if value > MAX_DIM:
        raise ValueError(f"Expected `{name}` to be at most {MAX_DIM}, but got {value}")
    return value


def check_rotation(element: Tensor, atol: float) -> tuple[Tensor, str]:
    """Whether ``R^T R = I`` and ``det R > 0``, with the reason, as :meth:`LieGroup._contains`."""
    identity = torch.eye(element.shape[-1], dtype=element.dtype, device=element.device)
    defect = (element.mT @ element - identity).abs().amax((-2, -1))
    inside = (defect <= atol) & (torch.linalg.det(element) > 0)
    return inside, "not orthogonal in the group's inner product, or a reflection (det < 0)"
