"""Negative, and two that data hardly tell: axes, feeds, booths, beams, rivers and tastes that stay.

Comments say what keeps its place, axis or scale.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from hgm.envs.bank import blocks
from hgm.envs.bank.base import broken
from hgm.envs.bank.blocks import each, spread, table, unit
from hgm.envs.bank.faint import SLIGHTLY
from hgm.envs.bank.more_borderline import FAINT
from hgm.envs.bank.remote_benches import DESCENT, descent
from hgm.envs.bank.remote_clinic import (
    CURL_FIELD,
    ENTHALPY,
    RESISTANCE,
    SADDLE_FIELD,
    resistance,
    vessels,
)
from hgm.envs.bank.remote_roads import MOTORWAY, TOLL_ROAD, WILDFIRE, wildfire
from hgm.envs.bank.remote_waves import TASTE_TREE, THREE_WAVES, liked


def _beaten(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """What a detector sees where the pump meets a local oscillator."""
    return 0.5 * torch.sigmoid(4 * (following[..., 4:] * unit(task[..., 2:3])).sum(-1))


REMOTE_BROKEN = (
    # Every weight has its own pace, so that weights are not to be mixed.
    broken(DESCENT, "adaptive_rates", step=descent(True)),
    # A robot helps along one axis, and hinders across it.
    broken(CURL_FIELD, "saddle_field", step=SADDLE_FIELD.step),
    # A feed has its temperature, whatever temperatures are wanted.
    broken(ENTHALPY, "cold_feed", step=vessels(-0.5)),
    # Booths let as many cars through, whatever the lanes.
    broken(MOTORWAY, "toll_booths", tasks=spread(-0.6, 0.6), step=TOLL_ROAD.step),
    # A local oscillator has a phase, whatever phases are wanted.
    broken(
        THREE_WAVES,
        "local_oscillator",
        "reward",
        reward=blocks.plus(THREE_WAVES.reward, _beaten),
    ),
    # A river is where it is, whatever the wind.
    broken(WILDFIRE, "river", step=wildfire(0.7)),
    # What users like second is anywhere.
    broken(
        TASTE_TREE,
        "second_tastes",
        "reward",
        tasks=table(each(-0.5, 0.5, 3), each(0.8, 2 * math.pi - 0.2)),
        reward=liked(lambda task: task[..., 3]),
    ),
)

REMOTE_FAINT = (
    # Kidneys keep back a twenty-fifth of a doubling from one concentration on.
    replace(
        RESISTANCE,
        name="hardy_kidneys",
        cause="dynamics",
        verdicts=SLIGHTLY,
        step=resistance(0.04),
    ),
    replace(CURL_FIELD, name="first_session", cause="too_few", verdicts=FAINT, most=300),
)
