"""Negative: what is wanted turns, shifts or scales, and something else does not.

Comments say what keeps its place, axis or scale.
"""

from __future__ import annotations

from torch import Tensor

from hgm.envs.bank import blocks
from hgm.envs.bank.base import broken
from hgm.envs.bank.blocks import angles, spread, table
from hgm.envs.bank.broken_rewards import ANY_ANGLE
from hgm.envs.bank.goals import CIRCLE
from hgm.envs.bank.later_physics import NANOMAGNET, POWER_GRID, nanomagnet, power_grid
from hgm.envs.bank.later_process import (
    CYLINDER,
    DRUG_DOSES,
    EXCHANGER,
    cylinder,
    exchanger,
)
from hgm.envs.bank.later_robots import FURUTA, MICROROBOT, furuta, microrobot
from hgm.envs.bank.later_signals import CARRIER, LENS, carrier, lens
from hgm.envs.bank.later_society import EPIDEMIC, OPINIONS, epidemic, opinions, polled
from hgm.envs.bank.later_vehicles import (
    BICOPTER,
    HOVERCRAFT,
    PLATOON,
    REGATTA,
    bicopter,
    landed,
    of_state,
    regatta,
    stopped,
)
from hgm.envs.bank.scarce import quarters


def _side_effects(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """Side effects, which grow with the square of doses."""
    return -4 * action.square().sum(-1)


LATER_BROKEN = (
    # Rotors lift more near the ground.
    broken(BICOPTER, "ground_effect", step=bicopter(1.2)),
    # The wind goes one way, whatever the marks.
    broken(REGATTA, "trade_wind", tasks=table(CIRCLE, ANY_ANGLE), step=regatta(2)),
    # Bows are wanted one way, wherever landings are.
    broken(HOVERCRAFT, "facing_north", "reward", tasks=table(CIRCLE, ANY_ANGLE), reward=landed(2)),
    # Gaps are not changed by shifts.
    broken(
        PLATOON,
        "own_gaps",
        "reward",
        num_tasks=5,
        tasks=table(spread(-1.5, 1.5), spread(-0.5, 2.5)),
        reward=of_state(stopped(1)),
    ),
    # Every arm has a pendulum of its own.
    broken(
        FURUTA,
        "own_pendulums",
        "actuators",
        num_tasks=5,
        tasks=table(angles, spread(0.3, 2.5)),
        step=furuta(1),
    ),
    # A flow has a direction.
    broken(MICROROBOT, "shear_flow", step=microrobot(0.12)),
    # Oil is thick below one temperature.
    broken(EXCHANGER, "thick_oil", step=exchanger(thick=True)),
    # Outdoors the pressure is 1.
    broken(CYLINDER, "leaky_valve", step=cylinder(0.4)),
    # A large grid has one phase.
    broken(POWER_GRID, "infinite_bus", step=power_grid(1.2)),
    # Side effects are those of so many grams, whatever one weighs.
    broken(
        DRUG_DOSES,
        "side_effects",
        "action_term",
        tasks=spread(-0.8, 0.8),
        behaviour=lambda shape, generator: 0.25 + blocks.uniform(0.25, 2)(shape, generator),
        reward=blocks.plus(DRUG_DOSES.reward, _side_effects),
    ),
    # A crystal has an axis.
    broken(NANOMAGNET, "easy_axis", step=nanomagnet(0.3)),
    # A lens draws in what is further out than so many pixels.
    broken(LENS, "fisheye", tasks=spread(-1.8, 1.8), step=lens(1.2)),
    # Scales of answers end.
    broken(
        OPINIONS,
        "questionnaire",
        tasks=spread(-0.8, 0.8),
        start=lambda shape, generator: polled(shape, generator).clamp(-1, 1),
        step=opinions(1.0),
    ),
    # There are so many beds, whatever the town.
    broken(EPIDEMIC, "beds", step=epidemic(0.3)),
    # Four symbols are the same after quarters of a turn.
    broken(CARRIER, "four_symbols", "finite_order", tasks=quarters, step=carrier(0.6)),
)
