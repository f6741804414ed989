"""Positive: a motor, a catalyst, patients and a glasshouse, in frames and amounts of their own."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from hgm.envs.bank import blocks
from hgm.envs.bank.base import Reward, Shape, Step
from hgm.envs.bank.blocks import angles, each, goal, relative, shared, spread, table, unit
from hgm.envs.bank.fields import numbers, vectors
from hgm.envs.bank.fresh_light import graded, still, tensor
from hgm.envs.bank.goals import CIRCLE
from hgm.envs.bank.later_process import sizes
from hgm.envs.bank.later_vehicles import CRAFT, effort
from hgm.envs.bank.novel_machines import bell
from hgm.envs.point import bound_disc

_RATED = tensor([800.0, 800.0, 800.0, 800.0, 150.0])
"""Fluxes are in milliwebers, and slip in revolutions a minute."""


def induction(weak: float) -> Step:
    """Fluxes of stator and rotor, and slip of an induction motor; two volts, and a load.

    Args:
        weak: What is left of volts along one winding; its direction is column 2 of the tasks.
    """

    def step(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
        own = state / _RATED
        stator, rotor = numbers(own[..., :4])
        slip = own[..., 4]
        (fed,) = numbers(blocks.stretch(bound_disc(action[..., :2], 300.0), task[..., 2:3], weak))
        leak = 0.25 * (stator - rotor) / (1 + 0.3 * stator.abs().square())
        torque = (rotor.conj() * stator).imag
        after = vectors(
            0.85 * stator - leak + fed / 600,
            0.9 * torch.exp(0.4j * slip.tanh()) * rotor + leak,
        )
        slipped = 0.85 * slip - 0.6 * torque.tanh() + 0.25 * action[..., 2].div(20).tanh()
        return _RATED * (torch.cat((after, slipped[..., None]), -1) + 0.03 * random)

    return step


def _magnetised(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """A flux of the rotor is wanted, and little slip."""
    own = following / _RATED
    missed = (own[..., 2:4] - goal(task)).square().sum(-1)
    return -torch.log(0.3 + missed) - 0.3 * own[..., 4].square()


INDUCTION = replace(
    CRAFT,
    name="induction_motor",
    cause="units",
    num_tasks=5,
    dim_state=5,
    dim_action=3,
    tasks=table(angles, shared(0.7, 0.9), shared(0.0, 2 * math.pi)),
    start=lambda shape, generator: _RATED * blocks.normal(0.6, 5)(shape, generator),
    behaviour=blocks.beside(blocks.normal(250.0, 2), blocks.normal(20.0, 1)),
    step=induction(1.0),
    reward=_magnetised,
    generators=blocks.spin(5, 0, 2),
    action_generators=blocks.spin(3, 0),
    coordinates=relative(0),
    max_steps=50,
)
"""An induction motor, and fluxes that are wanted in any direction."""


def catalyst(crowded: bool) -> Step:
    """Pressures of two gases and of what they make on a catalyst; valves of two feeds.

    Args:
        crowded: Whether sites are taken by so much gas, instead of by whatever there is.
    """

    def step(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
        first, second, made = state.split(1, -1)
        feeds = 0.5 * task[..., :1].exp() * torch.sigmoid(1.5 * action)
        taken = 0.5 + 2 * first.square() if crowded else first + second + 0.5 * made
        rate = torch.minimum(0.9 * first * second / taken, 0.5 * torch.minimum(first, second))
        left, right = feeds.split(1, -1)
        after = (
            0.75 * first + left - 0.5 * rate,
            0.75 * second + right - rate,
            0.8 * made + rate,
        )
        return torch.cat(after, -1) * (0.04 * random).exp()

    return step


def _yielded(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """Much of the gas is to be product, at a pressure that suits the vessel."""
    share = following[..., 2] / following.sum(-1)
    missed = following.sum(-1).log() - task[..., 0] - 0.8
    return 2 * share - torch.log1p(missed.square() / 0.2)


CATALYST = replace(
    CRAFT,
    name="catalyst",
    cause="heredity",
    num_tasks=4,
    dim_state=3,
    tasks=spread(-0.7, 0.7),
    start=sizes(0.8, 3),
    step=catalyst(crowded=False),
    reward=blocks.plus(_yielded, effort(0.05)),
    generators=torch.eye(3, dtype=torch.float64)[None],
    action_generators=still(1, 2, 2),
    coordinates=relative(0),
    max_steps=20,
)
"""Reactors at other pressures, with feeds to match."""


def anaesthesia(own: bool) -> Step:
    """A hypnotic in blood and brain, an opioid in both, and heart beats a minute.

    Args:
        own: Whether a heart slows by what is much for the patient, or by so many micrograms.
    """

    def step(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
        blood, brain, other, felt, pulse = state.split(1, -1)
        sleep, opioid, fluid = action.split(1, -1)
        ease = torch.exp(-task[..., :2]) if own else torch.ones_like(task[..., :2])
        slow, slower = (ease * torch.cat((brain, felt), -1)).split(1, -1)
        deep = 0.5 * slow + 1.2 * slower + 0.8 * slow * slower
        after = (
            0.55 * blood + sleep,
            0.6 * brain + 0.35 * blood,
            0.7 * other + opioid,
            0.75 * felt + 0.25 * other,
            pulse + 0.4 * (78 - 48 * deep / (1 + deep) - pulse) + 4 * fluid.tanh(),
        )
        return torch.cat(after, -1) * (tensor([0.04, 0.04, 0.04, 0.04, 0.01]) * random).exp()

    return step


def _admitted(shape: Shape, generator: torch.Generator) -> Tensor:
    drugs = [sizes(0.7, 2)(shape, generator) for _ in range(2)]
    return torch.cat((*drugs, 55 + blocks.normal(9.0, 1)(shape, generator)), -1)


def _infusing(shape: Shape, generator: torch.Generator) -> Tensor:
    drugs = [0.4 * sizes(0.9, 1)(shape, generator) for _ in range(2)]
    return torch.cat((*drugs, blocks.normal(1.0, 1)(shape, generator)), -1)


def _asleep(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """Depth is wanted on a plateau, a pulse of sixty, and not much opioid."""
    slow, slower = (following[..., [1, 3]].log() - task[..., :2]).exp().unbind(-1)
    depth = torch.log(slow + 0.5 * slower + 0.7 * slow * slower)
    plateau = torch.sigmoid((depth + 0.6) / 0.2) - torch.sigmoid((depth - 0.8) / 0.3)
    return plateau - 0.15 * (following[..., 4] / 10 - 6).square() - 0.3 * torch.log1p(slower)


_PHARMACY = torch.stack([torch.diag(tensor(one)) for one in ([1.0, 1, 0, 0, 0], [0.0, 0, 1, 1, 0])])

ANAESTHESIA = replace(
    CRAFT,
    name="anaesthesia",
    cause="heredity",
    num_tasks=6,
    dim_state=5,
    dim_action=3,
    tasks=each(-0.45, 0.45, 2),
    start=_admitted,
    behaviour=_infusing,
    step=anaesthesia(own=True),
    reward=_asleep,
    generators=_PHARMACY,
    action_generators=torch.stack([torch.diag(tensor(one)) for one in ([1.0, 0, 0], [0.0, 1, 0])]),
    coordinates=relative(0, 1),
    reward_noise=0.02,
    max_steps=8,
)
"""Patients who are sensitive to a hypnotic and to an opioid, each to his own degree."""


def glasshouse(column: int) -> Step:
    """Degrees in the middle, how they rise east and north, and where a screen hangs.

    Args:
        column: Where the direction of the sun is.
    """

    def step(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
        mean, rise, screen = state.split((1, 2, 2), -1)
        sun = unit(task[..., column : column + 1] + 1.2)
        lit = 1.2 - 0.8 * torch.tanh((screen * sun).sum(-1, keepdim=True))
        steep = rise.square().sum(-1, keepdim=True)
        after = (
            mean + 0.15 * (14 - mean) + lit + 1.5 * action[..., :1].tanh() - 0.3 * steep.sqrt(),
            0.7 * rise + 1.1 * lit * sun - 0.03 * (mean - 14) * screen,
            0.85 * screen + 0.45 * bound_disc(action[..., 1:], 1.5),
        )
        return torch.cat(after, -1) + tensor([0.3, 0.1, 0.1, 0.03, 0.03]) * random

    return step


def grown(width: float) -> Reward:
    """Seedlings on one side want a rise towards them, and twenty degrees in the middle."""

    def reward(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
        near = bell(following[..., 1:3], 2.5 * goal(task), width)
        return near * torch.exp(-(following[..., 0] - 20).square() / 50)

    return reward


GLASSHOUSE = replace(
    CRAFT,
    name="glasshouse",
    cause="heredity",
    num_tasks=6,
    dim_state=5,
    dim_action=3,
    tasks=table(CIRCLE, each(0.5, 2.0), each(-1.0, 1.0), shared(0.0, 2 * math.pi)),
    start=lambda shape, generator: (
        blocks.normal(1.0, 5)(shape, generator) * tensor([3.0, 1.5, 1.5, 0.7, 0.7])
        + tensor([18.0, 0.0, 0.0, 0.0, 0.0])
    ),
    behaviour=blocks.normal(1.0, 3),
    step=glasshouse(0),
    reward=graded(grown(2.0), 2),
    generators=blocks.spin(5, 1, 3),
    action_generators=blocks.spin(3, 1),
    coordinates=relative(0),
    max_steps=24,
)
"""Glasshouses that face any way, with seedlings to the same side of the sun."""

BEYOND_PLANTS = (INDUCTION, CATALYST, ANAESTHESIA, GLASSHOUSE)
