"""Positive: insulin, clocks of the body and bacteria, sensitive and in phase as they are."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from hgm.envs.bank import blocks
from hgm.envs.bank.base import Shape, Step
from hgm.envs.bank.blocks import angles, relative, spread, turn, unit
from hgm.envs.bank.fresh_light import still, tensor
from hgm.envs.bank.later_process import sizes
from hgm.envs.bank.later_vehicles import CRAFT, effort


def _pumped(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """Glucose in mmol/l, insulin where it works and in blood; infusions and meals."""
    glucose, works, blood = state.split(1, -1)
    drip, meal = action.split(1, -1)
    felt = works * torch.exp(-task[..., :1])
    used = 0.5 * glucose * felt / (1 + felt)
    after = (
        glucose + 0.1 * (6 - glucose) - used + 3.5 * torch.sigmoid(2 * meal),
        0.6 * works + 0.4 * blood,
        0.5 * blood + drip,
    )
    return torch.cat(after, -1) * (tensor([0.02, 0.03, 0.03]) * random).exp()


def _patient(shape: Shape, generator: torch.Generator) -> Tensor:
    glucose = 6.5 * blocks.normal(0.35, 1)(shape, generator).exp()
    return torch.cat((glucose, sizes(0.8, 2)(shape, generator)), -1)


def _in_range(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """Glucose is wanted between 4 and 8, and insulin low by the patient's own measure."""
    glucose, blood = following[..., 0], following[..., 2].log() - task[..., 0]
    within = torch.sigmoid((glucose - 4) / 0.4) - torch.sigmoid((glucose - 8) / 0.6)
    return within - 0.3 * torch.nn.functional.softplus(2 * blood)


def _infused(shape: Shape, generator: torch.Generator) -> Tensor:
    return torch.cat(
        (0.5 * sizes(0.9, 1)(shape, generator), blocks.normal(1.0, 1)(shape, generator)), -1
    )


INSULIN = replace(
    CRAFT,
    name="insulin_pump",
    cause="heredity",
    num_tasks=4,
    dim_state=3,
    tasks=spread(-0.5, 0.5),
    start=_patient,
    behaviour=_infused,
    step=_pumped,
    reward=_in_range,
    generators=torch.diag(tensor([0.0, 1.0, 1.0]))[None],
    action_generators=torch.diag(tensor([1.0, 0.0]))[None],
    max_steps=4,
)
"""Patients who need more or less insulin for the same glucose."""


def clock(column: int | None) -> Step:
    """A clock of the body, and where the sun is: lamps and drugs, hour by hour.

    Args:
        column: Where the rate of the clock is; a day's if None.
    """

    def step(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
        inner, sun = state.chunk(2, -1)
        lamp, drug = action.split(1, -1)
        rate = math.pi / 12 if column is None else task[..., column : column + 1]
        power = inner.square().sum(-1, keepdim=True)
        facing = (inner * sun).sum(-1, keepdim=True)
        swings = turn(inner, rate + 0.15 * facing) * 1.25 / (1 + 0.25 * power)
        lit = 0.5 * torch.sigmoid(2 * lamp) * (1 - 0.4 * torch.tanh(facing)) * sun
        later = turn(swings, 0.25 * drug.tanh()) + lit + 0.04 * random[..., :2]
        return torch.cat((later, turn(sun, math.pi / 12 + 0.05 * random[..., 2:3])), -1)

    return step


def _any_hour(shape: Shape, generator: torch.Generator) -> Tensor:
    inner, hour = blocks.normal(0.7, 2)(shape, generator), blocks.uniform(math.pi, 1)
    return torch.cat((inner, unit(hour(shape, generator))), -1)


def _awake(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """A phase of the clock is wanted, above a threshold, and more so at one time of day."""
    phase, sun = ((one * unit(task[..., :1])).sum(-1) for one in following.split(2, -1))
    return torch.sigmoid((phase - 0.3) / 0.2) * (1.3 + 0.5 * sun)


JET_LAG = replace(
    CRAFT,
    name="jet_lag",
    cause="product",
    num_tasks=4,
    dim_state=4,
    tasks=angles,
    start=_any_hour,
    step=clock(None),
    reward=blocks.plus(_awake, effort(0.03)),
    generators=blocks.spin(4, 0, 2),
    action_generators=still(1, 2, 2),
    max_steps=20,
)
"""Travellers who are to be awake at other hours."""


def receptors(half: float | None) -> Step:
    """A ligand, what a bacterium remembers of it, and its tumbling: it feels folds.

    Args:
        half: Concentration at which half of its receptors are taken; None: far more than there is.
    """

    def step(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
        ligand, memory, tumble = state.split(1, -1)
        pump, flow = action.tanh().split(1, -1)
        fold = torch.tanh(ligand.log() - memory.log())
        seen = ligand if half is None else ligand / (1 + ligand / half)
        after = (
            ligand * torch.exp(0.4 * pump - 0.2 * torch.tanh(tumble) + 0.03 * random[..., :1]),
            (0.65 * memory + 0.35 * seen) * (0.03 * random[..., 1:2]).exp(),
            0.6 * tumble + 0.6 * fold + 0.4 * flow + 0.05 * random[..., 2:],
        )
        return torch.cat(after, -1)

    return step


def _in_the_dish(shape: Shape, generator: torch.Generator) -> Tensor:
    ligand, memory, tumble = (
        blocks.normal(scale, 1)(shape, generator) for scale in (0.8, 0.4, 0.5)
    )
    return torch.cat((ligand.exp(), (ligand + memory).exp(), tumble), -1)


def _fed(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """A concentration is wanted, and less than it is not as bad as more."""
    missed = following[..., 0].log() - task[..., 0]
    return -torch.maximum(1.5 * missed, -0.8 * missed) - 0.1 * following[..., 2].square()


CHEMOTAXIS = replace(
    CRAFT,
    name="chemotaxis",
    cause="noncompact",
    num_tasks=4,
    dim_state=3,
    tasks=spread(-0.55, 0.55),
    start=_in_the_dish,
    step=receptors(None),
    reward=_fed,
    generators=torch.diag(tensor([1.0, 1.0, 0.0]))[None],
    action_generators=still(1, 2, 2),
    coordinates=relative(0),
    reward_noise=0.1,
    max_steps=8,
)
"""Dishes in which other concentrations of a ligand are wanted."""

OTHER_LIFE = (INSULIN, JET_LAG, CHEMOTAXIS)
