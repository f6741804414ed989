"""Borderline: groups that are slightly broken, or that recordings hardly show."""

from __future__ import annotations

from dataclasses import replace

from hgm.envs.bank.blocks import relative, spread, table
from hgm.envs.bank.faint import SLIGHTLY
from hgm.envs.bank.more_borderline import FAINT
from hgm.envs.bank.novel_drives import KIWI, SERVO, kiwi
from hgm.envs.bank.novel_earth import CITY_MAPS
from hgm.envs.bank.novel_fields import BLOCH, JONES, fibre
from hgm.envs.bank.novel_machines import GANTRY, gantry

NOVEL_FAINT = (
    replace(KIWI, name="worn_tyre", verdicts=SLIGHTLY, step=kiwi(0.97, 1.0, 1.0)),
    replace(JONES, name="nearly_clear", cause="dynamics", verdicts=SLIGHTLY, step=fibre(0.89)),
    replace(GANTRY, name="nearly_level", cause="dynamics", verdicts=SLIGHTLY, step=gantry(0.01)),
    replace(BLOCH, name="weak_echo", cause="noise", verdicts=FAINT, reward_noise=0.5),
    replace(SERVO, name="short_log", cause="too_few", verdicts=FAINT, most=300),
    replace(
        CITY_MAPS,
        name="next_street",
        cause="coverage",
        verdicts=FAINT,
        tasks=table(spread(0.0, 0.5), spread(-0.1, 0.1)),
        coordinates=relative(0, 1),
    ),
)
