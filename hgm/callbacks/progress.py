"""A progress bar that names the phase."""

from dataclasses import dataclass
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

_REFRESH_PER_SECOND = 4


@dataclass
class _Whole:
    """All of a training that has no phases."""

    name: str
    num_steps: int
    taken: int = 0


class PhaseProgress(ProgressBar):
    """One line per phase of a module with a ``phase``, or one for the whole training."""

    def __init__(self) -> None:
        super().__init__()
        self._progress: Progress | None = None
        self._phase: Any = None
        self._task = TaskID(0)
        self._enabled = True

    def disable(self) -> None:
        """Called by Lightning on all ranks but the first."""
        self._enabled = False

    def enable(self) -> None:
        """Called by Lightning where the bar is to show."""
        self._enabled = True

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Opens the display: data and environments, which come next, may take seconds."""
        if not self._enabled:
            return
        console = Console()
        if not console.is_terminal:  # there the bars appear when all is over
            console.print(f"{_name(pl_module)}: training starts")
        self._progress = Progress(
            TextColumn("{task.description:<30}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            refresh_per_second=_REFRESH_PER_SECOND,
        )
        self._progress.start()
        self._task = self._progress.add_task("preparation", total=None)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Shows what is trained, or its first phase."""
        if self._progress is None:
            return
        self._progress.remove_task(self._task)
        num = getattr(pl_module, "num_updates", trainer.num_training_batches)
        self._whole = _Whole(_name(pl_module), int(num))
        self._show(self._phase_of(trainer, pl_module))

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Shows what this step is of: a phase of one step has ended when it ends."""
        self._show(self._phase_of(trainer, pl_module))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Moves the bar on."""
        self._show(self._phase_of(trainer, pl_module))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Moves the bar on: some phases end with a pass over the data."""
        self._show(self._phase_of(trainer, pl_module))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Closes the display."""
        self._show(None)
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Leaves the terminal usable."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def _phase_of(self, trainer: Trainer, pl_module: LightningModule) -> Any:
        if hasattr(pl_module, "phase") or self._progress is None:
            return getattr(pl_module, "phase", None)
        self._whole.taken = trainer.global_step
        return self._whole

    def _show(self, phase: Any) -> None:
        if self._progress is None:
            return
        if phase is not self._phase:
            if self._phase is not None:
                self._progress.update(self._task, completed=self._phase.num_steps)
                self._progress.stop_task(self._task)
            self._phase = phase
            if phase is not None:
                self._task = self._progress.add_task(phase.name, total=phase.num_steps)
        if phase is not None:
            self._progress.update(self._task, completed=min(phase.taken, phase.num_steps))


def _name(module: LightningModule) -> str:
    return type(module).__name__.lower()
