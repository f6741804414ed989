"""What figures over two coordinates of the state are drawn with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from torch import Tensor

_GRID = 60
_LEVELS = 14
_KNOWN = 0.03
_MAP = "viridis"
_ELONGATED = 4.0


class Plane(NamedTuple):
    """A grid over two coordinates of the state, the others at their mean.

    Attributes:
        grid: States ``(num * num, n)``, row by row.
        extent: Left, right, bottom, top.
        columns: The two coordinates.
    """

    grid: Tensor
    extent: list[float]
    columns: list[int]


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
    axis = [torch.linspace(float(low[i]), float(high[i]), num).double() for i in columns]
    y, x = torch.meshgrid(axis[1], axis[0], indexing="ij")
    grid = points.mean(0).repeat(num * num, 1)
    grid[:, columns[0]], grid[:, columns[1]] = x.flatten(), y.flatten()
    return Plane(grid, [float(end[i]) for i in columns for end in (low, high)], columns)


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


def level_sets(axes: Axes, values: np.ndarray, extent: list[float], scale: Normalize) -> None:
    """Contours of values on a grid, in the colours of a scale."""
    assert scale.vmin is not None
    assert scale.vmax is not None
    levels = np.linspace(scale.vmin, scale.vmax, _LEVELS + 2)[1:-1]
    known = values[np.isfinite(values)]
    if not known.size or not ((levels > known.min()) & (levels < known.max())).any():
        return
    x = np.linspace(extent[0], extent[1], values.shape[1])
    y = np.linspace(extent[2], extent[3], values.shape[0])
    masked = np.ma.masked_invalid(values)
    axes.contour(x, y, masked, levels=levels, cmap=_MAP, norm=scale, linewidths=0.9)


def colour_bar(figure: Figure, scale: Normalize, label: str) -> None:
    """One colour bar for all axes of a figure."""
    mappable = ScalarMappable(scale, _MAP)
    figure.colorbar(mappable, ax=figure.axes, shrink=0.8, pad=0.02, label=label)


def finish(axes: Axes, plane: Plane, of: str = "state") -> None:
    """Limits, labels, and equal units unless that makes a line of the axes."""
    left, right, bottom, top = plane.extent
    x, y = (f"{of} {column + 1}" for column in plane.columns)
    axes.set(xlim=(left, right), ylim=(bottom, top), xlabel=x, ylabel=y)
    ratio = (top - bottom) / (right - left)
    axes.set_aspect("equal" if 1 / _ELONGATED < ratio < _ELONGATED else "auto")
    axes.tick_params(labelsize=8)
