"""Borderline: a group that is broken by about a hundredth."""

from __future__ import annotations

from dataclasses import replace

from hgm.envs.bank.faint import SLIGHTLY
from hgm.envs.bank.other_vehicles import SCARA, scara

OTHER_FAINT_A = (
    replace(SCARA, name="nearly_upright", cause="dynamics", verdicts=SLIGHTLY, step=scara(0.08)),
)
