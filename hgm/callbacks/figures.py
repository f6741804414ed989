"""Figures of a discovery run."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

_MAX_POINTS = 1500
_GRID = 60
_ARROWS = 15
_KNOWN = 0.03


def discovery_figures(module: Any, data: Any, metrics: dict[str, Any]) -> dict[str, Figure]:
    """All figures of a finished discovery, by name.

    Args:
        module: A trained :class:`~hgm.modules.Discovery`.
        data: Its DataModule.
        metrics: Its metrics, with those of the truth where it is known.
    """
    points = next(iter(data.train_dataloader()))["next", "observation"].double()
    figures = {
        "vector_field": _vector_field(module, points, metrics),
        "left_actions": _left_actions(module, data, points),
        "generators": _generators(module),
        "spectrum": _spectrum(metrics),
    }
    for figure in figures.values():
        FigureCanvasAgg(figure)
    return figures


def _vector_field(module: Any, points: Tensor, metrics: dict[str, Any]) -> Figure:
    """The first generators' vector fields over the base task's data and level sets."""
    geometry = module.candidate
    num = min(3, len(geometry.generators))
    figure = Figure(figsize=(5 * num, 4.6), layout="constrained")
    base = points[0]
    grid, shape, extent = _plane(points.flatten(0, 1))
    values = _rewards(module, grid, 0)
    arrows, _, _ = _plane(points.flatten(0, 1), _ARROWS)
    for index in range(num):
        axes = figure.add_subplot(1, num, index + 1)
        _level_sets(axes, values.reshape(shape), extent)
        shown = base[:_MAX_POINTS].numpy()
        axes.scatter(shown[:, 0], shown[:, 1], s=3, color="0.35", alpha=0.4)
        flow = _move(geometry.generators[index], arrows)
        axes.quiver(*arrows[:, :2].T, *flow[:, :2].T, color="tab:red", width=0.004)
        axes.set_title(f"generator {index + 1} on the base reward's level sets", fontsize=10)
        _finish(axes, extent)
    figure.suptitle(f"verdict {metrics['verdict']}, candidate {geometry.algebra_type}")
    return figure


def _left_actions(module: Any, data: Any, points: Tensor) -> Figure:
    """The base task's best point, carried by the learned left actions, on every task's rewards."""
    geometry = module.candidate
    num = len(points)
    columns = math.ceil(math.sqrt(num))
    rows = -(-num // columns)
    figure = Figure(figsize=(3.6 * columns, 3.5 * rows), layout="constrained")
    grid, shape, extent = _plane(points.flatten(0, 1))
    jets = module.estimator.jet(points, torch.arange(num))
    best = points[torch.arange(num), jets.value.argmax(1)]
    n = geometry.dim_state
    left = geometry.left_actions
    carried = left[:, :n, :n] @ best[0]
    carried = carried + left[:, :n, n] if left.shape[-1] > n else carried
    truth = data.family.truth(data.tasks.double()) if data.family is not None else None
    for task in range(num):
        axes = figure.add_subplot(rows, columns, task + 1)
        values = _rewards(module, grid, task)
        _level_sets(axes, values.reshape(shape), extent)
        axes.scatter(
            points[task, :_MAX_POINTS, 0],
            points[task, :_MAX_POINTS, 1],
            s=2,
            color="0.35",
            alpha=0.3,
        )
        line = torch.linspace(0, 1, 50).double()[:, None] * geometry.coords[task]
        path = geometry.element(line)
        orbit = path[:, :n, :n] @ best[0]
        orbit = orbit + path[:, :n, n] if left.shape[-1] > n else orbit
        axes.plot(*orbit[:, :2].T, color="tab:red", lw=1)
        ring: dict[str, Any] = {"marker": "o", "facecolor": "none", "edgecolor": "k"}
        axes.scatter(best[task, 0], best[task, 1], s=50, label="best seen", **ring)
        cross: dict[str, Any] = {"marker": "x", "color": "tab:red"}
        axes.scatter(carried[task, 0], carried[task, 1], s=60, label="carried", **cross)
        if truth is not None and n == left.shape[-1]:
            x, y = (truth.elements[task] @ best[0])[:2].tolist()
            axes.scatter(x, y, marker="+", s=90, color="tab:blue", label="truth")
        axes.set_title("base task" if task == 0 else f"task {task}", fontsize=10)
        _finish(axes, extent)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def _generators(module: Any) -> Figure:
    """Heat maps of the generators on states (above) and actions (below)."""
    geometry = module.candidate
    num = len(geometry.generators)
    shown = min(6, num)
    figure = Figure(figsize=(max(4.0, 2.6 * shown), 5), layout="constrained")
    pairs = (("W_S", geometry.generators), ("W_A", geometry.action_generators))
    top = max(float(stack.abs().max()) for _, stack in pairs)
    for row, (name, stack) in enumerate(pairs):
        for index in range(shown):
            axes = figure.add_subplot(2, shown, row * shown + index + 1)
            image = axes.imshow(stack[index].numpy(), cmap="RdBu_r", vmin=-top, vmax=top)
            for (i, j), value in np.ndenumerate(stack[index].numpy()):
                dark = abs(value) > 0.6 * top
                colour = "white" if dark else "black"
                axes.text(j, i, f"{value:.2f}", ha="center", va="center", fontsize=9, color=colour)
            axes.set(xticks=[], yticks=[])
            axes.set_title(f"${name}$ {index + 1}", fontsize=10)
    figure.colorbar(image, ax=figure.axes, shrink=0.8)
    return figure


def _spectrum(metrics: dict[str, Any]) -> Figure:
    """Singular values of the stacked logarithms, and the gap that gives the dimension."""
    values = metrics["spectrum"]
    figure = Figure(figsize=(5, 3.6), layout="constrained")
    axes = figure.add_subplot()
    floor = max(values) * 1e-6
    axes.bar(range(1, len(values) + 1), [max(value, floor) for value in values], color="tab:blue")
    axes.set(yscale="log", xlabel="direction", ylabel="singular value of the elements' coordinates")
    axes.set_xticks(range(1, len(values) + 1))
    gap = metrics["spectral_gap"]
    text = "no further direction" if gap is None else f"gap {gap:.3g}"
    axes.set_title(f"{text}; algebra of dimension {metrics['algebra_dim']}", fontsize=10)
    return figure


def _plane(points: Tensor, num: int = _GRID) -> tuple[Tensor, tuple[int, int], list[float]]:
    """A grid over the first two coordinates of points, the others at their mean."""
    low, high = points.amin(0), points.amax(0)
    axis = [torch.linspace(float(low[i]), float(high[i]), num).double() for i in range(2)]
    y, x = torch.meshgrid(axis[1], axis[0], indexing="ij")
    grid = points.mean(0).repeat(num * num, 1)
    grid[:, 0], grid[:, 1] = x.flatten(), y.flatten()
    extent = [float(low[0]), float(high[0]), float(low[1]), float(high[1])]
    return grid, (num, num), extent


def _move(generator: Tensor, points: Tensor) -> Tensor:
    n = points.shape[-1]
    moved = points @ generator[:n, :n].mT
    return moved + generator[:n, n] if generator.shape[-1] > n else moved


def _rewards(module: Any, grid: Tensor, task: int) -> Tensor:
    """Modelled rewards on a grid, NaN where the data do not tell."""
    jet = module.estimator.jet(grid[None], torch.tensor([task]))
    value, variance = jet.value[0], jet.value_variance[0]
    known = variance.sqrt() < _KNOWN * value.std()
    return value.where(known, torch.nan)


def _level_sets(axes: Axes, values: Tensor, extent: list[float]) -> None:
    x = np.linspace(extent[0], extent[1], values.shape[1])
    y = np.linspace(extent[2], extent[3], values.shape[0])
    axes.contour(
        x, y, np.ma.masked_invalid(values.numpy()), levels=14, cmap="viridis", linewidths=0.8
    )


def _finish(axes: Axes, extent: list[float]) -> None:
    axes.set(xlim=extent[:2], ylim=extent[2:], aspect="equal")
    axes.tick_params(labelsize=8)
