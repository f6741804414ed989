"""The contract of charts: smooth coordinates of states, there and back."""

from __future__ import annotations

import importlib
import inspect
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.func import jacfwd, vmap

from hgm.checks import check_int

MAX_DIM = 4096
"""Dimensions that a chart may have: a file of a few bytes must not ask for all of the memory."""


class Chart(nn.Module, ABC):
    r"""Coordinates :math:`\psi(s) = M (f(s / \sigma) - f(0))` of states, where a group is linear.

    A group that acts linearly in them acts on states by :math:`g(s) = \psi^{-1}(L_g \psi(s))`.
    Origins stay where they are, as a linear group keeps its own. A subclass writes the smooth,
    invertible map `f` of R^n onto its image, :meth:`_bend`, its inverse :meth:`_unbend`, and where
    it has a closed form, :meth:`_log_slope`. Its arguments are attributes of the same names, ints,
    floats, strings or lists of these, so that a file can hold it. Parameters, if there are any, are
    learned by discovery; a chart that has none is taken as it is.

    Call :func:`hgm.testing.check_chart` on an instance in your own tests.

    Args:
        dim_space: State dimension ``n``.

    Attributes:
        scale: Units :math:`\sigma` of the states, ``(n,)``; 1 until :meth:`set_scale`.
        frame: The matrix `M`, ``(n, n)``; the identity until :meth:`settle`.

    Raises:
        ValueError: If `dim_space` is not an int from 1 to 4096.
    """

    scale: Tensor
    frame: Tensor

    def __init__(self, dim_space: int) -> None:
        super().__init__()
        self.dim_space = check_int("dim_space", dim_space, 1, MAX_DIM)
        self.register_buffer("scale", torch.ones(dim_space))
        self.register_buffer("frame", torch.eye(dim_space))

    @abstractmethod
    def _bend(self, points: Tensor) -> Tensor:
        """The map `f`, ``(..., n) -> (..., n)``."""

    @abstractmethod
    def _unbend(self, points: Tensor) -> Tensor:
        """Its inverse."""

    def _log_slope(self, points: Tensor) -> Tensor:
        """Logarithm of the absolute determinant of its Jacobian, ``(..., n) -> (...)``."""
        jacobians = vmap(jacfwd(self._bend))(points.flatten(0, -2))
        return torch.linalg.slogdet(jacobians).logabsdet.view(points.shape[:-1])

    @property
    def learned(self) -> bool:
        """Whether there is anything to learn."""
        return any(True for _ in self.parameters())

    def forward(self, points: Tensor) -> Tensor:
        """Coordinates of states, ``(..., n) -> (..., n)``, in the chart's dtype."""
        points = self._checked(points)
        bent = self._bend(points / self.scale) - self._bend(torch.zeros_like(self.scale))
        return bent @ self.frame.mT

    @final
    def inverse(self, points: Tensor) -> Tensor:
        """States of coordinates, ``(..., n) -> (..., n)``."""
        points = self._checked(points) @ torch.linalg.inv(self.frame).mT
        return self._unbend(points + self._bend(torch.zeros_like(self.scale))) * self.scale

    @final
    def log_slope(self, points: Tensor) -> Tensor:
        """Logarithm of the Jacobian's absolute determinant at states, ``(..., n) -> (...)``."""
        bent = self._log_slope(self._checked(points) / self.scale)
        return bent + torch.linalg.slogdet(self.frame).logabsdet - self.scale.log().sum()

    def set_scale(self, points: Tensor) -> None:
        """Units of the states ``(B, n)``: their standard deviations."""
        spread = points.std(0)
        self.scale = torch.where(spread > 0, spread, 1.0).to(self.scale)

    @torch.no_grad()
    def settle(self, points: Tensor) -> None:
        """The matrix with which coordinates of states ``(B, n)`` are nearest to these themselves.

        Whatever it is, a linear group stays one; this keeps the units of the states.
        """
        self.frame = torch.eye(self.dim_space).to(self.frame)
        solved = torch.linalg.lstsq(self(points), points.to(self.frame)).solution
        if torch.linalg.matrix_rank(solved) == self.dim_space:
            self.frame = solved.mT.contiguous()

    def state(self) -> dict[str, Any]:
        """Its class, arguments and tensors; :func:`chart_of_state` reads it back."""
        names = list(inspect.signature(type(self)).parameters)
        return {
            "kind": f"{type(self).__module__}.{type(self).__qualname__}",
            "arguments": {name: getattr(self, name) for name in names},
            "tensors": {name: part.detach() for name, part in self.state_dict().items()},
        }

    def _checked(self, points: Tensor) -> Tensor:
        if points.shape[-1:] != (self.dim_space,):
            raise ValueError(
                f"Expected points of shape (..., {self.dim_space}) for a chart of that dimension, "
                f"got {tuple(points.shape)}."
            )
        return points.to(self.scale)


def chart_of_state(state: Any, allow: Sequence[str] = ()) -> Chart:
    """The inverse of :meth:`Chart.state`. What a file says is data: it names a chart, no code.

    Args:
        state: What a file gave back.
        allow: Packages besides hgm whose charts it may name.

    Raises:
        ValueError: If it names another class, or arguments or tensors are not those of a chart.
    """
    if not isinstance(state, dict) or set(state) != {"kind", "arguments", "tensors"}:
        raise ValueError(
            "Expected a chart's `kind`, `arguments` and `tensors`, got something else."
        )
    kind, arguments = state["kind"], state["arguments"]
    module, _, name = kind.rpartition(".") if isinstance(kind, str) else ("", "", "")
    known = module.startswith("hgm.charts.") or module.partition(".")[0] in allow
    try:
        found = getattr(importlib.import_module(module), name) if known else None
    except (ImportError, AttributeError):
        found = None
    if not (isinstance(found, type) and issubclass(found, Chart)):
        raise ValueError(
            f"Expected a chart of hgm, or of the packages {list(allow)}, got {kind!r}."
        )
    try:
        chart = found(**arguments)
        chart.double().load_state_dict(state["tensors"])
    except (TypeError, RuntimeError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"Expected arguments and tensors of {kind}, but {reason}") from None
    if not all(bool(part.isfinite().all()) for part in chart.state_dict().values()):
        raise ValueError(f"Expected finite tensors of {kind}, got NaN or infinite entries.")
    if not (chart.scale > 0).all() or torch.linalg.matrix_rank(chart.frame) < chart.dim_space:
        raise ValueError(f"Expected a positive `scale` and an invertible `frame` of {kind}.")
    return chart.requires_grad_(False)
