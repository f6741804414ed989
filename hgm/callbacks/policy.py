"""What a policy run leaves: policy.pt, metrics.json, scores.json, checkpoints and pictures."""

from __future__ import annotations

from typing import Any

from lightning import Trainer
from rich.table import Table

from hgm.callbacks.base import TrainingReport
from hgm.callbacks.board import Board
from hgm.callbacks.curves import curve_figure
from hgm.callbacks.rollouts import episodes_of, rollouts_figure, rollouts_gif
from hgm.files import write_json

_CAPTION = (
    "Episodes of the deterministic policy on the base task: the first two components of the state."
)


class PolicyReport(TrainingReport):
    """Writes what :class:`~hgm.modules.Policy` learned, on the first process."""

    needs = ("actor", "metrics", "save")

    def _validate(self, trainer: Trainer, module: Any) -> dict[str, float]:
        return {"return": float(trainer.callback_metrics["val/return"])}

    def on_test_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Writes files and figures, and prints the table."""
        if not trainer.is_global_zero:
            return
        data = trainer.datamodule  # type: ignore[attr-defined]
        pl_module.save(self.run_dir / "policy.pt")
        step, board = trainer.global_step, Board(trainer.loggers)
        task = data.tasks[0].tolist()  # whose policy it is: meta-tests look for it
        known = {"curve": self.curve, "task": task, "env": self.settings.get("env")}
        write_json(self.run_dir / "scores.json", known)
        episodes = episodes_of(pl_module.actor, data.family, data.tasks[:1], self.seed)
        figures = {"rollouts": rollouts_figure(episodes)}
        if self.curve:
            figures["return"] = curve_figure(self.curve, pl_module.metrics.get("optimal_return"))
        self._draw(trainer, figures, step)
        gif = rollouts_gif(episodes)
        (self.run_dir / "rollouts.gif").write_bytes(gif)
        board.animation("rollouts_moving", gif, _CAPTION, step)
        board.histograms({"test/return_of_episodes": episodes.returns}, step)
        metrics = {
            **pl_module.metrics,
            "num_updates": trainer.global_step,
            "num_frames": data.num_frames,
            "num_tasks": len(data.tasks),
        }
        self._publish(trainer, metrics, summary, step)


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
