"""What every report does: figures, metrics.json and TensorBoard's views, once and in one folder."""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from matplotlib.figure import Figure
from rich.console import Console

from hgm.checks import check_int


class Report(Callback):
    """Writes what a run found into its folder.

    Args:
        run_dir: The run folder.
        started: Start of the run on :func:`time.perf_counter`'s clock; now if None.
        hyperparameters: What TensorBoard's hyperparameter view shows.
        seed: Seed of what a report draws itself.
    """

    def __init__(
        self,
        run_dir: str | Path,
        started: float | None = None,
        hyperparameters: dict[str, Any] | None = None,
        seed: int = 0,
    ) -> None:
        self.run_dir = Path(run_dir)
        self.started = time.perf_counter() if started is None else started
        self.hyperparameters, self.seed = hyperparameters or {}, seed

    def _publish(self, trainer: Trainer, metrics: dict[str, Any], shown: Any) -> None:
        """Adds the wall time, writes ``metrics.json``, logs the numbers, and prints a table."""
        metrics["wall_seconds"] = round(time.perf_counter() - self.started, 3)
        (self.run_dir / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
        if isinstance(trainer.logger, TensorBoardLogger):
            numbers = {
                f"test/{key}": float(value)
                for key, value in metrics.items()
                if isinstance(value, int | float) and not isinstance(value, bool)
            }
            trainer.logger.log_hyperparams(self.hyperparameters, numbers)
            trainer.logger.log_metrics(numbers)
            trainer.logger.save()
        console = Console()
        console.print(shown(metrics))
        console.print(f"Everything is in [bold]{self.run_dir}[/bold]", soft_wrap=True)

    def _draw(self, trainer: Trainer, figures: Mapping[str, Figure], step: int) -> None:
        """Saves figures as PNG, and shows them in TensorBoard."""
        for name, figure in figures.items():
            figure.savefig(self.run_dir / f"{name}.png", dpi=110)
            if isinstance(trainer.logger, TensorBoardLogger):
                trainer.logger.experiment.add_figure(name, figure, step)

    def _save(self, trainer: Trainer) -> None:
        trainer.save_checkpoint(self.run_dir / "checkpoints" / "last.ckpt")


class TrainingReport(Report, ABC):
    """A report on a training: a learning curve, and a checkpoint that is renewed on the way.

    ``checkpoints/last.ckpt`` is what ``ckpt_path=`` resumes from, with the curve so far.

    Args:
        run_dir: The run folder.
        checkpoint_every: Updates between two checkpoints.
        started: Start of the run on :func:`time.perf_counter`'s clock; now if None.
        hyperparameters: What TensorBoard's hyperparameter view shows.
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
        hyperparameters: dict[str, Any] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(run_dir, started, hyperparameters, seed)
        self.checkpoint_every = check_int("checkpoint_every", checkpoint_every, 1)
        self.curve: list[dict[str, float]] = []

    @abstractmethod
    def _validate(self, trainer: Trainer, module: Any) -> dict[str, float]:
        """Hook of :meth:`on_validation_end`: what the curve notes."""

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Renews the checkpoint."""
        if trainer.global_step % self.checkpoint_every == 0:
            self._save(trainer)

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
