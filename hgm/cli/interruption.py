"""Ctrl-C and SIGTERM: the step ends, a checkpoint is written, and the exit code says why."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from lightning import Callback, LightningModule, Trainer

from hgm.callbacks.base import validates_after
from hgm.cli.errors import Interrupted

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def received_by(handler: Callable[[int, FrameType | None], Any]) -> Iterator[None]:
    """Signals come to a function in this context; only the main thread can listen."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former = {number: signal.signal(number, handler) for number in SIGNALS}
    try:
        yield
    finally:
        for number, before in former.items():
            signal.signal(number, before)


def stop(number: int, frame: FrameType | None) -> None:
    """Takes effect at once, as an exception: what is half done is cleared away.

    Raises:
        Interrupted: Always.
    """
    raise Interrupted(number)


class StopOnSignal(Callback):
    """Lets a training step end before a signal takes effect, and saves a checkpoint then.

    Outside of training, and for the second signal, it takes effect at once.

    Args:
        checkpoint: Where the checkpoint goes, if the module has something to go on with.
    """

    def __init__(self, checkpoint: Path) -> None:
        self._checkpoint = checkpoint
        self._training, self._received = False, 0

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Signals come here in this context."""
        with received_by(self._receive):
            yield

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """From here on steps are waited for, where one process trains."""
        # Several processes would wait for each other if one of them stopped to save.
        self._training = trainer.world_size == 1

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Saves and ends, if a signal came; a validation that follows comes first.

        Raises:
            Interrupted: If so.
        """
        if self._received and not validates_after(trainer, batch_idx):
            if any(one.state_dict() for one in trainer.optimizers):  # closed forms start anew
                trainer.save_checkpoint(self._checkpoint)
            raise Interrupted(self._received)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Steps are over."""
        self._training = False

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """No step will end any more."""
        self._training = False

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self._received or not self._training:
            stop(number, frame)
        self._received = number
