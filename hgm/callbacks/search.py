"""What a person sees of a search while it runs: losses, generators, coordinates, fields."""

from __future__ import annotations

import math
from typing import Any

import torch
from lightning import Trainer
from matplotlib.figure import Figure
from torch import Tensor

from hgm.callbacks.board import Board, pixels_of
from hgm.callbacks.planes import finish, move, plane
from hgm.callbacks.tags import tag_of

_MOST = 6
"""Generators, rows, columns, directions and singular values that are shown."""
_TASKS = 8
_ARROWS = 13
_FIELDS = 3
_TINY = 1e-12
_NEGLIGIBLE = 1e-3


class SearchLog:
    """Logs the ``snapshot`` of a :class:`~hgm.modules.Discovery` at every step of its search.

    Scalars are ``train/loss/PHASE``, ``search/generator_1/row_1_col_2``,
    ``search/coords/task_1_direction_1``, ``search/spectrum/1`` and ``search/gap``, of the first six
    of a kind and of the first eight tasks after the base one; all coordinates are in the histogram
    ``search/coordinates``. Generators and coordinates are those of :func:`principal`: one phase has
    the basis of the whole ambient algebra, another that of what is found, and curves go on from one
    to the other. Every phase ends with a picture ``search/field/PHASE``.
    """

    def __init__(self) -> None:
        self._extent: tuple[Tensor, list[float]] | None = None
        self._last: tuple[Any, int] | None = None

    def follow(self, trainer: Trainer, module: Any, batch: Any) -> None:
        """After a training step: logs where it led, and draws the phase that it followed."""
        step, board = module.num_steps, Board(trainer.loggers)
        if self._extent is None:
            points = batch["next", "observation"].double().cpu().flatten(0, 1)
            if points.shape[-1] > 1:
                self._extent = plane(points, _ARROWS)
            board.histograms({"data/rewards": batch["next", "reward"].cpu()}, step)
        snapshot = module.snapshot
        if snapshot is None or (self._last is not None and self._last[1] == step):
            return
        if self._last is not None and self._last[0].phase != snapshot.phase:
            self.finish(trainer)
        board.scalars(scalars_of(snapshot), step)
        board.histograms({"search/coordinates": principal(snapshot)[1][1:]}, step)
        self._last = snapshot, step

    def finish(self, trainer: Trainer) -> None:
        """Draws the phase that has ended, at its last step."""
        if self._last is None or self._extent is None:
            return
        (snapshot, step), self._last = self._last, None
        if len(principal(snapshot)[0]):
            tag = f"search/field/{tag_of(snapshot.phase)}"
            figure = field_figure(snapshot, *self._extent)
            Board(trainer.loggers).picture(tag, pixels_of(figure), step)


def scalars_of(snapshot: Any) -> dict[str, float]:
    """A snapshot's numbers by tag."""
    found = {f"train/loss/{tag_of(snapshot.phase)}": float(snapshot.loss)}
    generators, every, _ = principal(snapshot)
    for number, matrix in enumerate(generators[:_MOST].tolist(), 1):
        for i, row in enumerate(matrix[:_MOST], 1):
            for j, entry in enumerate(row[:_MOST], 1):
                found[f"search/generator_{number}/row_{i}_col_{j}"] = entry
    for task, coords in enumerate(every[1 : 1 + _TASKS].tolist(), 1):
        for direction, value in enumerate(coords[:_MOST], 1):
            found[f"search/coords/task_{task}_direction_{direction}"] = value
    spectrum = snapshot.spectrum.tolist()
    for number, value in enumerate(spectrum[:_MOST], 1):
        found[f"search/spectrum/{number}"] = value
    gap = gap_of(spectrum, len(snapshot.generators))
    return found if gap is None else found | {"search/gap": gap}


def principal(snapshot: Any) -> tuple[Tensor, Tensor, Tensor]:
    r"""A snapshot in the directions in which its elements differ most.

    With coordinates :math:`C = U S V^T`, generators are :math:`V^T X` and coordinates :math:`U S`;
    of a generator and its opposite it is the one that turns counter-clockwise.

    Returns:
        Generators ``(r, k, k)``, coordinates ``(N, r)`` and singular values ``(r,)``, largest
        first; all empty where there are no directions or numbers are not finite.
    """
    generators, coords = snapshot.generators.double().cpu(), snapshot.coords.double().cpu()
    if not coords.isfinite().all():
        generators, coords = generators[:0], coords[:, :0]
    left, values, rows = torch.linalg.svd(coords, full_matrices=False)
    directions = torch.einsum("rd,dij->rij", rows, generators)
    sign = torch.where(directions.tril(-1).sum((-2, -1)) < 0, -1.0, 1.0).to(values)
    return sign[:, None, None] * directions, sign * left * values, values


def gap_of(spectrum: list[float], dim: int) -> float | None:
    """Ratio of the singular values before and after the first `dim`.

    The largest ratio of neighbours while the directions are as many as the singular values, and
    None where there are no neighbours.
    """
    least = _TINY * max(spectrum, default=0.0)
    ratios = [a / max(b, least) for a, b in zip(spectrum, spectrum[1:], strict=False) if a > 0]
    ratios = ratios[dim - 1 : dim] if 0 < dim < len(spectrum) else ratios
    return max(ratios, default=None)


def field_figure(snapshot: Any, grid: Tensor, extent: list[float]) -> Figure:
    """Vector fields of the :func:`principal` directions, but for negligible ones."""
    directions, _, values = principal(snapshot)
    num = max(1, min(_FIELDS, int((values > _NEGLIGIBLE * values.max()).sum())))
    figure = Figure(figsize=(3.4 * num, 3.6))
    figure.subplots_adjust(left=0.6 / (3.4 * num), right=0.98, bottom=0.14, top=0.86, wspace=0.25)
    for index in range(1, num + 1):
        matrix, value = directions[index - 1], float(values[index - 1])
        axes = figure.add_subplot(1, num, index)
        flow = move(matrix, grid)
        axes.quiver(*grid[:, :2].T, *flow[:, :2].T, color="tab:red", width=0.005)
        axes.set_title(f"principal direction {index}, singular value {value:.3g}", fontsize=8)
        finish(axes, extent)
    loss = f", loss {snapshot.loss:.3g}" if math.isfinite(snapshot.loss) else ""
    figure.suptitle(f"{snapshot.phase}{loss}", fontsize=10)
    return figure
