"""What a policy run leaves: policy.pt, metrics.json, checkpoints, return curve and rollouts."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from hgm.checks import check_int
from hgm.rollouts import returns

_NUM_SHOWN = 12


class PolicyReport(Callback):
    """Writes what :class:`~hgm.modules.Policy` learned, on the first process.

    ``checkpoints/last.ckpt`` is renewed while training goes on: ``ckpt_path=`` resumes from it.

    Args:
        run_dir: The run folder.
        checkpoint_every: Updates between two checkpoints.
        started: Start of the run on :func:`time.perf_counter`'s clock; now if None.
        hyperparameters: What TensorBoard's hyperparameter view shows.
        seed: Seed of the rollouts shown.

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
        self.run_dir = Path(run_dir)
        self.checkpoint_every = check_int("checkpoint_every", checkpoint_every, 1)
        self.started = time.perf_counter() if started is None else started
        self.hyperparameters, self.seed = hyperparameters or {}, seed
        self.curve: list[tuple[int, float]] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Renews the checkpoint."""
        if trainer.global_step % self.checkpoint_every == 0:
            self._save(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Notes the return."""
        self.curve.append((trainer.global_step, float(trainer.callback_metrics["val/return"])))

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Saves the last checkpoint."""
        self._save(trainer)

    def on_test_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Writes files and figures, and prints the table."""
        if not trainer.is_global_zero:
            return
        data = trainer.datamodule  # type: ignore[attr-defined]
        pl_module.save(self.run_dir / "policy.pt")
        figures = {"rollouts": rollouts_figure(pl_module.actor, data, self.seed)}
        optimum = pl_module.metrics.get("optimal_return")
        if self.curve:
            figures["return"] = curve_figure(self.curve, optimum)
        metrics = {
            **pl_module.metrics,
            "num_updates": trainer.global_step,
            "num_frames": data.num_frames,
            "num_tasks": data.num_tasks,
            "wall_seconds": round(time.perf_counter() - self.started, 3),
        }
        (self.run_dir / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
        for name, figure in figures.items():
            figure.savefig(self.run_dir / f"{name}.png", dpi=110)
        if isinstance(trainer.logger, TensorBoardLogger):
            for name, figure in figures.items():
                trainer.logger.experiment.add_figure(name, figure, trainer.global_step)
            numbers = {f"test/{key}": float(value) for key, value in metrics.items()}
            trainer.logger.log_hyperparams(self.hyperparameters, numbers)
            trainer.logger.save()
        Console().print(summary(metrics))
        Console().print(f"Everything is in [bold]{self.run_dir}[/bold]", soft_wrap=True)

    def _save(self, trainer: Trainer) -> None:
        trainer.save_checkpoint(self.run_dir / "checkpoints" / "last.ckpt")


def summary(metrics: dict[str, Any]) -> Table:
    """The table that ends a run."""
    table = Table(title="Policy of the base task", show_header=False, title_justify="left")
    table.add_column("quantity", style="bold")
    table.add_column("value")
    table.add_row("return", f"{metrics['return']:.3f}")
    if "optimal_return" in metrics:
        share = metrics["regret"] / abs(metrics["optimal_return"])
        table.add_row("optimal return", f"{metrics['optimal_return']:.3f}")
        table.add_row("regret", f"{metrics['regret']:.3f} ({share:.1%})")
    table.add_row("success", f"{metrics['success']:.1%}")
    table.add_row("experience of", f"{metrics['num_tasks']} task(s)")
    table.add_row("updates, frames", f"{metrics['num_updates']:,}, {metrics['num_frames']:,}")
    table.add_row("wall time", f"{metrics['wall_seconds']:.1f} s")
    return table


def curve_figure(curve: list[tuple[int, float]], optimum: float | None) -> Figure:
    """Return of the deterministic policy against updates."""
    figure = Figure(figsize=(5.6, 3.6), layout="constrained")
    axes = figure.subplots()
    steps, values = zip(*curve, strict=True)
    axes.plot(steps, values, label="policy")
    if optimum is not None:
        axes.axhline(optimum, c="0.5", ls="--", lw=1, label="optimum")
        axes.legend(frameon=False)
    axes.set_xlabel("updates")
    axes.set_ylabel("return on the base task")
    return figure


def rollouts_figure(actor: Any, data: Any, seed: int) -> Figure:
    """Episodes of the deterministic policy on the base task: paths of the first two components."""
    env = data.family.make_env(data.tasks[:1], _NUM_SHOWN, seed)
    found = returns(env, actor, data.family.max_steps)
    steps = found.trajectories
    figure = Figure(figsize=(4.8, 4.4), layout="constrained")
    axes = figure.subplots()
    for copy in range(_NUM_SHOWN):
        episode = steps[0, copy][steps["mask"][0, copy]]
        path = torch.cat((episode["observation"][:1], episode["next", "observation"]))
        axes.plot(*path[:, :2].T, c="C0", lw=1, alpha=0.7, marker=".", ms=3)
        axes.plot(*path[:1, :2].T, c="C2", marker="o", ms=4)
        axes.plot(*path[-1:, :2].T, c="C1", marker="x", ms=6)
    axes.set_aspect("equal", "datalim")
    axes.set_title(f"{_NUM_SHOWN} episodes: start (o) to end (x)", fontsize=10)
    axes.set_xlabel("state 1")
    axes.set_ylabel("state 2")
    return figure
