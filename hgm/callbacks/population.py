"""What a run of MetaGenRL leaves: objective.pt, metrics.json, scores.json, checkpoints."""

from __future__ import annotations

from typing import Any

from lightning import Trainer
from rich.table import Table

from hgm.callbacks.base import TrainingReport
from hgm.callbacks.curves import curve_figure
from hgm.files import write_json


class PopulationReport(TrainingReport):
    """Writes what :class:`~hgm.modules.MetaGenRL` learned, on the first process."""

    needs = ("actors", "metrics", "save")

    def _validate(self, trainer: Trainer, module: Any) -> dict[str, float]:
        return {"return": float(trainer.callback_metrics["val/return"])}

    def on_test_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Writes files and the figure, and prints the table."""
        if not trainer.is_global_zero:
            return
        pl_module.save(self.run_dir / "objective.pt")
        data, step = trainer.datamodule, trainer.global_step  # type: ignore[attr-defined]
        write_json(self.run_dir / "scores.json", {"curve": self.curve})
        if self.curve:
            self._draw(trainer, {"return": curve_figure(self.curve, None)}, step)
        metrics = {
            **pl_module.metrics,
            "num_updates": step,
            "num_frames": data.num_frames * trainer.world_size,
            "num_agents": data.num_agents * len(data.envs) * trainer.world_size,
        }
        self._publish(trainer, metrics, summary, step)


def summary(metrics: dict[str, Any]) -> Table:
    """The table that ends a run."""
    table = Table(title="Population of agents", show_header=False, title_justify="left")
    table.add_column("quantity", style="bold")
    table.add_column("value")
    for key, value in metrics.items():
        if key.startswith("return"):
            name = "mean return" if key == "return" else f"  of family {key.split('_')[1]}"
            table.add_row(name, f"{value:.3f}")
    table.add_row("agents", f"{metrics['num_agents']}")
    table.add_row("updates, frames", f"{metrics['num_updates']:,}, {metrics['num_frames']:,}")
    table.add_row("wall time", f"{metrics['wall_seconds']:.1f} s")
    return table
