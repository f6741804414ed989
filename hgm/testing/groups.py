"""Conformance suite of :class:`hgm.groups.LieGroup`, for one's own groups."""

import copy

import torch
from torch import Tensor

from hgm import lie
from hgm.groups import LieGroup
from hgm.testing.errors import ConformanceError

_BATCH_SHAPES: tuple[tuple[int, ...], ...] = ((), (1,), (3, 1, 2))


def check_group(group: LieGroup, seed: int = 0, atol: float | None = None) -> None:
    """Checks that a group obeys its laws, on random elements in float64 and float32.

    Basis, bracket closure, the laws of a group and of its action, exp against log, membership,
    derivatives at the identity, batch shapes, torch.func, and gradients of the raw parameters. The
    group itself is not changed: copies are checked. Needs no test framework.

    Args:
        group: The group to check.
        seed: Seed of the random elements; the global generator is not touched.
        atol: Tolerance of all comparisons; by default 1e-8 in float64 and 1e-3 in float32.

    Raises:
        ConformanceError: If a law is violated, naming it and the size of the violation.

    Example:
        >>> from hgm.groups import SO
        >>> check_group(SO(3))
    """
    for dtype, default in ((torch.float64, 1e-8), (torch.float32, 1e-3)):
        suite = _Suite(group, dtype, seed, default if atol is None else atol)
        suite.check_algebra()
        for shape in _BATCH_SHAPES:
            suite.check_group_laws(shape)
            suite.check_exp_and_log(shape)
            suite.check_action(shape)
        suite.check_membership()
        suite.check_derivatives()
        suite.check_parameters()


class _Suite:
    """The checks, one method a subject, on one group in one dtype."""

    def __init__(self, group: LieGroup, dtype: torch.dtype, seed: int, atol: float) -> None:
        self.group, self.dtype, self.atol = copy.deepcopy(group).to(dtype), dtype, atol
        self.name = f"{type(group).__name__} ({dtype})"
        try:
            self.generators = self.group.generators.detach()
        except ValueError as error:
            raise ConformanceError(f"{self.name}: wrong shape of generators: {error}") from error
        self.random = torch.Generator().manual_seed(seed)

    def normal(self, *shape: int) -> Tensor:
        draw = torch.randn(shape, generator=self.random, dtype=torch.float64)
        return draw.to(self.generators)

    def coords(self, shape: tuple[int, ...]) -> Tensor:
        """Random, with ``|hat(coords)|_F < 1``: products of two keep a principal logarithm."""
        draw = self.normal(*shape, self.group.dim_algebra)
        norm = torch.linalg.matrix_norm(lie.hat(draw, self.generators))
        size = torch.rand(shape, generator=self.random).to(draw)
        return draw * (size / norm)[..., None]

    def fail(self, law: str, detail: str) -> None:
        raise ConformanceError(f"{self.name}: {law}: {detail}")

    def equal(self, law: str, got: Tensor, expected: Tensor) -> None:
        if got.shape != expected.shape:
            self.fail(law, f"expected shape {tuple(expected.shape)}, but got {tuple(got.shape)}")
        if got.dtype != expected.dtype:
            self.fail(law, f"expected {expected.dtype}, but got {got.dtype}")
        error = float((got - expected).detach().abs().max()) if got.numel() else 0.0
        if not error <= self.atol:  # also true for nan
            self.fail(law, f"off by {error:.1e}, tolerance {self.atol:.0e}")

    def check_algebra(self) -> None:
        group, generators = self.group, self.generators
        if group.dim_matrix not in (group.dim_space, group.dim_space + 1):
            self.fail("dim_matrix is dim_space or dim_space + 1", f"got {group.dim_matrix}")
        if generators.dtype != self.dtype:
            self.fail("generators follow .to(dtype)", f"got {generators.dtype}")
        if group.dim_algebra < 1:
            self.fail("dim_algebra is at least 1", f"got {group.dim_algebra}")
        stretch = torch.linalg.svdvals(lie.normalise(generators).flatten(-2))
        if not (group.dim_algebra == len(stretch) and float(stretch[-1]) > self.atol):
            smallest = float(stretch[-1])
            self.fail("generators are linearly independent", f"singular value {smallest:.1e}")
        residual = lie.closure_residual(generators)
        self.equal("generators are closed under the bracket", residual, torch.zeros_like(residual))

    def check_exp_and_log(self, shape: tuple[int, ...]) -> None:
        group, coords = self.group, self.coords(shape)
        self.equal("vee inverts hat", group.vee(group.hat(coords)), coords)
        for size, name in ((1.0, ""), (1e-7, " near the identity")):
            back = group.log(group.exp(size * coords))
            self.equal(f"log inverts exp{name}", back, size * coords)
        stack = coords.reshape(-1, coords.shape[-1])
        try:
            mapped = torch.func.vmap(group.exp)(stack)
        except RuntimeError as error:
            raise ConformanceError(f"{self.name}: exp runs under vmap: {error}") from error
        self.equal("exp under vmap is the batched exp", mapped, group.exp(stack))

    def check_group_laws(self, shape: tuple[int, ...]) -> None:
        group, coords = self.group, self.coords(shape)
        a, b, c = group.exp(coords), group.exp(self.coords(shape)), group.exp(self.coords(shape))
        identity = group.identity().expand(*shape, -1, -1)
        self.equal("exp(0) is the identity", group.exp(torch.zeros_like(coords)), identity)
        self.inside("closed under composition", group.compose(a, b))
        left, right = group.compose(group.compose(a, b), c), group.compose(a, group.compose(b, c))
        self.equal("composition is associative", left, right)
        self.equal("identity is neutral", group.compose(identity, a), a)
        self.equal("inverse undoes", group.compose(a, group.inverse(a)), identity)
        self.equal("exp(-c) is the inverse of exp(c)", group.exp(-coords), group.inverse(a))
        sum_of_steps = group.compose(group.exp(0.4 * coords), group.exp(0.6 * coords))
        self.equal("exp(s c) is a one-parameter subgroup", sum_of_steps, a)

    def check_action(self, shape: tuple[int, ...]) -> None:
        group, points = self.group, self.normal(*shape, self.group.dim_space)
        a, b = group.exp(self.coords(shape)), group.exp(self.coords(shape))
        composed = group.action(group.compose(a, b), points)
        self.equal("action(a b) is a after b", group.action(a, group.action(b, points)), composed)
        self.equal("identity acts trivially", group.action(group.identity(), points), points)
        moved = group.action(a, torch.zeros_like(points))
        linear = (group.linear_part(a) @ points[..., None])[..., 0]
        self.equal("linear_part is the action's", group.action(a, points), moved + linear)

    def inside(self, law: str, element: Tensor) -> None:
        reason = self.group.why_not(element, self.atol)
        if reason is not None:
            self.fail(law, f"contains() refuses it: {reason}")

    def check_membership(self) -> None:
        group, k = self.group, self.group.dim_matrix
        element = group.exp(self.coords((8, 1)))
        self.inside("contains() accepts exp", element)
        if group.contains(element).shape != (8, 1):
            self.fail("contains() is one bool an element", "got another batch shape")
        reflection = group.identity().clone()
        reflection[0, 0] = -1.0
        outside = {"a reflection, of negative determinant": reflection}
        if group.dim_algebra < k * k:
            direction = self.normal(k, k)
            direction -= group.hat(group.vee(direction)).detach()
            outside["a step off the algebra"] = lie.exp(0.1 * direction / direction.norm())
        for name, matrix in outside.items():
            if group.contains(matrix, min(self.atol, 1e-3)):
                self.fail("contains() rejects what is outside", f"it accepts {name}")

    def check_derivatives(self) -> None:
        group, origin = self.group, self.coords(()).zero_()
        slope = torch.func.jacrev(group.exp)(origin).movedim(-1, 0).detach()
        self.equal("derivative of exp at 0 is the generators", slope, self.generators)
        # Not torch.func: log may iterate on values.
        slope = torch.autograd.functional.jacobian(lambda c: group.log(group.exp(c)), origin)
        unit = torch.eye(len(origin)).to(origin)
        self.equal("derivative of log after exp at 0 is the identity", slope, unit)

    def check_parameters(self) -> None:
        element = self.group.exp(self.coords((4,)))
        weights = self.normal(*element.shape)
        for name, parameter in self.group.named_parameters():
            if not name.rsplit(".", 1)[-1].startswith("raw_"):
                self.fail("learned parameters are named raw_*", f"got {name!r}")
            if not parameter.requires_grad:
                continue  # frozen on purpose
            slope = None
            if element.requires_grad:
                (slope,) = torch.autograd.grad(
                    element, parameter, weights, retain_graph=True, allow_unused=True
                )
            if slope is None or not slope.isfinite().all() or not slope.any():
                self.fail("raw parameters receive gradients", f"{name!r} got {slope}")
