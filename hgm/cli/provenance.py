"""Checkpoints say which run they belong to, and another run's is refused."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from lightning import Callback, LightningModule, Trainer

from hgm.cli.folder import LOCAL, check_same, flatten

_KEY = "run"
_NOT_LEARNED_FROM = (*LOCAL, "report", "trainer")
"""Keys that may change between a checkpoint and what goes on from it."""


class Provenance(Callback):
    """Writes configuration, seed and number of processes into every checkpoint.

    Args:
        settings: The whole configuration.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._settings = _learned_from(settings)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Adds them."""
        checkpoint[_KEY] = {"settings": self._settings, "world_size": trainer.world_size}


def check_provenance(
    checkpoint: Mapping[str, Any], settings: Mapping[str, Any], where: str, own: bool = False
) -> None:
    """Checks that a checkpoint was written by a run of the same settings.

    The number of processes is checked by the DataModules, which know it.

    Args:
        checkpoint: Its content.
        settings: The whole configuration of the run that is to go on.
        where: The checkpoint's file.
        own: Whether it lies in the run's own folder, which may have been moved: paths may differ.

    Raises:
        ValueError: Naming what differs.
    """
    run = checkpoint.get(_KEY)
    if not isinstance(run, dict) or not isinstance(run.get("settings"), dict):
        raise ValueError(f"Expected {where} to be a checkpoint that says which run wrote it.")
    old, new = run["settings"], _learned_from(settings)
    if own:
        old, new = ({k: v for k, v in part.items() if not _is_path(v)} for part in (old, new))
    check_same(old, new, f"The run that wrote {where}")


def _learned_from(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: value
        for key, value in flatten(settings)
        if key.partition(".")[0] not in _NOT_LEARNED_FROM
    }


def _is_path(value: Any) -> bool:
    return isinstance(value, str) and os.path.isabs(value)
