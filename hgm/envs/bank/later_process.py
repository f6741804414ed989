"""Positive: vessels, exchangers and doses, in units of their own."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from hgm import lie
from hgm.envs.bank import blocks
from hgm.envs.bank.base import Draw, Shape, Step
from hgm.envs.bank.blocks import each, relative, spread, table
from hgm.envs.bank.fresh_light import between, inherited, still, tensor
from hgm.envs.bank.later_vehicles import CRAFT, effort, shifts


def _tracer(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """Level of a vessel, and concentration of a tracer: water that is let in, and doses."""
    level, tracer = state.split(1, -1)
    valve, dose = action.split(1, -1)
    water = 0.3 * torch.sigmoid(1.5 * valve)
    after = level + water - 0.15 * level.sqrt()
    mixed = (level * tracer + 0.3 * dose) / (level + water)
    return torch.cat((after, mixed), -1) * (0.02 * random).exp()


def _filled(shape: Shape, generator: torch.Generator) -> Tensor:
    level, tracer = (blocks.normal(scale, 1)(shape, generator) for scale in (0.3, 0.7))
    return torch.cat((level, tracer), -1).exp()


def sizes(scale: float, width: int) -> Draw:
    """Amounts of one order of magnitude, which is log-normal with this deviation."""

    def draw(shape: Shape, generator: torch.Generator) -> Tensor:
        order = blocks.normal(scale, 1)(shape, generator)
        return (order + blocks.normal(0.4, width)(shape, generator)).exp()

    return draw


def _dosing(shape: Shape, generator: torch.Generator) -> Tensor:
    return torch.cat(
        (blocks.normal(1.0, 1)(shape, generator), 0.4 * sizes(0.6, 1)(shape, generator)), -1
    )


def _blended(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """A concentration is wanted, and a level."""
    level, tracer = following.unbind(-1)
    missed = (tracer.log() - task[..., 0]).abs()
    return -missed - 0.8 * (level - 1).square()


TRACER = replace(
    CRAFT,
    name="tracer",
    cause="units",
    num_tasks=4,
    dim_state=2,
    tasks=spread(-0.6, 0.6),
    start=_filled,
    behaviour=_dosing,
    step=_tracer,
    reward=_blended,
    generators=torch.diag(tensor([0.0, 1.0]))[None],
    action_generators=torch.diag(tensor([0.0, 1.0]))[None],
    max_steps=5,
)
"""A vessel with a tracer, of which other concentrations are wanted."""

# Scales of temperature: where they begin, and their degree.
DEGREES = torch.cat((shifts(4, (0, 1, 2, 3)), torch.diag(tensor([1.0, 1, 1, 1, 0]))[None]))
_INLETS = tensor([1.0, 1.0, -1.0, -1.0])


def exchanger(thick: bool) -> Step:
    """Two cells of a hot stream, two of a cold one that goes the other way; flows are chosen.

    Args:
        thick: Whether heat goes through hot oil more easily than through cold oil.
    """

    def step(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
        inlets = lie.act(lie.exp(lie.hat(task[..., 0, :2], DEGREES)), _INLETS.expand_as(state))
        hot, cold = (0.6 * torch.sigmoid(1.5 * action)).split(1, -1)
        first, second, third, last = state.split(1, -1)
        ease = 0.6 * torch.sigmoid(2 * torch.cat((first, second), -1)) if thick else 0.3
        there, back = (ease * torch.cat((first - last, second - third), -1)).split(1, -1)
        flows = (
            hot * (inlets[..., :1] - first) - there,
            hot * (first - second) - back,
            cold * (inlets[..., 2:3] - third) + back,
            cold * (third - last) + there,
        )
        return state + torch.cat(flows, -1) + 0.02 * random

    return step


def _warm(x: Tensor) -> Tensor:
    """The cold stream is wanted at one temperature, and the hot one to leave at another."""
    return -(x[..., 3] - 0.3).abs() - 0.6 * (x[..., 1] + 0.1).abs()


EXCHANGER = replace(
    CRAFT,
    name="heat_exchanger",
    cause="heredity",
    group="affine",
    num_tasks=6,
    dim_state=4,
    tasks=table(each(-0.7, 0.7), each(-0.4, 0.4)),
    start=blocks.normal(0.8, 4),
    step=exchanger(thick=False),
    reward=blocks.plus(inherited(DEGREES, _warm, (0, 1)), effort(0.03)),
    generators=DEGREES,
    action_generators=still(2, 2, 2),
    coordinates=between(DEGREES),
    max_steps=6,
)
"""One heat exchanger, fed at other temperatures, and what it is to make of them."""


def cylinder(leak: float) -> Step:
    """Volume and pressure of gas behind a piston: quick moves heat it, walls cool it to 1.

    Args:
        leak: Rate at which a valve lets pressures above and below 1 escape.
    """

    def step(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
        volume, pressure = state.log().split(1, -1)
        stroke, heater = (0.35 * action.tanh()).split(1, -1)
        warm = volume + pressure
        after = (
            volume + stroke,
            pressure - 1.4 * stroke - 0.4 * torch.tanh(warm) + heater - leak * pressure,
        )
        return torch.exp(torch.cat(after, -1) + 0.02 * random)

    return step


def _pressed(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """A pressure is wanted, and a temperature."""
    volume, pressure = following.log().unbind(-1)
    missed = pressure + task[..., 0]
    return torch.exp(-missed.square() / (2 * 0.6**2)) - 0.4 * (volume + pressure - 0.2).abs()


CYLINDER = replace(
    CRAFT,
    name="gas_cylinder",
    cause="noncompact",
    num_tasks=4,
    tasks=spread(-0.8, 0.8),
    start=lambda shape, generator: (
        blocks.normal(0.7, 2)(shape, generator) @ tensor([[1.0, -1.0], [0.0, 0.6]])
    ).exp(),
    step=cylinder(0.0),
    reward=blocks.plus(_pressed, effort(0.05)),
    generators=torch.diag(tensor([1.0, -1.0]))[None],
    action_generators=still(1, 2, 2),
    max_steps=10,
)
"""A cylinder of gas, and pressures that are wanted at one temperature."""


def _doses(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """Amounts of a drug in gut, blood and tissue; pills and infusions."""
    gut, blood, tissue = state.split(1, -1)
    pill, drip = action.split(1, -1)
    bound = 0.4 * blood.square() / (blood + tissue)
    after = (
        0.6 * gut + pill,
        0.7 * blood + 0.3 * gut - bound + 0.15 * tissue + drip,
        0.75 * tissue + bound,
    )
    return torch.cat(after, -1) * (0.03 * random).exp()


def _window(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """Blood is wanted within a window, tissue below it."""
    _, blood, tissue = (following.log() - task[..., :1]).unbind(-1)
    within = torch.exp(-blood.square() / (2 * 0.6**2))
    return within - 0.2 * torch.nn.functional.softplus(2 * tissue)


DRUG_DOSES = replace(
    CRAFT,
    name="drug_doses",
    cause="units",
    num_tasks=4,
    dim_state=3,
    tasks=spread(-0.5, 0.5),
    start=sizes(0.7, 3),
    behaviour=lambda shape, generator: 0.2 * sizes(0.6, 2)(shape, generator),
    step=_doses,
    reward=_window,
    generators=torch.eye(3, dtype=torch.float64)[None],
    action_generators=torch.eye(2, dtype=torch.float64)[None],
    coordinates=relative(0),
    max_steps=5,
)
"""Patients of other weights, whose amounts of a drug are to be in a window."""

LATER_PROCESS = (TRACER, EXCHANGER, CYLINDER, DRUG_DOSES)
