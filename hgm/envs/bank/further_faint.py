"""Borderline: a trap that is nearly round, and winds that are hardly recorded."""

from __future__ import annotations

from dataclasses import replace

from hgm.envs.bank.faint import SLIGHTLY
from hgm.envs.bank.further_magnets import DUSTY_PLASMA, dust
from hgm.envs.bank.further_ocean import TRADE_WINDS
from hgm.envs.bank.more_borderline import FAINT

FURTHER_FAINT = (
    replace(
        DUSTY_PLASMA,
        name="nearly_round_trap",
        cause="dynamics",
        verdicts=SLIGHTLY,
        step=dust(0.012),
    ),
    replace(TRADE_WINDS, name="short_passage", cause="too_few", verdicts=FAINT, most=300),
)
