"""Positive: a load on a rope, a car that drifts, and weights that are trained."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from hgm.envs.bank import blocks
from hgm.envs.bank.base import Shape, Step
from hgm.envs.bank.blocks import angles, each, turn, unit
from hgm.envs.bank.fresh_light import CROSS, between, graded, hills, inherited, still, tensor
from hgm.envs.bank.later_vehicles import CRAFT, effort
from hgm.envs.point import bound_disc


def _slung(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """Velocity and tilt of a quadrotor; where its load hangs, off the rotors, and how fast.

    Tilt is ordered, and follows; more throttle makes more of it.
    """
    v, tilt, swing, rate = state.split(2, -1)
    order, throttle = action.split((2, 1), -1)
    fast = v.norm(dim=-1, keepdim=True)
    pushed = 2.2 * (1 + 0.5 * throttle.tanh()) * tilt + 0.6 * swing - 0.6 * fast * v
    rope = swing / (1 + 0.2 * swing.square().sum(-1, keepdim=True)).sqrt()
    rate = rate - 0.3 * (1.5 * rope + 0.8 * rate + 0.5 * pushed)
    after = (
        v + 0.25 * pushed,
        0.6 * tilt + 0.35 * bound_disc(order, 1.2),
        swing + 0.3 * rate,
        rate,
    )
    return torch.cat(after, -1) + 0.02 * random


def _raced(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """Way is to be made towards a gate, no more than is enough, and loads are not to swing."""
    v, _, swing, _ = following.split(2, -1)
    ahead = (v * unit(task[..., :1])).sum(-1)
    return 1.5 * torch.sigmoid(3 * (ahead - 0.4)) - 0.3 * swing.square().sum(-1)


SLUNG_LOAD = replace(
    CRAFT,
    name="slung_load",
    num_tasks=5,
    dim_state=8,
    dim_action=3,
    tasks=angles,
    start=blocks.normal(0.6, 8),
    behaviour=blocks.normal(1.0, 3),
    step=_slung,
    reward=blocks.plus(_raced, effort(0.03)),
    generators=blocks.spin(8, 0, 2, 4, 6),
    action_generators=blocks.spin(3, 0),
    reward_noise=0.02,
    max_steps=50,
)
"""A quadrotor that carries a load on a rope, in air that is still, and gates all round it."""

# Place, heading, speed ahead and to the side, in the frames of rigid motions of a car park.
_MOTIONS = torch.zeros(3, 7, 7, dtype=torch.float64)
_MOTIONS[0] = blocks.spin(7, 0, 2)[0]
_MOTIONS[1, 0, 6] = _MOTIONS[2, 1, 6] = 1.0


def _drifted(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """A car whose tail breaks away in bends: tyres hold up to a force, and then slide."""
    x, heading, speed, slip = state.split((2, 2, 1, 1), -1)
    wheel, pedal = action.tanh().split(1, -1)
    yaw = 0.6 * wheel * speed / (1 + 0.3 * speed.square()) + 0.2 * slip.tanh()
    after = (
        x + 0.35 * (speed * heading + slip * turn(heading, math.pi / 2)) + 0.02 * random[..., :2],
        turn(heading, yaw + 0.03 * random[..., 2:3]),
        0.85 * speed + 0.5 * (pedal + 0.4) - 0.15 * slip.square().tanh() + 0.02 * random[..., 4:5],
        0.9 * slip - 0.6 * torch.tanh(1.5 * slip) - 0.7 * yaw * speed + 0.02 * random[..., 5:],
    )
    return torch.cat(after, -1)


def _on_asphalt(shape: Shape, generator: torch.Generator) -> Tensor:
    heading = unit(blocks.uniform(math.pi, 1)(shape, generator))
    x, rest = blocks.normal(1.1, 2)(shape, generator), blocks.normal(0.5, 2)(shape, generator)
    return torch.cat((x, heading, rest + tensor([0.8, 0.0])), -1)


def _box(x: Tensor) -> Tensor:
    """A box to stop in, nose ahead; coming in sideways is admired."""
    missed = (x[..., :2] - tensor([0.4, 0.2])).square() * tensor([1.0, 2.0])
    show = torch.tanh(x[..., 5].square())
    return -torch.log(0.3 + missed.sum(-1)) + 0.6 * x[..., 2] + 0.4 * show


DRIFT_CAR = replace(
    CRAFT,
    name="drift_car",
    cause="affine",
    group="affine",
    num_tasks=6,
    dim_state=6,
    tasks=blocks.table(each(-1.2, 1.2), each(-0.8, 0.8, 2)),
    start=_on_asphalt,
    step=_drifted,
    reward=blocks.plus(inherited(_MOTIONS, _box, (0, 1, 2)), effort(0.03)),
    generators=_MOTIONS,
    action_generators=still(3, 2, 2),
    coordinates=between(_MOTIONS),
    max_steps=6,
)
"""A large car park, and boxes to drift into, which lie anyhow."""

_BOTH = torch.stack([torch.block_diag(one, one) for one in CROSS])


def descent(each_alone: bool) -> Step:
    """Three weights and their momentum: pulls of batches that a curriculum picks, and decay.

    Args:
        each_alone: Whether every weight has a pace of its own, by its own momentum's size.
    """

    def step(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
        weights, momentum = state.chunk(2, -1)
        size = weights.square().sum(-1, keepdim=True)
        pull = bound_disc(action, 1.5) - 0.8 * weights * size / (0.5 + size)
        momentum = 0.7 * momentum + 0.4 * pull + 0.03 * random[..., 3:]
        squares = momentum.square()
        if not each_alone:
            squares = squares.sum(-1, keepdim=True)
        pace = 0.5 * momentum / (0.1 + squares).sqrt()
        return torch.cat((weights + pace + 0.03 * random[..., :3], momentum), -1)

    return step


_ACCURACY = hills(
    [0.9, 0.2, -0.4], [-0.6, 0.8, 0.3], [0.2, -0.9, 0.6], [-0.4, -0.3, -0.9], width=0.7
)

DESCENT = replace(
    CRAFT,
    name="normalised_descent",
    cause="sphere",
    num_tasks=6,
    dim_state=6,
    dim_action=3,
    tasks=blocks.table(each(-0.8, 0.8, 3), each(0.5, 2.0), each(-1.0, 1.0)),
    start=blocks.normal(0.7, 6),
    behaviour=blocks.normal(1.0, 3),
    step=descent(False),
    reward=graded(inherited(CROSS, _ACCURACY, (0, 1, 2), sees=3), 3),
    generators=_BOTH,
    action_generators=CROSS,
    coordinates=between(_BOTH),
    max_steps=40,
)
"""Training by normalised gradients, and data sets whose features are mixed in their own ways."""

REMOTE_BENCHES = (SLUNG_LOAD, DRIFT_CAR, DESCENT)
