"""Positive: a hand in a field of forces, an ergometer, a drug, and warm vessels."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from hgm.envs.bank import blocks
from hgm.envs.bank.base import Shape, Step
from hgm.envs.bank.blocks import distance, spread, turn
from hgm.envs.bank.fresh_light import still, tensor
from hgm.envs.bank.goals import CIRCLE
from hgm.envs.bank.later_vehicles import CRAFT, effort, shifts
from hgm.envs.point import bound_disc


def hand(saddle: float) -> Step:
    """Place and velocity of a hand, and what it has learnt of a robot that pushes it sideways.

    Args:
        saddle: How much the robot helps along the first axis, and hinders along the second one.
    """

    def step(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
        x, v, learnt = state.split(2, -1)
        fast = v.square().sum(-1, keepdim=True)
        curl = 1.2 * turn(v, math.pi / 2) / (1 + 0.5 * fast) + saddle * v * tensor([1.0, -1.0])
        force = 1.8 * bound_disc(action, 1.2) + curl - 0.7 * learnt - 0.8 * v - 0.5 * x
        after = (x + 0.3 * v, v + 0.3 * force, 0.85 * learnt + 0.25 * curl)
        return torch.cat(after, -1) + 0.02 * random

    return step


def _touched(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """A light is to be touched, within a width, and not in haste."""
    within = torch.sigmoid((0.6 - distance(following, task)) / 0.25)
    haste = torch.nn.functional.softplus(2 * (following[..., 2:4].norm(dim=-1) - 1))
    return within - 0.15 * haste


_HAND = replace(
    CRAFT,
    name="curl_field",
    cause="units",
    num_tasks=5,
    dim_state=6,
    tasks=CIRCLE,
    start=blocks.normal(0.6, 6),
    step=hand(0.0),
    reward=blocks.plus(_touched, effort(0.02)),
    generators=blocks.spin(6, 0, 2, 4),
    action_generators=blocks.spin(2, 0),
    max_steps=50,
)
OBLIQUE = torch.block_diag(
    tensor([[120.0, 40.0], [-15.0, 70.0]]),
    tensor([[25.0, -10.0], [5.0, 15.0]]),
    tensor([[1.0, 0.3], [0.0, 0.8]]),
)
"""Millimetres, centimetres a second, and newtons, by cameras and sensors that are mounted askew."""

CURL_FIELD = blocks.in_chart(_HAND, OBLIQUE)
"""Patients who reach for lights on a circle, in a field of forces that a robot makes."""

SADDLE_FIELD = blocks.in_chart(replace(_HAND, step=hand(0.6)), OBLIQUE)
"""The same patients, and a robot whose field has axes of its own."""


def _loads(state: Tensor) -> tuple[Tensor, ...]:
    """Logarithms of cadence over 75 rpm and of torque over 20 Nm, and a pulse above 110."""
    cadence, torque, pulse = state.split(1, -1)
    return (cadence / 75).log(), (torque / 20).log(), (pulse - 110) / 25


def _pedalled(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """Cadence, torque and pulse of a patient: gears trade the first two, hearts see power."""
    cadence, torque, pulse = _loads(state)
    gear, harder = action.tanh().split(1, -1)
    power = cadence + torque
    tired = 0.15 * torch.tanh(power + pulse)
    after = (
        cadence + 0.3 * gear + 0.25 * harder - tired,
        torque - 0.3 * gear + 0.25 * harder - tired - 0.15 * power.tanh(),
        0.7 * pulse + 0.4 * torch.tanh(power) + 0.1 * gear.square(),
    )
    cadence, torque, pulse = (torch.cat(after, -1) + 0.03 * random).split(1, -1)
    return torch.cat((75 * cadence.exp(), 20 * torque.exp(), 110 + 25 * pulse), -1)


def _on_the_bicycle(shape: Shape, generator: torch.Generator) -> Tensor:
    gear, power, pulse = blocks.normal(0.5, 3)(shape, generator).split(1, -1)
    return torch.cat(
        (75 * (gear + power / 3).exp(), 20 * (power / 3 - gear).exp(), 110 + 40 * pulse), -1
    )


def _trained(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """A cadence is wanted for a knee, and a pulse not much above 120."""
    cadence, _, pulse = _loads(following)
    near = torch.exp(-(cadence[..., 0] - task[..., 0]).square() / (2 * 0.45**2))
    return near - 0.3 * torch.nn.functional.softplus(2 * (pulse[..., 0] - 0.4))


ERGOMETER = replace(
    CRAFT,
    name="ergometer",
    cause="units",
    num_tasks=4,
    dim_state=3,
    tasks=spread(-0.5, 0.5),
    start=_on_the_bicycle,
    step=_pedalled,
    reward=blocks.plus(_trained, effort(0.03)),
    generators=torch.diag(tensor([1.0, -1.0, 0.0]))[None],
    action_generators=still(1, 2, 2),
    reward_noise=0.02,
    max_steps=6,
)
"""A bicycle in a gym, and cadences that are prescribed for hips, knees and ankles."""


def resistance(kidneys: float) -> Step:
    """Doublings of a drug and of what bacteria withstand, and decades of bacteria: two drugs.

    Enzymes of many bacteria that withstand the drug break it down; the second drug disarms them.

    Args:
        kidneys: How many doublings are kept back once the drug has hurt kidneys.
    """

    def step(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
        drug, withstood, load = state.split(1, -1)
        dose, partner = action.tanh().split(1, -1)
        above = drug - withstood
        many = torch.sigmoid(1.5 * load)
        after = (
            drug + 0.9 * dose - 0.5 * many * torch.sigmoid(-above),
            withstood + 0.7 * many * torch.exp(-(above - 0.5).square() / 3) - 0.4 * partner,
            0.85 * load + 0.5 - torch.sigmoid(1.2 * above) - 0.2 * partner,
        )
        kept = kidneys * torch.sigmoid(2 * drug)
        noise = tensor([0.1, 0.1, 0.05]) * random
        return torch.cat(after, -1) + torch.nn.functional.pad(kept, (0, 2)) + noise

    return step


def _ward(shape: Shape, generator: torch.Generator) -> Tensor:
    common, *own = blocks.normal(1.0, 4)(shape, generator).split(1, -1)
    drug, withstood, load = own
    return torch.cat((1.8 * common + drug, 1.8 * common + withstood, load), -1)


def _cured(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """Much of a drug is harmful, little of it is left out of account; bacteria are to be few."""
    drug, load = following[..., 0] - task[..., 0], following[..., 2]
    return 1.2 * torch.sigmoid(-2 * (drug - 0.5)) - 0.6 * torch.sigmoid(2 * load)


RESISTANCE = replace(
    CRAFT,
    name="drug_resistance",
    cause="affine",
    group="affine",
    num_tasks=4,
    dim_state=3,
    tasks=spread(-2.0, 2.0),
    start=_ward,
    step=resistance(0.0),
    reward=blocks.plus(_cured, effort(0.03)),
    generators=shifts(3, (0, 1)),
    action_generators=still(1, 2, 2),
    reward_noise=0.03,
    max_steps=10,
)
"""Antibiotics, each of which is harmful from another concentration on."""

# Kilojoules of what is zero at another temperature, a mole each.
_ZERO = torch.zeros(1, 4, 4, dtype=torch.float64)
_ZERO[0, 1, 0] = _ZERO[0, 3, 2] = 1.0


def vessels(cold: float | None) -> Step:
    """Moles and kilojoules of two vessels: a pump, a heater, a wall between them, drains.

    What is fed into the first has been warmed by what leaves the second.

    Args:
        cold: Kilojoules a mole of the feed, if it has not.
    """

    def step(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
        first, energy, second, other = state.split(1, -1)
        warm, cool = energy / first, other / second
        pump, heater = action.split(1, -1)
        fed, moved = 0.4, 0.5 * torch.sigmoid(1.5 * pump) * first
        feed = cool if cold is None else cold
        passed = 0.5 * first * second / (first + second) * torch.tanh(warm - cool)
        heated = 0.5 * first * heater.tanh()
        left, later = first + fed - moved, second + moved
        total = energy + fed * feed - moved * warm - passed + heated
        rest = other + moved * warm + passed
        noise = (0.02 * random).exp()
        warm = total / left + 0.04 * random[..., 1:2]
        cool = rest / later + 0.04 * random[..., 3:]
        left, later = left * noise[..., :1], 0.7 * later * noise[..., 2:3]
        return torch.cat((left, left * warm, later, later * cool), -1)

    return step


def _charged(shape: Shape, generator: torch.Generator) -> Tensor:
    first, second, common, warm, cool = blocks.normal(1.0, 5)(shape, generator).split(1, -1)
    first, second = (0.4 * first).exp(), (0.4 * second).exp()
    return torch.cat((first, first * (common + warm), second, second * (common + cool)), -1)


def _tempered(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """The second vessel is wanted at a temperature, and the first one is not to run dry."""
    first, _, second, other = following.unbind(-1)
    missed = (other / second - task[..., 0]).abs()
    return -missed + 0.8 * torch.sigmoid(5 * (first - 0.6))


ENTHALPY = replace(
    CRAFT,
    name="enthalpy",
    cause="noncompact",
    num_tasks=4,
    dim_state=4,
    tasks=spread(-1.0, 1.0),
    start=_charged,
    step=vessels(None),
    reward=blocks.plus(_tempered, effort(0.05)),
    generators=_ZERO,
    action_generators=still(1, 2, 2),
    max_steps=5,
)
"""Two vessels that are recorded by what they hold, and temperatures that are wanted."""

REMOTE_CLINIC = (CURL_FIELD, ERGOMETER, RESISTANCE, ENTHALPY)
