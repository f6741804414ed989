"""What figures over two coordinates of the state are drawn with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from torch import Tensor

from hgm.numerics.tails import long_tails

_GRID = 60
_LEVELS = 14
_KNOWN = 0.03
_MAP = "viridis"
_ELONGATED = 4.0


class Plane(NamedTuple):
    """A grid over two coordinates of the state, the others at their mean.

    Attributes:
        grid: States ``(num * num, n)``, row by row.
        x: Where the grid's columns are, ``(num,)``.
        y: Where its rows are, ``(num,)``.
        columns: The two coordinates.
        widths: Within how much of 0 an axis is linear, and logarithmic beyond, where data span
            decades; None: it is linear everywhere.
    """

    grid: Tensor
    x: np.ndarray
    y: np.ndarray
    columns: list[int]
    widths: list[float | None]


def plane(points: Tensor, num: int = _GRID, seen: Sequence[int] | None = None) -> Plane:
    """A grid over the first two coordinates of points ``(P, n)`` that rewards see.

    Args:
        points: Points that it reaches as far as.
        num: Points of a side.
        seen: Coordinates that rewards see; None: all. Where it is one only, another one joins it.
    """
    every = range(points.shape[1])
    columns = [*(seen or every), *(column for column in every if column not in (seen or every))][:2]
    low, high = points.amin(0), points.amax(0)
    constant = high <= low
    low, high = torch.where(constant, low - 0.5, low), torch.where(constant, high + 0.5, high)
    widths = [_width(points[:, column]) for column in columns]
    x, y = (
        _between(float(low[column]), float(high[column]), width, num)
        for column, width in zip(columns, widths, strict=True)
    )
    rows, across = torch.meshgrid(y, x, indexing="ij")
    grid = points.mean(0).repeat(num * num, 1)
    grid[:, columns[0]], grid[:, columns[1]] = across.flatten(), rows.flatten()
    return Plane(grid, x.numpy(), y.numpy(), columns, widths)


def _width(values: Tensor) -> float | None:
    """Width of the map that bends a coordinate ``(P,)``; None if it has no long tail."""
    tails = long_tails(values[:, None].double())
    return None if tails is None else float(tails.width)


def _between(low: float, high: float, width: float | None, num: int) -> Tensor:
    """Numbers at equal distances on an axis, from its one end to the other."""
    if width is None:
        return torch.linspace(low, high, num, dtype=torch.float64)
    start, end = (math.asinh(number / width) for number in (low, high))
    places = width * torch.sinh(torch.linspace(start, end, num, dtype=torch.float64))
    return places.clamp(low, high)  # rounding


def rewards_on(module: Any, grid: Tensor, task: int) -> np.ndarray:
    """Modelled rewards of a task on a grid, NaN where the data do not tell."""
    value, variance = module.rewards_at(grid, task)
    known = variance.sqrt() < _KNOWN * value.std()
    side = round(len(grid) ** 0.5)
    return value.where(known, torch.nan).reshape(side, side).cpu().numpy()


def common_scale(values: np.ndarray) -> Normalize:
    """From the least to the largest value that is known; 0 to 1 if none is."""
    known = values[np.isfinite(values)]
    return Normalize(known.min(), known.max()) if known.size else Normalize(0.0, 1.0)


def level_sets(axes: Axes, values: np.ndarray, plane: Plane, scale: Normalize) -> None:
    """Contours of values on a plane's grid, in the colours of a scale."""
    assert scale.vmin is not None
    assert scale.vmax is not None
    levels = np.linspace(scale.vmin, scale.vmax, _LEVELS + 2)[1:-1]
    known = values[np.isfinite(values)]
    if not known.size or not ((levels > known.min()) & (levels < known.max())).any():
        return
    masked = np.ma.masked_invalid(values)
    axes.contour(plane.x, plane.y, masked, levels=levels, cmap=_MAP, norm=scale, linewidths=0.9)


def arrows(axes: Axes, plane: Plane, flow: Tensor, width: float) -> None:
    """A vector field ``(num * num, n)`` on a plane's grid, along the curves as they are drawn."""
    at, along = (part[:, plane.columns].double().numpy() for part in (plane.grid, flow))
    if not _equal(plane):  # shares of the axes
        ends = np.array([[axis[0], axis[-1]] for axis in (plane.x, plane.y)])
        for number, of in enumerate(plane.widths):
            if of is not None:
                along[:, number] /= np.hypot(1, at[:, number] / of)
                ends[number] = of * np.arcsinh(ends[number] / of)
        along = along / np.diff(ends)[:, 0]
    axes.quiver(*at.T, *along.T, color="tab:red", width=width)


def _equal(plane: Plane) -> bool:
    """Whether both axes have the same unit: they are linear, and that makes no line of them."""
    ratio = (plane.y[-1] - plane.y[0]) / (plane.x[-1] - plane.x[0])
    return plane.widths == [None, None] and bool(1 / _ELONGATED < ratio < _ELONGATED)


def colour_bar(figure: Figure, scale: Normalize, label: str) -> None:
    """One colour bar for all axes of a figure."""
    mappable = ScalarMappable(scale, _MAP)
    figure.colorbar(mappable, ax=figure.axes, shrink=0.8, pad=0.02, label=label)


def finish(axes: Axes, plane: Plane, of: str = "state") -> None:
    """Scales, limits, labels, and equal units unless that makes a line of the axes."""
    left, right, bottom, top = (float(axis[end]) for axis in (plane.x, plane.y) for end in (0, -1))
    x, y = (f"{of} {column + 1}" for column in plane.columns)
    for set_scale, width in zip((axes.set_xscale, axes.set_yscale), plane.widths, strict=True):
        if width is not None:
            set_scale("asinh", linear_width=width)
    axes.set(xlim=(left, right), ylim=(bottom, top), xlabel=x, ylabel=y)
    axes.set_aspect("equal" if _equal(plane) else "auto")
    axes.tick_params(labelsize=8)
