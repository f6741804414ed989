"""The end of a discovery run: summary table, metrics.json, geometry.pt, checkpoint, figures."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import LightningModule, Trainer
from rich.table import Table

from hgm.callbacks.base import Report
from hgm.callbacks.figures import discovery_figures
from hgm.callbacks.numbers import told
from hgm.callbacks.search import SearchLog
from hgm.evaluation.truth import truth_metrics

_STYLES = {
    "found": "bold green",
    "approximate": "bold cyan",
    "partial": "bold yellow",
    "none": "bold red",
}
_SOURCES = {
    "next_observation": "the next state",
    "observation": "the state",
    "change": "the change of state",
}
_LISTED = 8  # errors of elements and coordinates that are listed one by one
_GENERATORS = 3
_COUNTED = 8  # tasks whose transitions are counted one by one
_WRITTEN = 4  # size of a matrix that is written in full


class DiscoveryReport(Report):
    """Writes what :class:`~hgm.modules.Discovery` finds, on the first process.

    Loggers see the search step by step, the run folder gets the result.

    Args:
        run_dir: The run folder.
        started: Start of the run on :func:`time.perf_counter`'s clock; now if None.
        settings: The configuration as plain data, which loggers show beside the metrics.
        seed: Seed of what a report draws itself.
    """

    needs = ("geometry", "candidate", "metrics", "snapshot", "rewards_at", "determined")

    def __init__(
        self,
        run_dir: str | Path,
        started: float | None = None,
        settings: dict[str, Any] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(run_dir, started, settings, seed)
        self._search = SearchLog()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Shows where the search is."""
        if trainer.is_global_zero:
            self._search.follow(trainer, pl_module, batch)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Shows where the last phase ended."""
        if trainer.is_global_zero:
            self._search.finish(trainer)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Saves a checkpoint: Lightning's own would not, as no optimiser has stepped."""
        self._save(trainer)

    def on_test_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Writes files and figures, and prints the table."""
        self._save(trainer)  # now with the verdict; all processes take part
        if not trainer.is_global_zero:
            return
        geometry = pl_module.geometry
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        family: Any = getattr(data, "family", None)
        tasks: Any = getattr(data, "tasks", None)
        geometry.save(self.run_dir / "geometry.pt")
        held = _reached(trainer.test_dataloaders)
        truth_known = truth_metrics(geometry, family, tasks, pl_module.determined, held)
        metrics = {**pl_module.metrics, **truth_known}
        if hasattr(data, "counts"):
            metrics["transitions_per_task"] = [count._asdict() for count in data.counts]
        start = time.perf_counter()
        known = family is not None and tasks is not None
        truth = family.truth(tasks.double()) if known else None
        loader: Any = data.train_dataloader() if data is not None else trainer.test_dataloaders
        charts = [part.chart for part in (truth, geometry) if part is not None]
        bent = any(chart is not None for chart in charts)
        elements = None if truth is None or bent else truth.elements
        batch = _in_chart(next(iter(loader)), geometry.chart)
        figures = discovery_figures(pl_module, batch, metrics, elements)
        self._draw(trainer, figures, pl_module.num_steps)
        seconds = {**pl_module.seconds, "figures": time.perf_counter() - start}
        metrics["phase_seconds"] = {name: round(value, 3) for name, value in seconds.items()}
        show = partial(summary, geometry)
        self._publish(trainer, metrics, show, pl_module.num_steps)


def _reached(loader: Any) -> Any:
    """Held-out next states of all tasks, ``(N, H, n)``."""
    return torch.cat([batch["next", "observation"] for batch in loader], 1)


def _in_chart(batch: Any, chart: Any) -> Any:
    """A batch whose states are in the coordinates that were searched."""
    if chart is None:
        return batch
    batch = batch.copy()
    for key in ("observation", ("next", "observation")):
        batch[key] = chart(batch[key]).to(batch[key])
    return batch


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
    if 1 < len(metrics["orbits"]) < metrics["num_tasks"]:
        table.add_row("orbits", _orbits(metrics["orbits"]))
    pairs = list(zip(geometry.generators, geometry.action_generators, strict=True))
    for index, (left, right) in enumerate(pairs[:_GENERATORS], 1):
        table.add_row(f"W_S {index}", _matrix(left))
        table.add_row(f"W_A {index}", _matrix(right))
    if len(pairs) > _GENERATORS:
        table.add_row("", f"{len(pairs) - _GENERATORS} more generators are in metrics.json")
    table.add_row("undetermined", f"{metrics['undetermined']:.0%} of what rewards do not see")
    columns = _listed([str(column + 1) for column in metrics["reward_columns"]])
    terms = {
        "none": "",
        "shared": ", and of the action",
        "per task": ", and of the action per task",
    }
    table.add_row(
        "rewards are of",
        f"{_SOURCES[metrics['reward_source']]}, coordinates {columns}"
        f"{terms[metrics['action_in_reward']]}"
        f"{'; everything explains more' if metrics['reward_by_everything'] else ''}",
    )
    if "transitions_per_task" in metrics:
        table.add_row("transitions", _counts(metrics["transitions_per_task"]))
    trained, gathered = (metrics.get(key, 0) for key in ("num_trained", "num_gathered"))
    if gathered < trained:
        table.add_row("search", f"{gathered:,} of {trained:,} a task; models of rewards: all")
    table.add_row("dynamics", f"{metrics['dynamics']}, {metrics['dynamics_model']}")
    for name, one in metrics["statements"].items():
        held, effect, interval = told(one)
        table.add_row(name.replace("_", " "), f"{held}: {effect} ({interval})")
    bound = metrics["regret_bound"]
    table.add_row("epsilon", f"{metrics['epsilon']:.2g}, the largest of these deviations")
    shown = "not bounded" if bound is None else f"at most {bound:.2g} by what is seen to deviate"
    table.add_row("regret per step", shown)
    gap = metrics["spectral_gap"]
    table.add_row("spectral gap", "no further direction" if gap is None else f"{gap:.3g}")
    table.add_row("closure residual", f"{metrics['closure_residual']:.2g}")
    table.add_row(
        "held-out residual",
        f"{metrics['holdout_residual']:.2g} (identity {metrics['holdout_residual_identity']:.2g}), "
        f"coverage {metrics['coverage']:.0%}",
    )
    table.add_row(
        "predicted deviation", f"{max(metrics['element_deviation_deg']):.2g} deg (worst element)"
    )
    table.add_row("95% intervals", _intervals(metrics))
    if "span_cosine" in metrics:
        table.add_row("span cosine to the truth", f"{metrics['span_cosine']:.6f}")
        table.add_row("element errors", _errors(metrics["element_error_deg"]))
    phases = ", ".join(f"{name} {value:.1f}" for name, value in metrics["phase_seconds"].items())
    table.add_row("wall time", f"{metrics['wall_seconds']:.1f} s ({phases})")
    return table


def _counts(counts: Sequence[Mapping[str, Any]]) -> str:
    """How many transitions there were of every task, and how many were used."""
    lines = []
    for one in counts[:_COUNTED]:
        lost = one["rows"] - one["transitions"]
        rest = f"; {lost:,} rows are none: no next observation" if lost else ""
        lines.append(f"task {one['task']}: {one['used']:,} of {one['transitions']:,} used{rest}")
    if len(counts) > _COUNTED:
        left = sum(one["transitions"] - one["used"] for one in counts)
        lost = sum(one["rows"] - one["transitions"] for one in counts)
        lines.append(
            f"and so on, {len(counts)} tasks: {left:,} not used, {lost:,} rows are no transitions"
        )
    return "\n".join(lines)


def _intervals(metrics: dict[str, Any]) -> str:
    """How wide the widest intervals are, of entries and of elements."""
    parts = [metrics[f"{prefix}generator_interval"] for prefix in ("", "action_")]
    if None in parts:
        return "none"
    ends = np.concatenate([np.array(part, dtype=float).reshape(-1, 2) for part in parts])
    left, right = (
        _largest(np.array(metrics[f"{prefix}element_within_deg"], dtype=float))
        for prefix in ("", "action_")
    )
    wide = _largest((ends[:, 1] - ends[:, 0]) / 2)
    return f"entries to {wide}, L to {left} deg, K to {right} deg"


def _largest(values: np.ndarray) -> str:
    known = values[np.isfinite(values)]
    return f"{known.max():.2g}" if len(known) else "?"


def _orbits(orbits: Sequence[Sequence[int]]) -> str:
    """A line an orbit, tasks counted from 0 as in the figures; those that are alone on one line."""
    lines = [f"tasks {_listed(list(map(str, some)))}" for some in orbits if len(some) > 1]
    alone = [str(some[0]) for some in orbits if len(some) == 1]
    if alone:
        lines.append(f"task {_listed(alone)}: alone, no element evidenced")
    return "\n".join(lines)


def _listed(words: Sequence[str]) -> str:
    return ", ".join(words[:_LISTED]) + (
        f" and {len(words) - _LISTED} more" if len(words) > _LISTED else ""
    )


def _errors(errors: Sequence[float]) -> str:
    if len(errors) > _LISTED:
        return f"median {np.median(errors):.3f}, worst {max(errors):.3f} deg"
    return f"{', '.join(f'{error:.3f}' for error in errors)} deg"


def _matrix(matrix: Any) -> str:
    if len(matrix) > _WRITTEN:
        size = len(matrix)
        return f"{size} x {size}, {int((matrix != 0).sum())} entries are not 0"
    # Adding 0 turns -0 into 0.
    rounded = ((row.double().round(decimals=3) + 0.0).tolist() for row in matrix)
    rows = ("[" + ", ".join(f"{value:6.3f}" for value in row) + "]" for row in rounded)
    return "\n".join(rows).replace("[", r"\[")
