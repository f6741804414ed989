"""What a person sees of a search while it runs: losses, generators, coordinates, fields."""

from __future__ import annotations

import math
from typing import Any

from lightning import Trainer
from matplotlib.figure import Figure
from torch import Tensor

from hgm import lie
from hgm.callbacks.board import Board, pixels_of
from hgm.callbacks.planes import Plane, arrows, finish, plane

_MOST = 6
"""Generators, rows, columns, directions and singular values that are shown."""
_TASKS = 8
_ARROWS = 13
_FIELDS = 3
_TINY = 1e-12
_NEGLIGIBLE = 1e-3
_POINTS = 4000  # of the first batch, which tell how far fields are drawn


class SearchLog:
    """Logs where a :class:`~hgm.modules.Discovery` is, at every step of its search.

    Scalars are ``search/generator_1/row_1_col_2``,
    ``search/coords/task_1_direction_1``, ``search/spectrum/1`` and ``search/gap``, of the first six
    of a kind and of the first eight tasks after the base one that take part; all coordinates are in
    the histogram ``search/coordinates``. Every phase that moves elements ends with a picture
    ``search/field/PHASE``.
    """

    def __init__(self) -> None:
        self._points: Tensor | None = None
        self._last: Any = None
        self._step = 0

    def follow(self, trainer: Trainer, module: Any, batch: Any) -> None:
        """After a training step: logs where it led, and draws the phase that it followed.

        Args:
            trainer: Whose loggers are told.
            module: Has ``num_steps`` and ``snapshot``.
            batch: Transitions of the step, ``[N, B]``.
        """
        step, board, snapshot = module.num_steps, Board(trainer.loggers), module.snapshot
        if step == 1:
            points = batch["next", "observation"].double().cpu().flatten(0, 1)
            self._points = points[:: max(1, len(points) // _POINTS)]
            board.histograms({"data/rewards": batch["next", "reward"].cpu()}, step)
        moved = snapshot is not None and snapshot is not self._last
        if not moved:
            return
        if self._last is not None and self._last.phase != snapshot.phase:
            self.finish(trainer)
        self._last, self._step = snapshot, step
        board.scalars(scalars_of(snapshot), step)
        board.histograms({"search/coordinates": snapshot.coords[1:].cpu()}, step)

    def finish(self, trainer: Trainer) -> None:
        """Draws the phase that has ended, at its last step."""
        snapshot = self._last
        points = self._points
        if points is None or snapshot is None or not len(snapshot.generators):
            return
        if points.shape[1] == 1:
            return
        shown = plane(points, _ARROWS, snapshot.columns)
        pixels = pixels_of(field_figure(snapshot, shown))
        Board(trainer.loggers).picture(f"search/field/{snapshot.phase}", pixels, self._step)


def scalars_of(snapshot: Any) -> dict[str, float]:
    """Generators, coordinates, spectrum and gap of a snapshot, by tag."""
    found = {}
    for number, matrix in enumerate(snapshot.generators[:_MOST].tolist(), 1):
        for i, row in enumerate(matrix[:_MOST], 1):
            for j, entry in enumerate(row[:_MOST], 1):
                found[f"search/generator_{number}/row_{i}_col_{j}"] = entry
    tasks = snapshot.tasks or list(range(len(snapshot.coords)))
    for task, coords in list(zip(tasks, snapshot.coords.tolist(), strict=True))[1 : 1 + _TASKS]:
        for direction, value in enumerate(coords[:_MOST], 1):
            found[f"search/coords/task_{task}_direction_{direction}"] = value
    spectrum = snapshot.spectrum.tolist()
    for number, value in enumerate(spectrum[:_MOST], 1):
        found[f"search/spectrum/{number}"] = value
    gap = gap_of(spectrum)
    return found if gap is None else found | {"search/gap": gap}


def gap_of(spectrum: list[float]) -> float | None:
    """Largest ratio of neighbouring singular values; None where there are no two of them."""
    least = _TINY * max(spectrum, default=0.0)
    ratios = [a / max(b, least) for a, b in zip(spectrum, spectrum[1:], strict=False) if a > 0]
    return max(ratios, default=None)


def field_figure(snapshot: Any, plane: Plane) -> Figure:
    """Vector fields of the first generators, but for those that the elements hardly use."""
    generators = snapshot.generators.double().cpu()
    sizes = snapshot.coords.double().norm(dim=0).tolist()
    used = [i for i, size in enumerate(sizes) if size > _NEGLIGIBLE * max(sizes)] or [0]
    used = used[:_FIELDS]
    width = 3.4 * len(used)
    figure = Figure(figsize=(width, 3.6))
    figure.subplots_adjust(left=0.6 / width, right=0.98, bottom=0.14, top=0.84, wspace=0.25)
    for place, index in enumerate(used, 1):
        axes = figure.add_subplot(1, len(used), place)
        flow = lie.field(generators[index, None], plane.grid)[:, 0]
        arrows(axes, plane, flow, 0.005)
        axes.set_title(f"generator {index + 1}, coordinates {sizes[index]:.3g}", fontsize=8)
        finish(axes, plane)
    loss = f", loss {snapshot.loss:.3g}" if math.isfinite(snapshot.loss) else ""
    figure.suptitle(f"{snapshot.phase}{loss}", fontsize=10)
    return figure
