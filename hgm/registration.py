"""hgm's families as environments of Gymnasium, by their ids."""

from typing import Any

import gymnasium

FAMILIES: dict[str, dict[str, Any]] = {"Navigation": {}, "Circles": {}, "Scattered": {}}
"""Families in :mod:`hgm.envs`, with the arguments that their ids stand for."""


def register() -> None:
    """Registers ``hgm/Navigation-v0`` and so on; what they name is imported when one is made."""
    for name, arguments in FAMILIES.items():
        id = f"hgm/{name}-v0"
        if id not in gymnasium.registry:
            gymnasium.register(
                id,
                entry_point="hgm.envs.single:make_single",
                kwargs={"family": name, **arguments},
            )
