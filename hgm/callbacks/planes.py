"""What figures over the first two components of the state are drawn with."""

from __future__ import annotations

from typing import Any

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


def plane(points: Tensor, num: int = _GRID) -> tuple[Tensor, list[float]]:
    """A grid over the first two components of points ``(P, n)``, the others at their mean.

    Returns:
        States ``(num * num, n)``, row by row, and the extent: left, right, bottom, top.
    """
    low, high = points.amin(0), points.amax(0)
    axis = [torch.linspace(float(low[i]), float(high[i]), num).double() for i in range(2)]
    y, x = torch.meshgrid(axis[1], axis[0], indexing="ij")
    grid = points.mean(0).repeat(num * num, 1)
    grid[:, 0], grid[:, 1] = x.flatten(), y.flatten()
    return grid, [float(low[0]), float(high[0]), float(low[1]), float(high[1])]


def rewards_on(module: Any, grid: Tensor, task: int) -> np.ndarray:
    """Modelled rewards of a task on a grid, NaN where the data do not tell."""
    jet = module.estimator.jet(grid[None], torch.tensor([task]))
    value, variance = jet.value[0], jet.value_variance[0]
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


def finish(axes: Axes, extent: list[float]) -> None:
    """Limits, labels and equal units."""
    axes.set(xlim=extent[:2], ylim=extent[2:], aspect="equal", xlabel="state 1", ylabel="state 2")
    axes.tick_params(labelsize=8)
