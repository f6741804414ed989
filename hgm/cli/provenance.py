"""Checkpoints say which run they belong to, and another run's is refused."""

from __future__ import annotations

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
    checkpoint: Mapping[str, Any], settings: Mapping[str, Any], where: str
) -> None:
    """Checks that a checkpoint was written by a run of the same settings.

    The number of processes is checked by the DataModules, which know it.

    Raises:
        ValueError: Naming what differs.
    """
    run = checkpoint.get(_KEY)
    if not isinstance(run, dict) or not isinstance(run.get("settings"), dict):
        raise ValueError(
            f"Expected {where} to be a checkpoint of hgm that says which run wrote it."
        )
    check_same(run["settings"], _learned_from(settings), f"The run that wrote {where}")


def _learned_from(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: value
        for key, value in flatten({k: v for k, v in settings.items() if k not in _NOT_LEARNED_FROM})
    }
