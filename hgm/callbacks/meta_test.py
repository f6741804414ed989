"""The end of a meta-test: regret table, metrics.json, the figure of regret against distance."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import LightningModule, Trainer
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter, SymmetricalLogLocator
from rich.console import Console
from rich.status import Status
from rich.table import Table

from hgm.callbacks.base import TrainingReport
from hgm.evaluation import MetaTest, meta_test, regret_metrics

_FEW = 10
"""Episodes per task of a validation."""


class MetaTestReport(TrainingReport):
    """Meta-tests a module's ``agent`` after Lightning's own test, and writes what came out, once.

    If the module is trained, it is also tested before, and at every validation, with fewer
    episodes: the learning curve.

    Args:
        run_dir: The run folder.
        protocol: Budgets of the meta-test.
        checkpoint_every: Updates between two checkpoints.
        started: Start of the run on :func:`time.perf_counter`'s clock; now if None.
        hyperparameters: What TensorBoard's hyperparameter view shows.
        seed: Seed of tasks, environments and exploration.
    """

    def __init__(
        self,
        run_dir: str | Path,
        protocol: MetaTest | None = None,
        checkpoint_every: int = 1000,
        started: float | None = None,
        hyperparameters: dict[str, Any] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(run_dir, checkpoint_every, started, hyperparameters, seed)
        self.protocol = MetaTest() if protocol is None else protocol

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Tests what has learned nothing yet."""
        if not self.curve:
            self.on_validation_end(trainer, pl_module)

    def _validate(self, trainer: Trainer, module: Any) -> dict[str, float]:
        if not trainer.is_global_zero:
            return {}
        protocol = replace(self.protocol, num_episodes=_FEW, num_first_episodes=1)
        metrics = regret_metrics([self._test(trainer, module, protocol, lambda part: None)])
        keys = ("return", "regret_mean", "regret_train_tasks")
        found = {key: metrics[key] for key in keys if key in metrics}
        if trainer.logger is not None:
            values = {f"val/{key}": value for key, value in found.items()}
            trainer.logger.log_metrics(values, step=trainer.global_step)
        return found

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Tests, writes files and figure, and prints the table."""
        if not trainer.is_global_zero:
            return
        with Status("meta-test", console=Console()) as status:
            scores = self._test(
                trainer,
                pl_module,
                self.protocol,
                lambda part: status.update(f"meta-test: {part}"),
            )
        agent: Any = pl_module.agent
        scores |= {"adapts": getattr(agent, "adapts", True), "oracle": agent.oracle}
        scores["curve"] = self.curve
        (self.run_dir / "scores.json").write_text(json.dumps(scores, indent=1) + "\n")
        figures = {"regret": regret_figure([scores])}
        if self.curve:
            figures["learning"] = learning_figure(self.curve)
        self._draw(trainer, figures, trainer.global_step)
        metrics = regret_metrics([scores]) | {key: scores[key] for key in ("adapts", "oracle")}
        if self.curve:
            metrics |= self._spent(trainer)
        self._publish(trainer, metrics, regret_table)
        if not scores["adapts"]:
            Console().print("[bold red]No symmetry to use[/]: the base policy acts everywhere.")
        if scores["oracle"]:
            Console().print("[bold yellow]An oracle[/]: it was told the tasks' parameters.")

    def _test(
        self, trainer: Trainer, module: Any, protocol: MetaTest, advance: Callable[[str], None]
    ) -> dict[str, Any]:
        family = trainer.datamodule.family  # type: ignore[attr-defined]
        with torch.random.fork_rng(devices=[]):  # training must not notice
            torch.manual_seed(self.seed)
            return meta_test(module.agent, family, protocol, self.seed, advance)


def report_experiment(run_dir: Path, seconds: float) -> None:
    """Sums up the seeds of an experiment: ``seed_*/meta_test`` and what the other stages measured.

    Args:
        run_dir: The experiment's folder, where ``metrics.json`` and ``regret.png`` go.
        seconds: Wall time of the whole.
    """
    folders = sorted(run_dir.glob("seed_*"), key=lambda path: int(path.name.split("_")[1]))
    scores = [json.loads((path / "meta_test" / "scores.json").read_text()) for path in folders]
    metrics: dict[str, Any] = {}
    for stage in ("policy", "discovery"):
        files = [path / stage / "metrics.json" for path in folders]
        found = [json.loads(file.read_text()) for file in files if file.exists()]
        for key in found[0] if found else ():
            values = [one.get(key) for one in found]
            name = key if stage == "discovery" else f"policy_{key}"
            metrics[name] = values[0] if len(values) == 1 else values
    metrics |= regret_metrics(scores)
    metrics["adapts"] = all(one["adapts"] for one in scores)
    metrics["wall_seconds"] = round(seconds, 1)
    (run_dir / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
    regret_figure(scores).savefig(run_dir / "regret.png", dpi=110)
    console = Console()
    if len(scores) > 1:
        console.rule("[bold]all seeds", align="left")
        console.print(regret_table(metrics))
    console.print(f"Everything is in [bold]{run_dir}[/bold]", soft_wrap=True)


def regret_table(metrics: dict[str, Any]) -> Table:
    """The table that ends a meta-test."""
    table = Table(title="Meta-test, scored on the tasks' own rewards", title_justify="left")
    table.add_column("quantity", style="bold")
    table.add_column("mean")
    table.add_column(f"95% interval over {metrics['intervals_over']}")

    def row(name: str, key: str) -> None:
        low, high = metrics[f"{key}_interval"]
        table.add_row(name, f"{metrics[key]:.3f}", f"{low:.3f} to {high:.3f}")

    explored = metrics["exploration_transitions"]
    row("return", "return")
    for name, key in (
        ("optimal return", "optimal_return"),
        (f"regret after {explored:.3g} transitions", "regret_mean"),
        ("  of which the base policy's own", "regret_of_policy"),
        ("  of which broken symmetry", "regret_of_broken_symmetry"),
        ("  of which inference", "regret_of_inference"),
        ("regret per radian of distance", "regret_slope"),
        ("regret on the training tasks", "regret_train_tasks"),
        ("regret of first episodes, no exploration", "regret_first_episode"),
    ):
        if key in metrics:
            row(name, key)
    if "regret_max" in metrics:
        table.add_row("largest regret of a task", f"{metrics['regret_max']:.3f}", "")
    else:
        table.add_row("regret", "the family has no known optimum", "")
    table.add_row("success", f"{metrics['success']:.1%}", "")
    return table


def regret_figure(runs: Sequence[dict[str, Any]]) -> Figure:
    """Regret of every task, or its return, against its distance to the nearest training task."""
    score = "regret" if all("regret" in run for run in runs) else "return"
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    styles = (
        (f"{score}_first_episodes", "first episode", "C1", "^"),
        (score, "after exploration", "C0", "o"),
        ("regret_oracle", "knowing its place in the true group", "0.4", "x"),
    )
    for key, label, colour, marker in styles:
        if not all(key in run for run in runs):
            continue
        x = np.concatenate([np.asarray(run["separation"]) for run in runs])
        y = np.concatenate([np.asarray(run[key]) for run in runs])
        axes.scatter(x, y, s=18, c=colour, marker=marker, alpha=0.7, label=label)
        if x.std() > 0:
            line = np.poly1d(np.polyfit(x, y, 1))
            ends = np.array([x.min(), x.max()])
            axes.plot(ends, line(ends), c=colour, lw=1)
    if score == "regret":
        axes.axhline(0, c="0.7", lw=0.8, zorder=0)
    axes.set_xlabel("distance to the nearest training task")
    axes.set_ylabel(f"{score} on the task's own reward")
    axes.legend(frameon=False)
    return figure


def learning_figure(curve: Sequence[dict[str, float]]) -> Figure:
    """Regret, or return, of test and training tasks against the environment steps of training."""
    figure = Figure(figsize=(5.6, 3.6), layout="constrained")
    axes = figure.subplots()
    frames = [point["frames"] for point in curve]
    for key, label in (
        ("regret_mean", "test tasks"),
        ("regret_train_tasks", "training tasks"),
    ):
        if all(key in point for point in curve):
            axes.plot(frames, [point[key] for point in curve], label=label, marker=".")
            axes.set_ylabel("regret")
            scale_regret(axes)
    if not axes.lines:
        axes.plot(frames, [point["return"] for point in curve], label="test tasks", marker=".")
        axes.set_ylabel("return")
    axes.set_xlabel("environment steps of training")
    axes.legend(frameon=False)
    return figure


def scale_regret(axes: Axes) -> None:
    """Makes regret logarithmic, and linear below 0.1, where it may be negative."""
    axes.set_yscale("symlog", linthresh=0.1, subs=[2, 5])
    axes.yaxis.set_major_locator(SymmetricalLogLocator(base=10, linthresh=0.1, subs=[1, 2, 5]))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
