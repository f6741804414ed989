"""What a run of mixed effects leaves: metrics.json, effects.csv, checkpoints and figures."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning import LightningModule, Trainer
from rich.console import Group
from rich.table import Table

from hgm.callbacks.base import Report, validates_after
from hgm.callbacks.effect_figures import effect_figures
from hgm.callbacks.meta_test import MetaTestReport, regret_table
from hgm.checks import check_int
from hgm.envs import TaskFamily
from hgm.evaluation import MetaTest
from hgm.files.disk import replacing


class EffectsReport(Report):
    """Writes what :class:`~hgm.modules.MixedEffects` found, on the first process.

    Of a task family's transitions it also meta-tests the module's agent, as
    :class:`~hgm.callbacks.MetaTestReport` does.

    Args:
        run_dir: The run folder.
        protocol: Budgets of the meta-test.
        reference: Run folders of policies of test tasks, as there.
        family: Whose tasks these are; None: of a table, or of recorded transitions.
        checkpoint_every: Rounds of training between two checkpoints.
        started: Start of the run on :func:`time.perf_counter`'s clock; now if None.
        settings: The configuration as plain data, which loggers show beside the metrics.
        seed: Seed of what a report draws itself.

    Raises:
        ValueError: If an argument is out of range.
    """

    needs = ("chains", "metrics", "scored")

    def __init__(
        self,
        run_dir: str | Path,
        checkpoint_every: int = 10,
        started: float | None = None,
        settings: dict[str, Any] | None = None,
        seed: int = 0,
        protocol: MetaTest | None = None,
        reference: Sequence[str] | None = None,
        family: TaskFamily | None = None,
    ) -> None:
        super().__init__(run_dir, started, settings, seed)
        self._meta: MetaTestReport | None = None
        if family is not None:
            self._meta = MetaTestReport(
                run_dir, protocol, reference, settings=settings, seed=seed, family=family
            )
        self.checkpoint_every = check_int("checkpoint_every", checkpoint_every, 1)
        self._late = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Reads references, if there are any."""
        if self._meta is not None:
            self._meta.setup(trainer, pl_module, stage)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Renews the checkpoint."""
        due = (int(pl_module.rounds) - 1) % self.checkpoint_every == 0
        self._late = due and validates_after(trainer, batch_idx)
        if due and not self._late:
            self._save(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Renews the checkpoint that was due before, now that it has this validation."""
        if self._late:
            self._save(trainer)
            self._late = False

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Saves the last checkpoint."""
        self._save(trainer)

    def on_test_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Writes files and figures, and prints the table."""
        if not trainer.is_global_zero:
            return
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        labels, counts = getattr(data, "labels", {}), getattr(data, "counts", {})
        unit = float(pl_module.target_scale)
        write_effects(self.run_dir / "effects.csv", pl_module.chains, labels, unit)
        metrics = {
            **pl_module.metrics,
            "num_clusters": dict(pl_module.chains.clusters),
            "scored_rows": "training" if getattr(data, "scores_training_rows", False) else "test",
        }
        figures = effect_figures(pl_module, labels, counts)
        self._draw(trainer, figures, trainer.global_step)
        if self._meta is None:
            self._publish(trainer, metrics, summary, trainer.global_step)
            return
        metrics |= self._meta.measure(trainer, pl_module)
        both = (summary, regret_table)
        shown = lambda found: Group(*(table(found) for table in both))  # noqa: E731
        self._publish(trainer, metrics, shown, trainer.global_step)
        self._meta.warn(pl_module)


def write_effects(path: Path, chains: Any, labels: dict[str, Any], unit: float = 1.0) -> None:
    """Posterior mean and deviation of every effect, a line each.

    Args:
        path: Where to.
        chains: What was drawn.
        labels: Names of every feature's clusters.
        unit: What 1 of the chains is in units of Gaussian targets; 1 of others: logits.
    """
    with replacing(path) as file:
        lines = csv.writer(_Encoded(file))
        lines.writerow(("feature", "cluster", "slope", "class", "mean", "deviation"))
        for level, name in enumerate(chains.clusters):
            mean, variance = chains.effects(level)
            known = labels.get(name, range(len(mean)))
            pair = (unit * mean).tolist(), (unit * variance.sqrt()).tolist()
            values = zip(*pair, known, strict=True)
            for means, deviations, label in values:
                for k, (row, wide) in enumerate(zip(means, deviations, strict=True)):
                    for c, both in enumerate(zip(row, wide, strict=True)):
                        lines.writerow((name, label, k, c, *(f"{v:.6g}" for v in both)))


class _Encoded:
    """Text to a binary file, as :mod:`csv` writes it."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def write(self, text: str) -> int:
        return int(self._file.write(text.encode()))


def summary(metrics: dict[str, Any]) -> Table:
    """The table that ends a run."""
    table = Table(title="Mixed effects", show_header=False, title_justify="left")
    table.add_column("quantity", style="bold")
    table.add_column("value")
    for name, value in metrics["sigma"].items():
        interval, num = metrics["sigma_interval"][name], metrics["num_clusters"][name]
        several = isinstance(value, list)
        shown = [(value, interval)] if not several else list(zip(value, interval, strict=True))
        for c, (one, (low, high)) in enumerate(shown[:_LISTED]):
            title = f"sigma of {name} ({num:,})" if c == 0 else ""
            where = f", class {c}" if several else ""
            table.add_row(title, f"{one:.4g} ({low:.4g} to {high:.4g}){where}")
    for key, title in _OF_TASKS.items():
        if key in metrics:
            low, high = metrics[f"{key}_interval"]
            table.add_row(title, f"{metrics[key]:.4g} ({low:.4g} to {high:.4g})")
    if "noise" in metrics:
        table.add_row("noise", f"{metrics['noise']:.4g}")
    rows = f"{metrics['num_test_rows']:,} {metrics['scored_rows']} rows"
    table.add_row("log likelihood", f"{metrics['log_likelihood']:.4f} a row, on {rows}")
    for key in ("auroc", "rmse"):
        if key in metrics:
            table.add_row(key, f"{metrics[key]:.4g}")
    worth = f"{metrics['ess']:.0f} of {metrics['num_draws']} draws"
    table.add_row("R-hat, worth of draws", f"{metrics['r_hat']:.4f}, {worth} (the worst of all)")
    table.add_row("wall time", f"{metrics['wall_seconds']:.1f} s")
    return table


_LISTED = 8
_OF_TASKS = {
    "between_tasks": "rewards between tasks, deviation",
    "share_between_tasks": "  share of the rewards' variance",
}
