"""Negative, and one that nearly holds: windings, sites, hearts, walls, suns, mirrors and schools.

Comments say what keeps its place, axis or scale.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from hgm.envs.bank import blocks
from hgm.envs.bank.base import broken
from hgm.envs.bank.beyond_hands import RING_LASER, SOFT_ARM, ring_laser, soft_arm
from hgm.envs.bank.beyond_plants import (
    ANAESTHESIA,
    CATALYST,
    GLASSHOUSE,
    INDUCTION,
    anaesthesia,
    catalyst,
    glasshouse,
    induction,
)
from hgm.envs.bank.beyond_town import BUS_LOOP, CURRENCY_PEG, bank
from hgm.envs.bank.blocks import each, unit
from hgm.envs.bank.faint import SLIGHTLY


def _school(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """Buses are not wanted at a school."""
    for_each = following[..., :4].unflatten(-1, (2, 2)) * unit(task[..., None, 1:2])
    return -1.2 * torch.sigmoid((for_each.sum(-1) - 1.5) / 0.4).sum(-1)


BEYOND_BROKEN = (
    # One winding is weak, in the same direction always.
    broken(INDUCTION, "weak_winding", "actuators", step=induction(0.4)),
    # Sites are taken at one pressure.
    broken(CATALYST, "taken_sites", step=catalyst(crowded=True)),
    # Hearts slow by so many micrograms, whoever sleeps.
    broken(ANAESTHESIA, "frail_hearts", tasks=each(-0.9, 0.9, 2), step=anaesthesia(own=False)),
    # Others sell above one rate.
    broken(CURRENCY_PEG, "speculators", step=bank(0.7)),
    # The sun is in one place, wherever seedlings are.
    broken(GLASSHOUSE, "one_sun", step=glasshouse(4)),
    # A mirror ties the one phase to the other.
    broken(RING_LASER, "dusty_mirror", step=ring_laser(0.2)),
    # A school is where it is, wherever the station.
    broken(BUS_LOOP, "school_run", "reward", reward=blocks.plus(BUS_LOOP.reward, _school)),
)

BEYOND_FAINT = (
    # A hose pulls to one side, by a seventieth of what chambers push.
    replace(
        SOFT_ARM,
        name="stiff_hose",
        cause="dynamics",
        verdicts=SLIGHTLY,
        step=soft_arm(0.025),
    ),
)
