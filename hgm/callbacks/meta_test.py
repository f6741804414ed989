"""The end of a meta-test: regret table, metrics.json, the figure of regret against distance."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule, Trainer
from rich.console import Console
from rich.status import Status
from rich.table import Table
from tensordict.nn import TensorDictModuleBase

from hgm.callbacks.base import TrainingReport
from hgm.callbacks.board import Board
from hgm.callbacks.curves import learning_figure, regret_figure
from hgm.checks import check_names
from hgm.envs import TaskFamily
from hgm.evaluation import (
    MetaTest,
    load_references,
    meta_test,
    refuse_optimum,
    regret_metrics,
)
from hgm.files import write_json

_FEW = 10
"""Episodes per task of a validation."""


class MetaTestReport(TrainingReport):
    """Meta-tests a module's ``agent`` after Lightning's own test, and writes what came out, once.

    If the module is trained, it is also tested before, and at every validation, with fewer
    episodes: the learning curve.

    Args:
        run_dir: The run folder.
        protocol: Budgets of the meta-test.
        reference: Run folders of policies of test tasks (``data.test_task``), relative to which
            regret is measured where the family has no optimal policy; None: there are none.
        checkpoint_every: Updates between two checkpoints.
        started: Start of the run on :func:`time.perf_counter`'s clock; now if None.
        settings: The configuration as plain data, which loggers show beside the metrics.
        seed: Seed of tasks, environments and exploration.
        family: Whose tasks these are, for a mistake to be seen before anything is trained.

    Raises:
        ValueError: If there are references, and the family has an optimal policy.
    """

    needs = ("agent",)

    def __init__(
        self,
        run_dir: str | Path,
        protocol: MetaTest | None = None,
        reference: Sequence[str] | None = None,
        checkpoint_every: int = 1000,
        started: float | None = None,
        settings: dict[str, Any] | None = None,
        seed: int = 0,
        family: TaskFamily | None = None,
    ) -> None:
        super().__init__(run_dir, checkpoint_every, started, settings, seed)
        self.protocol = MetaTest() if protocol is None else protocol
        self.reference = [] if reference is None else check_names("reference", reference)
        self._references: dict[int, TensorDictModuleBase] = {}
        self._scores: dict[str, Any] = {}
        if family is not None:
            tasks = family.test_tasks(self.protocol.num_test_tasks, seed)
            refuse_optimum(family, tasks, len(self.reference))

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuses data without tasks to act in, or without those of the references."""
        family = getattr(trainer.datamodule, "family", None)  # type: ignore[attr-defined]
        if family is None:
            raise ValueError(
                "Expected `data` of a task family for a meta-test, got recorded transitions: there "
                "are no tasks to act in. Choose data=transitions."
            )
        tasks = family.test_tasks(self.protocol.num_test_tasks, self.seed)
        self._references = load_references(self.reference, tasks, self.settings.get("env"))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Tests what has learned nothing yet, where it can act already and learns in rounds."""
        rounds = hasattr(trainer.datamodule, "updates_per_round")  # type: ignore[attr-defined]
        if rounds and not self.curve and pl_module.agent is not None:
            self.on_validation_end(trainer, pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Goes on with the curve, where data come in rounds."""
        if hasattr(trainer.datamodule, "updates_per_round"):  # type: ignore[attr-defined]
            super().on_validation_end(trainer, pl_module)

    def _validate(self, trainer: Trainer, module: Any) -> dict[str, float]:
        if not trainer.is_global_zero:
            return {}
        protocol = replace(self.protocol, num_episodes=_FEW, num_first_episodes=1)
        metrics = regret_metrics([self._test(trainer, module, protocol, lambda part: None)])
        keys = ("return", "regret_mean", "regret_train_tasks")
        found = {key: metrics[key] for key in keys if key in metrics}
        values = found | {"frames": self._spent(trainer)["frames"]}
        shown = {f"val/{key}": value for key, value in values.items()}
        Board(trainer.loggers).scalars(shown, trainer.global_step)
        return found

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Tests, writes files and figure, and prints the table."""
        if trainer.is_global_zero:
            metrics = self.measure(trainer, pl_module)
            self._publish(trainer, metrics, regret_table, trainer.global_step)
            self.warn(pl_module)

    def measure(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """Tests, writes scores and figures; what they come to."""
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
        write_json(self.run_dir / "scores.json", scores)
        figures = {"regret": regret_figure([scores])}
        if self.curve:
            figures["learning"] = learning_figure(self.curve)
        self._draw(trainer, figures, trainer.global_step)
        metrics = regret_metrics([scores]) | {key: scores[key] for key in ("adapts", "oracle")}
        metrics |= {key: scores[key] for key in ("orbit", "untransformed") if key in scores}
        if self.curve:
            metrics |= self._spent(trainer)
        self._scores = scores
        return metrics

    def warn(self, pl_module: LightningModule) -> None:
        """Says what a reader of the numbers must know, after :meth:`measure`."""
        scores, agent = self._scores, getattr(pl_module, "agent", None)
        if not scores["adapts"]:
            why = getattr(agent, "obstacle", "the agent does not adapt")
            said = f"[bold red]The base policy acts everywhere[/]: {why}."
            Console().print(said, soft_wrap=True)
        stays = scores.get("untransformed", [])
        if stays:
            said = (
                f"[bold yellow]The base policy acts untransformed[/] in {len(stays)} of "
                f"{scores['num_test_tasks']} test tasks: they are outside every orbit, or on one "
                "without a policy."
            )
            Console().print(said, soft_wrap=True)
        if scores["oracle"]:
            Console().print("[bold yellow]An oracle[/]: it was told the tasks' parameters.")

    def _test(
        self, trainer: Trainer, module: Any, protocol: MetaTest, advance: Callable[[str], None]
    ) -> dict[str, Any]:
        family = trainer.datamodule.family  # type: ignore[attr-defined]
        with torch.random.fork_rng(devices=[]):  # training must not notice
            torch.manual_seed(self.seed)
            return meta_test(module.agent, family, protocol, self.seed, advance, self._references)


def regret_table(metrics: dict[str, Any]) -> Table:
    """The table that ends a meta-test."""
    table = Table(title="Meta-test, scored on the tasks' own rewards", title_justify="left")
    table.add_column("quantity", style="bold")
    table.add_column("mean")
    table.add_column(f"95% interval over {metrics['intervals_over']}")

    def row(name: str, key: str) -> None:
        low, high = metrics[f"{key}_interval"]
        bounded = all(end is not None and math.isfinite(end) for end in (low, high))
        interval = f"{low:.3f} to {high:.3f}" if bounded else "-"
        table.add_row(name, f"{metrics[key]:.3f}", interval)

    explored = metrics["exploration_transitions"]
    row("return", "return")
    for name, key in (
        ("optimal return", "optimal_return"),
        ("return of references", "reference_return"),
        (f"regret after {explored:.3g} transitions", "regret_mean"),
        ("  of which the base policy's own", "regret_of_policy"),
        ("  of which broken symmetry", "regret_of_broken_symmetry"),
        ("  of which inference", "regret_of_inference"),
        ("regret per unit of distance", "regret_slope"),
        ("return per unit of distance", "return_slope"),
        ("regret on the training tasks", "regret_train_tasks"),
        ("regret of first episodes, no exploration", "regret_first_episode"),
        ("regret of the base policy as it is", "regret_untransformed"),
        ("regret at random", "regret_random"),
    ):
        if key in metrics:
            row(name, key)
    if "regret_max" in metrics:
        table.add_row("largest regret of a task", f"{metrics['regret_max']:.3f}", "")
    else:
        table.add_row("regret", "no optimum is known, and there are no references", "")
    if "num_references" in metrics:
        table.add_row("tasks with references", f"{metrics['num_references']}", "")
    table.add_row("success", f"{metrics['success']:.1%}", "")
    return table
