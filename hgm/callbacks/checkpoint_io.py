"""How Lightning writes and reads checkpoints: in one go, the one before kept, no code run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.pytorch.plugins.io import CheckpointIO

from hgm.files import read_tensors, write_checkpoint


class AtomicCheckpointIO(CheckpointIO):
    """A Trainer's plugin: checkpoints that survive a kill, and that are read as data.

    Lightning's own writes to the folder of temporary files, and copies from there when that is
    another file system: a reader, or whoever resumes after a kill, may find half a file.

    Example:
        >>> from lightning import Trainer
        >>> trainer = Trainer(plugins=[AtomicCheckpointIO()], logger=False, accelerator="cpu")
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        """Writes it, see :func:`hgm.files.write_checkpoint`.

        Raises:
            OSError: If it cannot be written; the former one is then still there.
            TypeError: If there are ``storage_options``: files are local.
        """
        if storage_options is not None:
            raise TypeError(f"Expected no `storage_options`, got {storage_options!r}.")
        write_checkpoint(path, checkpoint)

    def load_checkpoint(
        self, path: str | Path, map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Reads it onto the CPU, see :func:`hgm.files.read_tensors`, whatever else is asked for.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it cannot be read, in one line that names it.
        """
        return read_tensors(path, "a checkpoint")

    def remove_checkpoint(self, path: str | Path) -> None:
        """Removes the file, if there is one."""
        Path(path).unlink(missing_ok=True)
