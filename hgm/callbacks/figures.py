"""Figures of a discovery run."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from tensordict import TensorDictBase
from torch import Tensor

from hgm import lie
from hgm.callbacks.planes import (
    arrows,
    colour_bar,
    common_scale,
    finish,
    level_sets,
    plane,
    rewards_on,
)

_MAX_POINTS = 1000
_ARROWS = 15
_PANELS = 9
_GENERATORS = 6
_FIELDS = 3
_WRITTEN = 6  # rows of a matrix whose entries can still be read
_FLOOR = 1e-6
_NAMES = {"next_observation": "state", "observation": "state", "change": "change of state"}
_TICKS = 12
_REWARD = "modelled reward (standard deviations)"


def discovery_figures(
    module: Any, batch: TensorDictBase, metrics: dict[str, Any], elements: Tensor | None
) -> dict[str, Figure]:
    """All figures of a finished discovery, by name.

    Args:
        module: A trained :class:`~hgm.modules.Discovery`.
        batch: Transitions ``[N, B]`` of its data.
        metrics: Its metrics.
        elements: True left actions ``(N, n, n)``, where they are known.
    """
    figures = {"generators": _generators(module.candidate), "spectrum": _spectrum(metrics)}
    if module.candidate.dim_state > 1:
        points = _points(batch, metrics["reward_source"]).double().cpu()
        best = points[torch.arange(len(points)), batch["next", "reward"][..., 0].argmax(1).cpu()]
        figures["vector_field"] = _vector_field(module, points, metrics)
        figures["left_actions"] = _left_actions(module, points, best, elements, metrics)
    return figures


def _points(batch: TensorDictBase, source: str) -> Tensor:
    """What rewards are functions of, ``(N, B, n)``."""
    if source == "change":
        return batch["next", "observation"] - batch["observation"]
    return batch["observation"] if source == "observation" else batch["next", "observation"]


def _vector_field(module: Any, points: Tensor, metrics: dict[str, Any]) -> Figure:
    """The first generators' vector fields over the base task's data and level sets."""
    geometry = module.candidate
    num = max(1, min(_FIELDS, len(geometry.generators)))
    figure = Figure(figsize=(4.6 * num + 1.2, 4.8), layout="compressed")
    flat, seen = points.flatten(0, 1), metrics["reward_columns"]
    whole = plane(flat, seen=seen)
    values = rewards_on(module, whole.grid, 0)
    scale = common_scale(values)
    coarse = plane(flat, _ARROWS, seen)
    shown = points[0, :_MAX_POINTS, whole.columns].numpy()
    for index in range(num):
        axes = figure.add_subplot(1, num, index + 1)
        axes.scatter(shown[:, 0], shown[:, 1], s=3, color="0.6", alpha=0.4)
        level_sets(axes, values, whole, scale)
        if index < len(geometry.generators):
            flow = lie.field(geometry.generators[index, None], coarse.grid)[:, 0]
            arrows(axes, coarse, flow, 0.004)
            axes.set_title(f"generator {index + 1} on the base task's level sets", fontsize=10)
        finish(axes, whole, _NAMES[metrics["reward_source"]])
    colour_bar(figure, scale, _REWARD)
    figure.suptitle(f"verdict {metrics['verdict']}, candidate {geometry.algebra_type}")
    return figure


def _left_actions(
    module: Any,
    points: Tensor,
    best: Tensor,
    elements: Tensor | None,
    metrics: dict[str, Any],
) -> Figure:
    """The base task's best point, carried by the learned left actions, on the tasks' rewards."""
    geometry, num = module.candidate, len(points)
    shown = np.unique(np.linspace(0, num - 1, min(num, _PANELS)).round().astype(int)).tolist()
    columns = math.ceil(math.sqrt(len(shown)))
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(3.3 * columns + 1, 3.3 * rows + 0.5), layout="compressed")
    over = plane(points.flatten(0, 1), seen=metrics["reward_columns"])
    at = over.columns
    values = {task: rewards_on(module, over.grid, task) for task in shown}
    scale = common_scale(np.stack(list(values.values())))
    base = geometry.bases
    home = best[base].to(geometry.coords)
    carried = lie.act(geometry.left_actions, home[:, None])[:, 0]
    whole = geometry.dim_state == geometry.left_actions.shape[-1]
    for place, task in enumerate(shown, 1):
        axes = figure.add_subplot(rows, columns, place)
        seen = points[task, :_MAX_POINTS, at].numpy()
        axes.scatter(seen[:, 0], seen[:, 1], s=2, color="0.6", alpha=0.3)
        level_sets(axes, values[task], over, scale)
        way = torch.linspace(0, 1, 50).double()[:, None] * geometry.coords[task]
        path = lie.act(geometry.element(way), home[task, None])[:, 0]
        axes.plot(*path[:, at].T, color="tab:red", lw=1)
        ring: dict[str, Any] = {"marker": "o", "facecolor": "none", "edgecolor": "k"}
        x, y = best[task, at].tolist()
        axes.scatter(x, y, s=50, label="best seen", **ring)
        cross: dict[str, Any] = {"marker": "x", "color": "tab:red"}
        x, y = carried[task, at].tolist()
        axes.scatter(x, y, s=60, label="carried from base", **cross)
        if elements is not None and whole:
            # The truth is relative to task 0, whose own element is the identity.
            start = elements[base[task]] if base[task] else torch.eye(len(best[0])).to(elements)
            relative = torch.linalg.solve(start, elements[task], left=False)
            x, y = (relative.to(best) @ best[base[task]])[at].tolist()
            axes.scatter(x, y, marker="+", s=90, color="tab:blue", label="by the true element")
        axes.set_title(_of_orbit(geometry, task), fontsize=10)
        finish(axes, over, _NAMES[metrics["reward_source"]])
        axes.label_outer()
    colour_bar(figure, scale, _REWARD)
    if len(shown) < num:
        figure.suptitle(f"{len(shown)} of {num} tasks", fontsize=10)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def _of_orbit(geometry: Any, task: int) -> str:
    """What a task is: the base task, or one of an orbit's, where there are several."""
    for number, orbit in enumerate(geometry.orbits, 1):
        if task in orbit.tasks:
            what = "base task" if task == orbit.tasks[0] else "task"
            return (
                f"task {task}, alone" if len(orbit.tasks) == 1 else f"{what} {task}, orbit {number}"
            )
    return "base task" if task == 0 else f"task {task}"


def _generators(geometry: Any) -> Figure:
    """Heat maps of the generators on states (above) and actions (below)."""
    shown = min(_GENERATORS, len(geometry.generators))
    figure = Figure(figsize=(max(4.2, 2.6 * shown), 5.4), layout="compressed")
    pairs = (("W_S", geometry.generators), ("W_A", geometry.action_generators))
    top = max((float(stack.abs().max()) for _, stack in pairs if stack.numel()), default=1.0)
    for row, (name, stack) in enumerate(pairs):
        for index in range(shown):
            axes = figure.add_subplot(2, shown, row * shown + index + 1)
            matrix = stack[index].numpy()
            image = axes.imshow(matrix, cmap="RdBu_r", vmin=-top, vmax=top)
            size = len(matrix)
            for (i, j), value in np.ndenumerate(matrix) if size <= _WRITTEN else ():
                colour = "white" if abs(value) > 0.6 * top else "black"
                written = f"{value:z.2f}"  # without the sign of a zero
                axes.text(j, i, written, ha="center", va="center", fontsize=8, color=colour)
            ticks = range(size) if size <= _WRITTEN else range(0)
            axes.set_xticks(ticks, [str(tick + 1) for tick in ticks])
            axes.set_yticks(ticks, [str(tick + 1) for tick in ticks])
            axes.tick_params(labelsize=8, length=0)
            axes.set_title(f"${name}$ {index + 1}", fontsize=10)
            axes.set_xlabel("column", fontsize=8)
            axes.set_ylabel("row", fontsize=8)
    if shown:
        bar = figure.colorbar(image, ax=figure.axes, shrink=0.8)
        bar.set_label("entry, per unit of the coordinate (a radian, of rotations)")
    more = len(geometry.generators) - shown
    title = "generators on states (above) and on actions (below)"
    figure.suptitle(title if more <= 0 else f"{title}; {more} more are not shown", fontsize=9)
    return figure


def _spectrum(metrics: dict[str, Any]) -> Figure:
    """Singular values of the elements' coordinates, and the gap that gives the dimension."""
    values = metrics["spectrum"]
    figure = Figure(figsize=(5, 3.8), layout="constrained")
    axes = figure.add_subplot()
    least = max(max(values, default=1.0), 1e-300) * _FLOOR
    places = range(1, len(values) + 1)
    axes.bar(places, [max(value, least) for value in values], color="tab:blue", width=0.6)
    axes.set(yscale="log", xlabel="direction", ylabel="singular value of coordinates\n(radians)")
    axes.set_xticks(places[:: 1 + (len(places) - 1) // _TICKS])
    gap = metrics["spectral_gap"]
    text = "no further direction" if gap is None else f"gap {gap:.3g}"
    axes.set_title(f"{text}; algebra of dimension {metrics['algebra_dim']}", fontsize=10)
    return figure
