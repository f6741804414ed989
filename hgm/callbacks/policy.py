"""What a policy run leaves: policy.pt, metrics.json, checkpoints, return curve and rollouts."""

from __future__ import annotations

from typing import Any

import torch
from lightning import Trainer
from matplotlib.figure import Figure
from rich.table import Table

from hgm.callbacks.base import TrainingReport
from hgm.envs.rollouts import returns

_NUM_SHOWN = 12


class PolicyReport(TrainingReport):
    """Writes what :class:`~hgm.modules.Policy` learned, on the first process."""

    def _validate(self, trainer: Trainer, module: Any) -> dict[str, float]:
        return {"return": float(trainer.callback_metrics["val/return"])}

    def on_test_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Writes files and figures, and prints the table."""
        if not trainer.is_global_zero:
            return
        data = trainer.datamodule  # type: ignore[attr-defined]
        pl_module.save(self.run_dir / "policy.pt")
        figures = {"rollouts": rollouts_figure(pl_module.actor, data, self.seed)}
        if self.curve:
            figures["return"] = curve_figure(self.curve, pl_module.metrics.get("optimal_return"))
        self._draw(trainer, figures, trainer.global_step)
        metrics = {
            **pl_module.metrics,
            "num_updates": trainer.global_step,
            "num_frames": data.num_frames,
            "num_tasks": data.sizes.num_tasks,
        }
        self._publish(trainer, metrics, summary)


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


def curve_figure(curve: list[dict[str, float]], optimum: float | None) -> Figure:
    """Return of the deterministic policy against updates."""
    figure = Figure(figsize=(5.6, 3.6), layout="constrained")
    axes = figure.subplots()
    axes.plot(
        [point["updates"] for point in curve], [point["return"] for point in curve], label="policy"
    )
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
