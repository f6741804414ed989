"""The end of a discovery run: summary table, metrics.json, geometry.pt, checkpoint, figures."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from rich.console import Console
from rich.table import Table

from hgm.callbacks.figures import discovery_figures
from hgm.metrics import truth_metrics

_STYLES = {"found": "bold green", "partial": "bold yellow", "none": "bold red"}


class DiscoveryReport(Callback):
    """Writes what :class:`~hgm.modules.Discovery` found, once, on the first process.

    Args:
        run_dir: The run folder.
        started: Start of the run on :func:`time.perf_counter`'s clock; now if None.
        hyperparameters: What TensorBoard's hyperparameter view shows.
    """

    def __init__(
        self,
        run_dir: str | Path,
        started: float | None = None,
        hyperparameters: dict[str, Any] | None = None,
    ) -> None:
        self.run_dir = Path(run_dir)
        self.started = time.perf_counter() if started is None else started
        self.hyperparameters = hyperparameters or {}

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Saves a checkpoint: Lightning's own would not, as no optimiser has stepped."""
        trainer.save_checkpoint(self.run_dir / "checkpoints" / "last.ckpt")

    def on_test_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Writes files and figures, and prints the table."""
        if not trainer.is_global_zero:
            return
        data, geometry = trainer.datamodule, pl_module.geometry  # type: ignore[attr-defined]
        geometry.save(self.run_dir / "geometry.pt")
        metrics = {**pl_module.metrics, **truth_metrics(geometry, data.family, data.tasks)}
        start = time.perf_counter()
        for name, figure in discovery_figures(pl_module, data, metrics).items():
            figure.savefig(self.run_dir / f"{name}.png", dpi=110)
            if isinstance(trainer.logger, TensorBoardLogger):
                trainer.logger.experiment.add_figure(name, figure, pl_module.num_steps)
        seconds = {**pl_module.seconds, "figures": time.perf_counter() - start}
        metrics["phase_seconds"] = {name: round(value, 3) for name, value in seconds.items()}
        metrics["wall_seconds"] = round(time.perf_counter() - self.started, 3)
        (self.run_dir / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
        self._log(trainer, metrics)
        Console().print(summary(geometry, metrics))
        Console().print(f"Everything is in [bold]{self.run_dir}[/bold]", soft_wrap=True)

    def _log(self, trainer: Trainer, metrics: dict[str, Any]) -> None:
        if not isinstance(trainer.logger, TensorBoardLogger):
            return
        numbers = {
            f"test/{name}": float(value)
            for name, value in metrics.items()
            if isinstance(value, int | float) and not isinstance(value, bool)
        }
        trainer.logger.log_hyperparams(self.hyperparameters, numbers)
        trainer.logger.log_metrics(numbers)
        trainer.logger.save()


def summary(geometry: Any, metrics: dict[str, Any]) -> Table:
    """The table that ends a run."""
    table = Table(title="Hereditary symmetry", show_header=False, title_justify="left")
    table.add_column("quantity", style="bold")
    table.add_column("value")
    verdict = metrics["verdict"]
    table.add_row("verdict", f"[{_STYLES[verdict]}]{verdict}[/]")
    for reason in metrics["reasons"]:
        table.add_row("", f"because {reason}")
    table.add_row("algebra", f"{metrics['algebra_type']}, dimension {metrics['algebra_dim']}")
    for index, (left, right) in enumerate(
        zip(geometry.generators, geometry.action_generators, strict=True)
    ):
        table.add_row(f"W_S {index + 1}", _matrix(left))
        table.add_row(f"W_A {index + 1}", _matrix(right))
    gap = metrics["spectral_gap"]
    table.add_row("spectral gap", "no further direction" if gap is None else f"{gap:.3g}")
    table.add_row("closure residual", f"{metrics['closure_residual']:.2g}")
    table.add_row(
        "held-out residual",
        f"{metrics['holdout_residual']:.2g} (identity {metrics['holdout_residual_identity']:.2g}), "
        f"coverage {metrics['coverage']:.0%}",
    )
    table.add_row("dynamics residual", f"{metrics['dynamics_residual']:.2g}")
    table.add_row(
        "predicted deviation", f"{max(metrics['element_deviation_deg']):.2g} deg (worst element)"
    )
    if "span_cosine" in metrics:
        table.add_row("span cosine to the truth", f"{metrics['span_cosine']:.6f}")
        errors = ", ".join(f"{error:.3f}" for error in metrics["element_error_deg"])
        table.add_row("element errors", f"{errors} deg")
    phases = ", ".join(f"{name} {value:.1f}" for name, value in metrics["phase_seconds"].items())
    table.add_row("wall time", f"{metrics['wall_seconds']:.1f} s ({phases})")
    return table


def _matrix(matrix: Any) -> str:
    rows = ("[" + ", ".join(f"{value:6.3f}" for value in row) + "]" for row in matrix.tolist())
    return "\n".join(rows).replace("[", r"\[")
