"""Positive: wheels, gears and motors, whose phases turn at rates of their own."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from hgm.envs.bank import blocks
from hgm.envs.bank.base import Shape, Step
from hgm.envs.bank.blocks import distance, each, table, turn, unit
from hgm.envs.bank.fields import numbers, vectors
from hgm.envs.bank.fresh_circuits import common
from hgm.envs.bank.fresh_light import graded, still, tensor
from hgm.envs.bank.goals import CIRCLE
from hgm.envs.bank.novel_machines import ROBOT
from hgm.envs.point import bound_disc

# Three wheels at thirds of a turn: what they do together moves nothing, and heats the motors.
WHEELS = unit(2 * math.pi * torch.arange(3, dtype=torch.float64)[:, None] / 3)
ABOUT_MEAN = tensor([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]])[None] / math.sqrt(3)


def kiwi(*tyres: float) -> Step:
    """Place, and heat of motors, of a robot on three wheels that share their power.

    Args:
        tyres: What is left of each of three tyres.
    """
    wheels = WHEELS * tensor([*tyres])[:, None]

    def step(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
        x, heat = state.split((2, 1), -1)
        power = bound_disc(action, 1.0)
        strained = common(power)[..., :1].square()
        moved = 0.95 * x + 0.3 * power @ wheels / (1 + heat.square()) + 0.02 * random[..., :2]
        return torch.cat((moved, 0.7 * heat + strained + 0.05 * random[..., 2:]), -1)

    return step


def _cool_spot(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """A plateau about the goal, and cool motors."""
    return torch.sigmoid((0.6 - distance(following, task)) / 0.2) - 0.3 * following[..., 2]


KIWI = replace(
    ROBOT,
    name="kiwi_drive",
    dim_state=3,
    dim_action=3,
    tasks=table(CIRCLE, each(0.5, 2.0), each(-1.0, 1.0)),
    start=blocks.beside(blocks.normal(0.6, 2), blocks.normal(0.3, 1)),
    behaviour=blocks.normal(0.8, 3),
    step=kiwi(1.0, 1.0, 1.0),
    reward=graded(_cool_spot, 2),
    generators=blocks.spin(3, 0),
    action_generators=ABOUT_MEAN,
)
"""A robot whose heading is held, and whose actions are three currents."""


def _geared(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """Two wheels, the second of a third of the teeth, with play between them; and a rate."""
    (one, two), rate = numbers(state[..., :4]), state[..., 4:]
    play = (one**3 * two).imag[..., None]
    ahead = 0.3 * rate + 0.02 * random[..., :1]
    back = -0.9 * rate - 0.15 * play + 0.15 * random[..., 1:2]
    faster = 0.9 * rate + 0.5 * action.tanh() - 0.3 * play + 0.02 * random[..., 4:]
    return torch.cat((turn(state[..., :2], ahead), turn(state[..., 2:4], back), faster), -1)


def _in_gear(shape: Shape, generator: torch.Generator) -> Tensor:
    one = blocks.uniform(math.pi, 1)(shape, generator)
    play, rate = (blocks.normal(scale, 1)(shape, generator) for scale in (0.8, 0.5))
    return torch.cat((unit(one), unit(play - 3 * one), rate), -1)


def _meshed(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    first = (following[..., :2] * unit(task[..., :1])).sum(-1)
    second = (following[..., 2:4] * unit(0.8 - 3 * task[..., :1])).sum(-1)
    return torch.exp(1.5 * (first - 1)) + 0.4 * second


def servo(teeth: float) -> Step:
    """Currents, flux of a rotor of two pole pairs, and its rate; iron teeth hold it in places."""

    def step(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
        (current, rotor), rate = numbers(state[..., :4]), state[..., 4]
        flux = rotor**2
        (volts,) = numbers(bound_disc(action, 1.0))
        torque = (flux.conj().resolve_conj() * current).imag - teeth * (rotor**4).imag
        driven = vectors(0.8 * current + 0.5 * volts - 0.3j * rate * flux)
        turned = turn(state[..., 2:4], 0.4 * rate[..., None])
        faster = (0.9 * rate + 0.5 * torque)[..., None]
        still_ = torch.zeros_like(turned)
        noise = 0.02 * torch.cat((random[..., :2], still_, random[..., 4:]), -1)
        return torch.cat((driven, turned, faster), -1) + noise

    return step


def _wound(shape: Shape, generator: torch.Generator) -> Tensor:
    current, rate = blocks.normal(0.6, 2)(shape, generator), blocks.normal(0.6, 1)(shape, generator)
    return torch.cat((current, unit(blocks.uniform(math.pi, 1)(shape, generator)), rate), -1)


def _held(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """The rotor is wanted at an angle, and copper is to stay cool."""
    along = (following[..., 2:4] * unit(task[..., :1])).sum(-1)
    return torch.exp(1.5 * (along - 1)) - 0.15 * following[..., :2].square().sum(-1)


SERVO = replace(
    ROBOT,
    name="servo_motor",
    cause="product",
    num_tasks=4,
    dim_state=5,
    tasks=blocks.angles,
    start=_wound,
    step=servo(0.0),
    reward=_held,
    generators=blocks.spin(5, 0, 2, rates=(2.0, 1.0)),
    action_generators=blocks.spin(2, 0, rates=(2.0,)),
)
"""A synchronous motor in the frame of its stator."""


def _on_mars(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """A rover that does what it was told two steps ago."""
    x, last, asked = state.split(2, -1)
    moved = 0.95 * x + blocks.disc(last) + 0.02 * random[..., :2]
    return torch.cat((moved, asked, action), -1)


NOVEL_DRIVES = (
    KIWI,
    replace(
        ROBOT,
        name="gear_train",
        cause="product",
        dim_state=5,
        dim_action=1,
        tasks=blocks.angles,
        start=_in_gear,
        behaviour=blocks.normal(1.0, 1),
        step=_geared,
        reward=_meshed,
        generators=blocks.spin(5, 0, 2, rates=(1.0, -3.0)),
        action_generators=still(1, 1, 1),
    ),
    SERVO,
    replace(
        ROBOT,
        name="mars_rover",
        num_tasks=4,
        dim_state=6,
        start=blocks.beside(blocks.normal(0.6, 2), blocks.normal(0.1, 4)),
        behaviour=blocks.normal(0.1, 2),
        step=_on_mars,
        reward=lambda state, action, following, task: -(distance(following, task).sqrt()),
        generators=blocks.spin(6, 0, 2, 4),
        reward_noise=0.02,
    ),
)
