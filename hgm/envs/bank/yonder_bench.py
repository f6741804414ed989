"""Positive: lock-in amplifiers behind cables, and balances that drift with warmth and pressure."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from hgm.envs.bank import blocks
from hgm.envs.bank.base import Step
from hgm.envs.bank.blocks import each, relative, spread, table
from hgm.envs.bank.fields import numbers, vectors
from hgm.envs.bank.fresh_light import graded, inherited, still, tensor
from hgm.envs.bank.later_vehicles import CRAFT
from hgm.envs.bank.novel_fields import bequeathed

_CABLE = blocks.spin(4, 0, 2, rates=(1.0, 2.0)) - torch.diag(tensor([0.25, 0.25, 0.5, 0.5]))
"""A metre of cable delays and weakens a signal, and its second harmonic twice as much."""


def _demodulated(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """A sample's response and its second harmonic: strength of a drive, and a bias."""
    first, second = numbers(state)
    drive, bias = action.tanh().unbind(-1)
    power = first.abs().square()
    after = vectors(
        (0.75 + 0.25j) * first + 0.45 * drive - 0.3 * second * first.conj() / (1 + power),
        (0.6 - 0.3j) * second + (0.3 + 0.25 * bias) * first.square() / (1 + power) + 0.3j * bias,
    )
    return after + 0.03 * random


def lock_in(clip: float | None) -> Step:
    """The same, as read at the end of a cable.

    Args:
        clip: Volts at which a converter clips either channel, softly; None: none.
    """
    read = bequeathed(_demodulated, _CABLE, still(1, 2, 2), (0,))

    def step(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
        after = read(state, action, task, random)
        return after if clip is None else clip * torch.tanh(after / clip)

    return step


def _resonant(own: Tensor) -> Tensor:
    """A phase of the response is wanted, past a threshold, and a harmonic on one side of it."""
    first, second = own.split(2, -1)
    loud = torch.sigmoid(4 * (first[..., 0] + 0.5 * first[..., 1] - 0.2))
    return loud - 0.4 * first[..., 1].square() + 0.4 * torch.tanh(2 * second[..., 1] - 0.3)


CABLE_LENGTHS = replace(
    CRAFT,
    name="cable_lengths",
    cause="heredity",
    num_tasks=5,
    dim_state=4,
    tasks=table(spread(-0.75, 0.75), each(0.5, 2.0), each(-1.0, 1.0)),
    start=blocks.normal(0.6, 4),
    step=lock_in(None),
    reward=graded(inherited(_CABLE, _resonant), 1),
    generators=_CABLE,
    action_generators=still(1, 2, 2),
    coordinates=relative(0),
    max_steps=40,
)
"""One sample in many laboratories, behind cables that are longer or shorter."""

_DRIFT = still(2, 3, 3)
_DRIFT[0, 1, 0] = _DRIFT[1, 1, 2] = 1.0
"""Milligrams that a reading is off by, for a kelvin and for a hectopascal."""


def _weighed(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """Kelvins above 22, milligrams on the pan, and hectopascals: heater, powder, and a pump.

    Powder is cold, dries where it is warm, and dries faster where air is thin.
    """
    warm, mass, air = state.split(1, -1)
    heat, dose, pump = action.tanh().split(1, -1)
    dried = torch.sigmoid(warm / 2) * torch.tanh(mass / 6) * torch.exp(-0.1 * air)
    after = (
        0.8 * warm + 2.5 * heat - 0.8 * dose,
        0.9 * mass + 3 * dose - 1.5 * dried,
        0.8 * air + 2 * pump + 0.15 * warm,
    )
    return torch.cat(after, -1) + tensor([0.2, 0.25, 0.2]) * random


def _dosed(own: Tensor) -> Tensor:
    """Three milligrams are wanted, too many are worse; it may be warm, and pressure usual."""
    warm, mass, air = own.unbind(-1)
    missed = (mass - 3) / 3
    return -torch.maximum(1.8 * missed, -missed) + 0.6 * torch.sigmoid(warm) - 0.03 * air.square()


MICROBALANCE = replace(
    CRAFT,
    name="microbalance",
    cause="noncompact",
    num_tasks=6,
    dim_state=3,
    dim_action=3,
    tasks=each(-0.9, 0.9, 2),
    start=lambda shape, generator: (
        blocks.normal(1.0, 3)(shape, generator) * tensor([4.0, 6.0, 3.5])
    ),
    behaviour=blocks.normal(1.0, 3),
    step=bequeathed(_weighed, _DRIFT, still(2, 3, 3), (0, 1)),
    reward=inherited(_DRIFT, _dosed, (0, 1)),
    generators=_DRIFT,
    action_generators=still(2, 3, 3),
    coordinates=relative(0, 1),
    reward_noise=0.03,
    max_steps=20,
)
"""Balances whose readings drift with warmth and with pressure, each by slopes of its own."""

YONDER_BENCH = (CABLE_LENGTHS, MICROBALANCE)
