"""Borderline: groups that are broken by about a hundredth, and one that is hardly recorded."""

from __future__ import annotations

from dataclasses import replace

from hgm.envs.bank.faint import SLIGHTLY
from hgm.envs.bank.more_borderline import FAINT
from hgm.envs.bank.other_circuits import BOOST, EDDY_PROBE, boost
from hgm.envs.bank.other_vehicles import SCARA, scara

OTHER_FAINT = (
    replace(SCARA, name="nearly_upright", cause="dynamics", verdicts=SLIGHTLY, step=scara(0.08)),
    replace(BOOST, name="ideal_diode", cause="dynamics", verdicts=SLIGHTLY, step=boost(0.05)),
    replace(EDDY_PROBE, name="quick_scan", cause="too_few", verdicts=FAINT, most=300),
)
