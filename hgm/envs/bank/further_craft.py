"""Positive: satellites whose orbits may lie any way, and carts on wheels of other sizes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from hgm.envs.bank import blocks
from hgm.envs.bank.base import Step
from hgm.envs.bank.blocks import angles, relative, spread, table, turn, unit
from hgm.envs.bank.fresh_light import tensor
from hgm.envs.bank.later_vehicles import CRAFT, effort
from hgm.envs.bank.novel_fields import bequeathed
from hgm.envs.point import bound_disc

_ROUND = 1e-3
"""Eccentricity of an orbit that is nearly round."""


def precession(rate: Callable[[Tensor], Tensor | float]) -> Step:
    """Vectors of eccentricity and of inclination in degrees, which turn at each other's rates.

    Args:
        rate: Radians that a task's apsides turn where inclination is 1 degree; nodes turn back.
    """

    def step(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
        oval, tilt = state[..., :2] / _ROUND, state[..., 2:]
        own, other = (one.square().sum(-1, keepdim=True) for one in (oval, tilt))
        first, second = (0.35 * bound_disc(one, 1.3) for one in action.chunk(2, -1))
        oval = 0.93 * turn(oval, rate(task) + 0.3 * torch.tanh(other - 1)) + first
        tilt = 0.93 * turn(tilt, -0.7 * rate(task) - 0.2 * torch.tanh(own - 1)) + second
        oval, tilt = oval + 0.04 * random[..., :2], tilt + 0.03 * random[..., 2:]
        return torch.cat((_ROUND * oval, tilt), -1)

    return step


def _slot(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """A perigee and a node are wanted: each of them, and more so both."""
    oval = following[..., :2] / _ROUND - 0.9 * unit(task[..., :1])
    tilt = following[..., 2:] - 0.9 * unit(task[..., 1:2])
    first, second = (torch.exp(-one.square().sum(-1)) for one in (oval, tilt))
    return first * second + 0.4 * first + 0.3 * second


CONSTELLATION = replace(
    CRAFT,
    name="constellation",
    cause="product",
    num_tasks=6,
    dim_state=4,
    dim_action=4,
    tasks=table(angles, angles),
    start=lambda shape, generator: (
        blocks.normal(0.8, 4)(shape, generator) * tensor([_ROUND, _ROUND, 1.0, 1.0])
    ),
    behaviour=blocks.normal(1.0, 4),
    step=precession(lambda task: 0.35),
    reward=blocks.plus(_slot, effort(0.02)),
    generators=torch.cat((blocks.spin(4, 0), blocks.spin(4, 2))),
    action_generators=torch.cat((blocks.spin(4, 0), blocks.spin(4, 2))),
    coordinates=relative(0, 1),
    max_steps=100,
)
"""Satellites of one constellation, with perigees and nodes of their own."""

_WHEELS = torch.diag(tensor([0.0, 0.0, 1.0, 1.0]))[None]
_ORDERS = torch.diag(tensor([1.0, 1.0]))[None]
_RPM = 60.0
"""Revolutions a minute of the wheels of size 1 at 1 m/s."""


def _driven(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """Speed and yaw rate of a cart, and rpm of its wheels, which grip less the more they slip."""
    speed, yaw, left, right = (state / tensor([1.0, 1.0, _RPM, _RPM])).split(1, -1)
    first, second = (action / _RPM).split(1, -1)
    one = torch.tanh(1.5 * (left - speed + 0.4 * yaw))
    two = torch.tanh(1.5 * (right - speed - 0.4 * yaw))
    after = (
        0.95 * speed + 0.2 * (one + two),
        0.8 * yaw + 0.4 * (two - one),
        left + 0.4 * (first - left) - 0.1 * one,
        right + 0.4 * (second - right) - 0.1 * two,
    )
    return (torch.cat(after, -1) + 0.03 * random) * tensor([1.0, 1.0, _RPM, _RPM])


def _patrol(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """Speed is wanted, in a bend to the left, and tyres are not to wear."""
    speed, yaw = following[..., 0], following[..., 1]
    wear = (following[..., 2:] / _RPM * torch.exp(-task)).square().sum(-1)
    return 1.5 * torch.sigmoid(3 * (speed - 0.3)) - 0.4 * (yaw - 0.3).abs() - 0.15 * wear


TYRE_SIZES = replace(
    CRAFT,
    name="tyre_sizes",
    cause="units",
    num_tasks=4,
    dim_state=4,
    tasks=spread(-0.3, 0.3),
    start=blocks.beside(blocks.normal(0.6, 2), blocks.normal(40.0, 2)),
    behaviour=blocks.normal(75.0, 2),
    step=bequeathed(_driven, _WHEELS, _ORDERS, (0,)),
    reward=_patrol,
    generators=_WHEELS,
    action_generators=_ORDERS,
    reward_noise=0.03,
    max_steps=50,
)
"""Carts on smaller and larger wheels, with tachometers, and orders in revolutions a minute."""

FURTHER_CRAFT = (CONSTELLATION, TYRE_SIZES)
