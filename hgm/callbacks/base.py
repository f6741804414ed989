"""What every report does: figures, metrics.json and the loggers' views, once and in one folder."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from lightning import Callback, LightningModule, Trainer
from matplotlib.figure import Figure
from rich.console import Console

from hgm.callbacks.board import Board, pixels_of, save_png
from hgm.callbacks.numbers import histograms_of, numbers_of, texts_of
from hgm.checks import check_int
from hgm.files import write_json


class Report(Callback):
    """Writes what a run found into its folder.

    Args:
        run_dir: The run folder.
        started: Start of the run on :func:`time.perf_counter`'s clock; now if None.
        settings: The configuration as plain data, which loggers show beside the metrics.
        seed: Seed of what a report draws itself.

    Attributes:
        needs: What a module must have to be reported on.
    """

    needs: ClassVar[tuple[str, ...]] = ("metrics",)

    def __init__(
        self,
        run_dir: str | Path,
        started: float | None = None,
        settings: dict[str, Any] | None = None,
        seed: int = 0,
    ) -> None:
        self.run_dir = Path(run_dir)
        self.started = time.perf_counter() if started is None else started
        self.settings, self.seed = settings or {}, seed

    def _publish(self, trainer: Trainer, metrics: dict[str, Any], shown: Any, step: int) -> None:
        """Adds the wall time, logs everything once, writes ``metrics.json``, prints a table."""
        metrics["wall_seconds"] = round(time.perf_counter() - self.started, 3)
        board = Board(trainer.loggers)
        # What the module has logged itself, Lightning has shown already.
        logged = trainer.logged_metrics
        numbers = {key: value for key, value in numbers_of(metrics).items() if key not in logged}
        board.settings(self.settings, numbers, step)
        board.texts(texts_of(metrics), step)
        board.histograms(histograms_of(metrics), step)
        board.close()
        write_json(self.run_dir / "metrics.json", metrics)  # last: it says that the run is over
        console = Console()
        console.print(shown(metrics))
        console.print(f"Everything is in [bold]{self.run_dir}[/bold]", soft_wrap=True)

    def _draw(self, trainer: Trainer, figures: Mapping[str, Figure], step: int) -> None:
        """Saves figures as PNG, and shows them to loggers."""
        board = Board(trainer.loggers)
        for name, figure in figures.items():
            pixels = pixels_of(figure)
            save_png(self.run_dir / f"{name}.png", pixels)
            board.picture(name, pixels, step)

    def _save(self, trainer: Trainer) -> None:
        trainer.save_checkpoint(self.run_dir / "checkpoints" / "last.ckpt")


def validates_after(trainer: Trainer, batch_idx: int) -> bool:
    """Whether a validation follows a batch: who goes on from a checkpoint before it, skips it."""
    every = trainer.val_check_batch
    return every is not None and (batch_idx + 1) % every == 0


class TrainingReport(Report, ABC):
    """A report on a training: a learning curve, and a checkpoint that is renewed on the way.

    ``checkpoints/last.ckpt`` is what ``ckpt_path=`` resumes from, with the curve so far.

    Args:
        run_dir: The run folder.
        checkpoint_every: Updates between two checkpoints; where a step of Lightning makes several,
            after the step that makes the last of them.
        started: Start of the run on :func:`time.perf_counter`'s clock; now if None.
        settings: The configuration as plain data, which loggers show beside the metrics.
        seed: Seed of what a report draws itself.

    Attributes:
        curve: What every validation found, with the ``updates`` and ``frames`` before it.

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(
        self,
        run_dir: str | Path,
        checkpoint_every: int = 1000,
        started: float | None = None,
        settings: dict[str, Any] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(run_dir, started, settings, seed)
        self.checkpoint_every = check_int("checkpoint_every", checkpoint_every, 1, 1_000_000_000)
        self.curve: list[dict[str, float]] = []
        self._before, self._due = 0, False

    @abstractmethod
    def _validate(self, trainer: Trainer, module: Any) -> dict[str, float]:
        """Hook of :meth:`on_validation_end`: what the curve notes."""

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Notes the updates so far."""
        self._before = trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Renews the checkpoint; the first step has one already."""
        before, after = (n // self.checkpoint_every for n in (self._before, trainer.global_step))
        self._due = self._due or self._before == 0 or after > before
        if self._due and not validates_after(trainer, batch_idx):
            self._save(trainer)
            self._due = False

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Goes on with the curve."""
        self.curve.append(self._spent(trainer) | self._validate(trainer, pl_module))

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Saves the last checkpoint."""
        self._save(trainer)

    def _spent(self, trainer: Trainer) -> dict[str, int]:
        """Updates so far, and the environment steps of their rounds."""
        data, updates = trainer.datamodule, trainer.global_step  # type: ignore[attr-defined]
        rounds = -(-updates // data.updates_per_round)
        return {"updates": updates, "frames": rounds * data.frames_per_round}

    def state_dict(self) -> dict[str, Any]:
        """The curve."""
        return {"curve": self.curve}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on with it."""
        self.curve = state_dict["curve"]
