"""Conformance suite of :class:`hgm.charts.Chart`, for one's own charts."""

import copy
from typing import Any

import torch
from torch import Tensor
from torch.func import jacfwd, vmap

from hgm.charts import Chart, chart_of_state
from hgm.testing.errors import ConformanceError

_NUM, _SHIFT = 32, 0.1
_BATCH_SHAPES: tuple[tuple[int, ...], ...] = ((), (1,), (3, 1, 2))


def check_chart(chart: Chart, seed: int = 0, spread: float = 1.0, atol: float = 1e-8) -> None:
    """Checks that a chart keeps its contract, in float64.

    There and back, an origin that stays where it is, the determinant of its Jacobian, batch shapes,
    gradients of its parameters, and what a file holds of it. So does a copy with other parameters
    and units, as learning leaves it. The chart itself is not changed. Needs no test framework.

    Args:
        chart: The chart to check.
        seed: Seed of points and parameters; the global generator is not touched.
        spread: Standard deviation of the points.
        atol: Tolerance of all comparisons, relative to the size of what is compared.

    Raises:
        ConformanceError: If a rule is violated, naming it and the size of the violation.

    Example:
        >>> from hgm.charts import Identity
        >>> check_chart(Identity(3))
    """
    if not isinstance(chart, Chart):
        raise ConformanceError(f"chart: not a Chart: {chart!r}.")
    random = torch.Generator().manual_seed(seed)
    fresh = copy.deepcopy(chart).double()
    moved = copy.deepcopy(fresh)
    with torch.no_grad():
        for part in moved.parameters():
            noise = torch.randn(part.shape, generator=random, dtype=torch.float64)
            part.add_(noise, alpha=_SHIFT)
    points = spread * torch.randn(_NUM, chart.dim_space, generator=random, dtype=torch.float64)
    moved.set_scale(2 * points)
    moved.settle(points)
    for one in (fresh, moved):
        _check_ways(one, points, atol)
        _check_slope(one, points, atol)
        _check_file(one, points)


def _same(rule: str, got: Tensor, wanted: Tensor, atol: float) -> None:
    if got.shape != wanted.shape:
        raise ConformanceError(f"{rule}: shape {tuple(got.shape)}, not {tuple(wanted.shape)}.")
    miss = float((got - wanted).detach().abs().max())
    if not miss <= atol * (1 + float(wanted.detach().abs().max())):
        raise ConformanceError(f"{rule}: off by {miss:.1e}.")


def _check_ways(chart: Chart, points: Tensor, atol: float) -> None:
    there = chart(points)
    _same("inverse after forward", chart.inverse(there), points, atol)
    _same("forward after inverse", chart(chart.inverse(there)), there, atol)
    _same("origin", chart(torch.zeros_like(points[0])), torch.zeros_like(points[0]), atol)
    for shape in _BATCH_SHAPES:
        some = points[:6].expand(*shape, 6, -1)
        _same(f"batch shape {shape}", chart(some), there[:6].expand_as(some), atol)
        _same(f"batch shape {shape}", chart.inverse(chart(some)), some, atol)
        slope = chart.log_slope(points[:6]).expand(*shape, 6)
        _same(f"batch shape {shape} of log_slope", chart.log_slope(some), slope, atol)


def _check_slope(chart: Chart, points: Tensor, atol: float) -> None:
    jacobians = vmap(jacfwd(chart))(points)
    _same("log_slope", chart.log_slope(points), torch.linalg.slogdet(jacobians)[1], atol)
    if not chart.learned:
        return
    total = chart(points).square().sum() + chart.log_slope(points).sum()
    slopes: Any = torch.autograd.grad(total, list(chart.parameters()), allow_unused=True)
    if any(slope is None for slope in slopes):
        raise ConformanceError("gradients: a parameter has none.")


def _check_file(chart: Chart, points: Tensor) -> None:
    try:
        again = chart_of_state(chart.state(), [type(chart).__module__.partition(".")[0]])
    except (AttributeError, ValueError) as error:
        raise ConformanceError(f"state: {error}") from error
    if not torch.equal(again(points), chart(points)):
        raise ConformanceError("state: another chart came back.")
