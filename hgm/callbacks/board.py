"""What reports show to the loggers of a trainer, whichever they are."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from tensorboard.compat.proto.summary_pb2 import Summary

from hgm.runs import flatten

_DPI = 110


class Board:
    """Shows numbers to every logger, pictures to TensorBoard and Weights & Biases.

    Texts, histograms and animations go to TensorBoard only.

    Args:
        loggers: Lightning loggers, as ``trainer.loggers``; on the first process only.
    """

    def __init__(self, loggers: Iterable[Logger]) -> None:
        self.loggers = list(loggers)

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Shows finite numbers at a step."""
        finite = {tag: float(value) for tag, value in values.items() if math.isfinite(value)}
        for logger in self.loggers:
            logger.log_metrics(finite, step)

    def settings(self, settings: Mapping[str, Any], values: Mapping[str, float], step: int) -> None:
        """Shows a configuration, with dotted keys, and the numbers that it led to."""
        flat = {key: _plain(value) for key, value in flatten(settings).items()}
        finite = {tag: float(value) for tag, value in values.items() if math.isfinite(value)}
        for logger in self.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.log_hyperparams(flat, finite, step)
            else:
                logger.log_hyperparams(flat)
                logger.log_metrics(finite, step)

    def texts(self, texts: Mapping[str, str], step: int) -> None:
        """Shows Markdown."""
        for writer in self._writers():
            for tag, text in texts.items():
                writer.add_text(tag, text, step)

    def histograms(self, values: Mapping[str, Any], step: int) -> None:
        """Shows how the finite ones of arrays' entries are spread."""
        for writer in self._writers():
            for tag, array in values.items():
                array = np.asarray(array, dtype=float).ravel()
                if np.isfinite(array).any():
                    writer.add_histogram(tag, array[np.isfinite(array)], step)

    def picture(self, tag: str, pixels: np.ndarray, step: int) -> None:
        """Shows pixels ``(H, W, 3)``."""
        for writer in self._writers():
            writer.add_image(tag, pixels, step, dataformats="HWC")
        for logger in self.loggers:
            if isinstance(logger, WandbLogger):
                logger.log_image(tag, [pixels], step)

    def animation(self, tag: str, gif: bytes, caption: str, step: int) -> None:
        """Shows a GIF, which browsers animate, and what it is, as a text of its own."""
        width, height = Image.open(io.BytesIO(gif)).size
        image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=gif)
        for writer in self._writers():
            # The text comes first: it reopens the file, if an earlier stage has closed it.
            writer.add_text(f"{tag}_caption", caption, step)
            value = Summary.Value(tag=tag, image=image)
            writer.file_writer.add_summary(Summary(value=[value]), step)

    def close(self) -> None:
        """Writes what the loggers hold back, and ends what is one a process."""
        for logger in self.loggers:
            logger.save()
            if isinstance(logger, WandbLogger):  # or the next run would go on with this one
                logger.experiment.finish()

    def _writers(self) -> list[Any]:
        return [one.experiment for one in self.loggers if isinstance(one, TensorBoardLogger)]


def pixels_of(figure: Figure) -> np.ndarray:
    """Draws a figure once, for a file and for loggers: pixels ``(H, W, 3)``."""
    figure.set_dpi(_DPI)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def save_png(path: Path, pixels: np.ndarray) -> None:
    """Writes pixels ``(H, W, 3)``."""
    Image.fromarray(pixels).save(path)


def _plain(value: Any) -> bool | int | float | str:
    """What a table of hyperparameters can show."""
    if value is None:
        return "null"
    return value if isinstance(value, bool | int | float | str) else str(value)
