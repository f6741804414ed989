"""Borderline: groups that are broken by about a hundredth."""

from __future__ import annotations

from dataclasses import replace

from hgm.envs.bank.faint import SLIGHTLY
from hgm.envs.bank.later_physics import NANOMAGNET, POWER_GRID, nanomagnet, power_grid
from hgm.envs.bank.later_society import FIRM, firm

LATER_FAINT = (
    replace(
        POWER_GRID, name="weak_tie", cause="dynamics", verdicts=SLIGHTLY, step=power_grid(0.012)
    ),
    replace(
        NANOMAGNET, name="soft_iron", cause="dynamics", verdicts=SLIGHTLY, step=nanomagnet(0.01)
    ),
    replace(FIRM, name="small_grant", cause="dynamics", verdicts=SLIGHTLY, step=firm(0.01)),
)
