"""Negative: worlds and drives that have places, axes and scales of their own.

Rewards fix the elements to what is stated, or its mirror images; comments say why dynamics do not
follow them.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from hgm.envs.bank import blocks
from hgm.envs.bank.base import NEVER_FOUND, broken
from hgm.envs.bank.blocks import each, relative, shared, spread, table, turn
from hgm.envs.bank.fresh_light import still
from hgm.envs.bank.goals import CIRCLE
from hgm.envs.bank.novel_drives import ABOUT_MEAN, KIWI, SERVO, WHEELS, kiwi, servo
from hgm.envs.bank.novel_earth import EKMAN, VORTICES, ekman
from hgm.envs.bank.novel_fields import GRAINS, LASER, grain, laser
from hgm.envs.bank.novel_life import ENZYMES, enzymes
from hgm.envs.bank.novel_machines import (
    AIRSHIP,
    GANTRY,
    ROBOT,
    WAREHOUSE,
    airship,
    bell,
    forklift,
    gantry,
)
from hgm.envs.bank.novel_play import (
    ASTEROIDS,
    CHOIR,
    HIGHEST,
    STRADDLE,
    TRANSPOSED,
    asteroids,
    choir,
    market,
)
from hgm.envs.point import bound_disc


def _tendons(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """Bend of a soft arm, and its rate: three tendons, which pull, and never push."""
    x, v = state.chunk(2, -1)
    force = 1.5 * action.clamp(0, 1) @ WHEELS - x - 0.4 * v
    return torch.cat((x + 0.3 * v, v + 0.3 * force), -1) + 0.02 * random


def _bent(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    return -torch.log(0.2 + blocks.distance(following, task).square())


_SHIFTS = torch.zeros(2, 5, 5, dtype=torch.float64)
_SHIFTS[0, 0, 4] = _SHIFTS[1, 1, 4] = 1.0


def _drifting(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """A buoy on a turning earth, which turns faster the further north one is."""
    x, v = state.chunk(2, -1)
    turned = turn(0.93 * v, -0.3 - 0.4 * torch.tanh(x[..., 1:]))
    after = (x + 0.25 * v, turned + 0.25 * bound_disc(action, 1.2))
    return torch.cat(after, -1) + 0.02 * random


def _afloat(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """A place is wanted, and another one less so."""
    x = following[..., :2] - task[..., :2]
    return bell(x, x.new_tensor([0.3, -0.2]), 0.8) + 0.5 * bell(x, x.new_tensor([-0.8, 0.6]), 0.6)


def _hole(points: Tensor, task: Tensor) -> Tensor:
    """A star at one place of the torus, whose angles are columns 2 and 3."""
    off = [
        turn(point, -task[..., column : column + 1])[..., 1:]
        for point, column in zip(points.chunk(2, -1), (2, 3), strict=True)
    ]
    return -0.6 * torch.cat(off, -1)


NOVEL_BROKEN = (
    # Pulls fill a hexagon, which sixths of a turn keep, and mirrors, and nothing else.
    replace(
        ROBOT,
        name="tendons",
        cause="action_set",
        verdicts=NEVER_FOUND,
        dim_action=3,
        tasks=CIRCLE,
        start=blocks.normal(0.6, 4),
        behaviour=blocks.normal(0.8, 3),
        step=_tendons,
        reward=_bent,
        action_generators=ABOUT_MEAN,
    ),
    # Currents share their power, so that maps of actions are turns in three dimensions: these do
    # not make up for steps that are shorter one way.
    broken(KIWI, "worn_wheel", step=kiwi(0.4, 1.0, 1.0)),
    # Aisles have places and a direction.
    broken(WAREHOUSE, "shelves", step=forklift(0.6, 0.7)),
    # Springs are where the hall ends, whatever is wanted.
    broken(GANTRY, "end_stops", step=gantry(1.2, 1.2)),
    # Propellers hold less in thin air.
    broken(AIRSHIP, "thin_air", step=airship(1.5)),
    # Iron holds a rotor in four places of its stator.
    broken(SERVO, "cogging", num_tasks=5, step=servo(0.6)),
    # The first eddy is carried by the second, as strongly as a task says: pushes do not know where
    # the other one is.
    replace(
        VORTICES,
        name="own_vortices",
        cause="actuators",
        verdicts=NEVER_FOUND,
        tasks=table(each(-0.6, 0.6, 2), spread(-1.4, 1.4), spread(-1.0, 1.5)),
    ),
    # A shore lets currents along it pass.
    broken(EKMAN, "coast", num_tasks=5, step=ekman(0.5)),
    # What turns velocities depends on the latitude, and no push knows velocities.
    broken(
        ROBOT,
        "beta_plane",
        group="affine",
        tasks=each(-0.9, 0.9, 2),
        start=blocks.normal(0.8, 4),
        step=_drifting,
        reward=_afloat,
        generators=_SHIFTS,
        action_generators=still(2, 2, 2),
        coordinates=relative(0, 1),
    ),
    # A crystal makes one quadrature larger, and the other one smaller.
    broken(LASER, "squeezed_light", num_tasks=5, step=laser(0.15)),
    # Wishes turn, and the crystal does not.
    broken(GRAINS, "one_crystal", step=grain),
    # Affinities are those of one enzyme, wherever feeds are wanted.
    broken(
        ENZYMES,
        "one_enzyme",
        tasks=table(each(-0.8, 0.8, 2), each(0.5, 2.0), each(-1.0, 1.0)),
        step=enzymes,
    ),
    # A star stands at one place of the world.
    broken(
        ASTEROIDS,
        "black_hole",
        tasks=table(blocks.angles, blocks.angles, shared(0.0, 2 * math.pi, 2)),
        step=asteroids(_hole),
    ),
    # A bank buys below a price, whatever the strikes.
    broken(STRADDLE, "price_support", step=market(0.25)),
    # Thirds are so many semitones in all keys: highest voices can be wanted elsewhere, not sung.
    replace(
        CHOIR,
        name="modes",
        cause="orbits",
        verdicts=NEVER_FOUND,
        num_tasks=6,
        tasks=table(spread(57.0, 63.0), spread(4.0, 11.0)),
        generators=torch.cat((TRANSPOSED, HIGHEST)),
        action_generators=still(2, 3, 3),
        coordinates=relative(0, 1),
    ),
    # A piano has whole tones, which are the same keys for transpositions by whole tones alone.
    replace(
        CHOIR,
        name="whole_tones",
        cause="finite_order",
        verdicts=NEVER_FOUND,
        num_tasks=5,
        tasks=lambda num, generator: torch.cat(
            (
                56 + 2.0 * torch.randperm(num, generator=generator)[:, None].double(),
                torch.full((num, 1), 7.0, dtype=torch.float64),
            ),
            -1,
        ),
        step=choir(0.5),
    ),
)
