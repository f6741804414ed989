"""Negative, one that nearly holds, and one of too few flights: satellites, volts, birds and skins.

Comments say what keeps its axis, place or level.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from hgm.envs.bank import blocks
from hgm.envs.bank.base import broken
from hgm.envs.bank.faint import SLIGHTLY
from hgm.envs.bank.more_borderline import FAINT
from hgm.envs.bank.novel_machines import bell
from hgm.envs.bank.yonder_bench import CABLE_LENGTHS, lock_in
from hgm.envs.bank.yonder_country import FISH_POND, WAGGLE_DANCE, pond
from hgm.envs.bank.yonder_sky import MAGNETORQUER, detumbled
from hgm.envs.bank.yonder_sound import SKIN, heard, skin
from hgm.envs.bank.yonder_sport import SCULLS, TOPSPIN, rowed


def _backhand(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """Strokes to one side of the robot strain its wrist."""
    return -0.4 * torch.relu(action[..., 0] + 0.5 * action[..., 1])


def _weakness(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """An opponent misses balls of some velocity."""
    return 1.5 * bell(following[..., :3], task[..., 1:4], 0.6)


YONDER_BROKEN = (
    # A slab of a satellite tumbles about one of its axes, and turns hardly about another.
    broken(MAGNETORQUER, "slab_satellite", step=detumbled((0.6, 1.0, 1.7))),
    # A converter clips either channel at so many volts, whatever a cable did to a phase.
    broken(CABLE_LENGTHS, "clipped_converter", step=lock_in(0.35)),
    # Cormorants swallow fish up to one weight, whatever the market.
    broken(FISH_POND, "cormorants", step=pond(0.7)),
    # A skin that is dented along one diameter, where its waves are faster.
    heard(broken(SKIN, "dented_kettle", step=skin(0.4))),
    # A robot's wrist is where it is, wherever the corner.
    broken(TOPSPIN, "backhand", "action_term", reward=blocks.plus(TOPSPIN.reward, _backhand)),
    # Every opponent misses other balls, whichever the corner.
    broken(TOPSPIN, "opponents", "reward", reward=blocks.plus(TOPSPIN.reward, _weakness)),
    # A weir in the river stays where it is, while water drifts.
    broken(SCULLS, "weir", step=rowed(1.2)),
)

YONDER_FAINT = (
    heard(
        replace(SKIN, name="nearly_even_skin", cause="dynamics", verdicts=SLIGHTLY, step=skin(0.02))
    ),
    replace(WAGGLE_DANCE, name="few_dances", cause="too_few", verdicts=FAINT, most=200),
)
