"""Pictures of a policy's episodes, still and moving."""

from __future__ import annotations

import io
from contextlib import closing
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image, ImageDraw
from torch import Tensor

from hgm.envs import TaskFamily
from hgm.envs.rollouts import returns

_NUM_SHOWN = 12
_FRAMES = 40
_SECONDS = 4.0
_LAST = 8  # frames for which the end is shown
_COLOURS = 48
_PATH, _START, _END, _GOAL = "C0", "C2", "C1", "C3"


class Episodes(NamedTuple):
    """Episodes of one task.

    Attributes:
        paths: States of every episode, from its start to its end, ``(T + 1, n)`` each.
        returns: Their returns, ``(E,)``.
        goal: Where the task wants the state to be, ``(n,)``; None where the family has no goals.
    """

    paths: list[Tensor]
    returns: Tensor
    goal: Tensor | None


def episodes_of(actor: Any, family: TaskFamily, task: Tensor, seed: int) -> Episodes:
    """Runs twelve episodes of the deterministic policy.

    Args:
        actor: From ``observation`` to ``action``.
        family: The task family.
        task: Parameters of the task, ``(1, k)``.
        seed: Seed of the environment.
    """
    with closing(family.make_env(task, _NUM_SHOWN, seed)) as env:
        found = returns(env, actor, family.max_steps)
    paths = []
    for copy in range(_NUM_SHOWN):
        steps = found.trajectories[0, copy][found.trajectories["mask"][0, copy]]
        states = torch.cat((steps["observation"][:1], steps["next", "observation"]))
        paths.append(states.detach().cpu())
    goals = family.goals(task)
    return Episodes(paths, found.returns[0].cpu(), None if goals is None else goals[0].cpu())


def rollouts_figure(episodes: Episodes) -> Figure:
    """Paths of the first two components of the state."""
    figure, axes = _canvas(episodes)
    ring: dict[str, Any] = {"lw": 1, "alpha": 0.7, "marker": ".", "ms": 3}
    for number, path in enumerate(episodes.paths):
        plane = _plane(path)
        axes.plot(*plane.T, c=_PATH, **ring)
        label = ("_", "_") if number else ("start", "end")
        axes.plot(*plane[:1].T, c=_START, marker="o", ms=4, ls="", label=label[0])
        axes.plot(*plane[-1:].T, c=_END, marker="x", ms=6, ls="", label=label[1])
    mean = float(episodes.returns.mean())
    axes.set_title(f"{len(episodes.paths)} episodes, mean return {mean:.3g}", fontsize=10)
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return figure


def rollouts_gif(episodes: Episodes) -> bytes:
    """The same as an animated GIF of about four seconds: all episodes at once, with their trails.

    Axes are drawn once; what moves is painted onto them.
    """
    figure, axes = _canvas(episodes)
    axes.set_title(f"{len(episodes.paths)} episodes", fontsize=10)
    if episodes.goal is not None:
        figure.legend(loc="outside lower center", frameon=False)
    figure.set_dpi(80)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    still = Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())
    pixels = []
    for path in episodes.paths:
        points = axes.transData.transform(_plane(path))
        pixels.append(np.column_stack((points[:, 0], still.height - points[:, 1])))
    longest = max(len(path) for path in pixels)
    moments = np.unique(np.linspace(1, longest, min(longest, _FRAMES)).round().astype(int))
    frames = [_frame(still, pixels, moment) for moment in moments]
    both = Image.fromarray(np.concatenate([np.asarray(frames[0]), np.asarray(frames[-1])]))
    palette = both.quantize(_COLOURS)
    frames = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    pause = int(1000 * _SECONDS / (len(frames) + _LAST))
    durations = [pause] * (len(frames) - 1) + [pause * (1 + _LAST)]
    file = io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:], duration=durations, loop=0)
    return file.getvalue()


def _frame(still: Image.Image, pixels: list[np.ndarray], moment: int) -> Image.Image:
    """All paths up to a moment."""
    frame = still.copy()
    draw = ImageDraw.Draw(frame)
    for path in pixels:
        trail = [tuple(point) for point in path[:moment].tolist()]
        if len(trail) > 1:
            draw.line(trail, fill=(31, 119, 180), width=1)
        x, y = trail[-1]
        over = moment >= len(path)
        draw.ellipse((x - 3, y - 3, x + 3, y + 3), fill=(255, 127, 14) if over else (44, 160, 44))
    return frame


def _canvas(episodes: Episodes) -> tuple[Figure, Axes]:
    """Axes that hold all paths, with the goal."""
    figure = Figure(figsize=(4.8, 4.8), layout="constrained")
    axes = figure.subplots()
    everything = np.concatenate([_plane(path) for path in episodes.paths])
    if episodes.goal is not None:
        goal = _plane(episodes.goal[None])
        everything = np.concatenate((everything, goal))
        ring: dict[str, Any] = {"marker": "*", "ms": 14, "mfc": "none", "ls": "", "zorder": 3}
        axes.plot(*goal.T, c=_GOAL, label="goal", **ring)
    flat = episodes.paths[0].shape[1] > 1
    low, high = everything.min(0), everything.max(0)
    half = 0.56 * (high - low).clip(1e-6)
    if flat:
        half[:] = half.max()
        axes.set_aspect("equal")
    (left, right), (bottom, top) = np.stack(((low + high) / 2 - half, (low + high) / 2 + half), -1)
    axes.set(xlim=(left, right), ylim=(bottom, top))
    axes.set_xlabel("state 1" if flat else "step")
    axes.set_ylabel("state 2" if flat else "state")
    return figure, axes


def _plane(states: Tensor) -> np.ndarray:
    """First two components of states ``(T, n)``; time and the state where there is but one."""
    values = states.double().numpy()
    if values.shape[1] > 1:
        return values[:, :2]
    return np.column_stack((np.arange(len(values)), values[:, 0]))
