"""Positive: a converter, a probe, a cutter and a mirror, each in a frame of its own."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from hgm.envs.bank import blocks
from hgm.envs.bank.base import Shape, Step
from hgm.envs.bank.blocks import angles, each, relative, shared, spread, table, turn, unit
from hgm.envs.bank.fields import numbers, vectors
from hgm.envs.bank.fresh_light import graded, inherited, still, tensor
from hgm.envs.bank.later_process import sizes
from hgm.envs.bank.later_vehicles import CRAFT, effort
from hgm.envs.point import bound_disc

_MILLI = tensor([1.0, 1000.0, 1.0])
"""Voltages are in volts, and currents in milliamperes."""


def boost(drop: float) -> Step:
    """Voltage of a cell, current of a coil, voltage of a capacitor; a duty cycle, and a load.

    Args:
        drop: Volts that a diode takes, through which no current comes back.
    """

    def step(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
        cell, coil, out = (state / _MILLI).split(1, -1)
        off = torch.sigmoid(1.2 * action[..., :1])
        load = 0.35 * torch.exp(0.6 * action[..., 1:].tanh())
        after = (
            cell * (1 - 0.1 * coil / (coil + cell)),
            torch.relu(0.9 * coil + 0.9 * (cell - off * (out + drop))),
            out + 0.5 * off * coil - load * out,
        )
        return _MILLI * torch.cat(after, -1) * (0.02 * random).exp()

    return step


def _supplied(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """A voltage is wanted, and not too large currents for it."""
    _, coil, out = (following / _MILLI).unbind(-1)
    missed = (out.log() - task[..., 0]).abs()
    return -missed - 0.4 * torch.relu(coil / out - 1).clamp_max(3.0)


BOOST = replace(
    CRAFT,
    name="boost_converter",
    cause="units",
    num_tasks=4,
    dim_state=3,
    tasks=spread(-0.6, 0.6),
    start=lambda shape, generator: _MILLI * sizes(0.7, 3)(shape, generator),
    step=boost(0.0),
    reward=_supplied,
    generators=torch.eye(3, dtype=torch.float64)[None],
    action_generators=still(1, 2, 2),
    reward_noise=0.03,
    max_steps=5,
)
"""A converter without losses, and voltages that are wanted of it."""

# Fields fade and turn alike on their way into metal, twice as fast at four times the frequency.
_SKIN = torch.block_diag(
    tensor([[-0.45, 0.45], [-0.45, -0.45]]), tensor([[-0.9, 0.9], [-0.9, -0.9]])
)[None]


def _probed(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """Signals of a flaw at two frequencies: a probe is lifted, and moved along."""
    slow, fast = numbers(state)
    lift, along = (0.35 * action.tanh()).unbind(-1)
    deeper = torch.tanh(2 * slow.abs().log() - fast.abs().log())
    beside = torch.cos(slow.angle() - slow.abs().log())
    first = -(1 - 0.4j) * lift + (0.3 + 1j) * along - 0.15 * deeper + 0.15j * beside
    second = -(1.7 - 0.2j) * lift + (1j - 0.4) * along + 0.25 * deeper - 0.2j * beside
    one, two = numbers(0.03 * random)
    return vectors(slow * torch.exp(first + one), fast * torch.exp(second + two))


def _echoes(shape: Shape, generator: torch.Generator) -> Tensor:
    slow, fast = (0.7 * part for part in blocks.normal(1.0, 4)(shape, generator).chunk(2, -1))
    return torch.cat((slow, fast * slow.norm(dim=-1, keepdim=True)), -1)


def _like_a_flaw(signals: Tensor) -> Tensor:
    """How much signals are like those of a flaw on the surface."""
    slow = (signals[..., :2] - tensor([0.6, 0.3])).square().sum(-1)
    fast = (signals[..., 2:] - tensor([-0.3, 0.5])).square().sum(-1)
    return torch.log1p(1 / (0.3 + slow)) + 0.6 / (0.5 + fast)


EDDY_PROBE = replace(
    CRAFT,
    name="eddy_probe",
    cause="noncompact",
    dim_state=4,
    tasks=table(spread(-0.6, 0.6), each(0.5, 2.0), each(-1.0, 1.0)),
    start=_echoes,
    step=_probed,
    reward=graded(inherited(_SKIN, _like_a_flaw), 1),
    generators=_SKIN,
    action_generators=still(1, 2, 2),
    max_steps=6,
)
"""Eddy currents in metal, and flaws at any depth."""


def milling(stiff: float) -> Step:
    """Deflection of a cutter in micrometres, its rate, and heat of a spindle, which is cooled.

    Chips are cut along column 0 where the cutter is not bent out of the metal, and push askew.

    Args:
        stiff: How much stiffer a machine is along the axis of column 1 than across it.
    """

    def step(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
        x, v, heat = (state / 10).split((2, 2, 1), -1)
        feed = unit(task[..., :1])
        chip = torch.relu(0.5 + (x * feed).sum(-1, keepdim=True))
        cut = -0.9 * chip * turn(feed, 0.5)
        force = 1.5 * bound_disc(action, 1.2) + cut - blocks.stretch(x, task[..., 1:2], stiff)
        after = (x + 0.3 * v, v + 0.3 * (force - 0.7 * v), 0.8 * heat + 0.2 * chip + 0.1)
        return 10 * torch.cat(after, -1) + 0.2 * random

    return step


def _milled(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """A groove is to be where it was drawn, or a little beside it on one side."""
    own = turn(following[..., :2] / 10, -task[..., :1])
    wrong = torch.relu((own[..., 1] - 0.2).abs() - 0.15)
    return -wrong - 0.2 * (following[..., 2:4] / 10).square().sum(-1)


MILLING = replace(
    CRAFT,
    name="milling",
    cause="heredity",
    dim_state=5,
    tasks=table(angles, shared(0.0, 2 * torch.pi)),
    start=lambda shape, generator: blocks.normal(6.0, 5)(shape, generator),
    step=milling(1.0),
    reward=blocks.plus(_milled, effort(0.03)),
    generators=blocks.spin(5, 0, 2),
    action_generators=blocks.spin(2, 0),
    coordinates=relative(0),
    max_steps=20,
)
"""A slender cutter, and grooves in any direction."""


def _aberrant(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """Coma, astigmatism and defocus, which a mirror changes; and degrees Fahrenheit of a dome."""
    coma, oval = numbers(state[..., :4])
    focus, dome = state[..., 4:5], state[..., 5:]
    (push,) = numbers(0.5 * bound_disc(action[..., :2], 1.2))
    mixed = 0.7 / (1 + state[..., :4].square().sum(-1))
    first = 0.88 * coma + mixed * oval * coma.conj().resolve_conj()
    second = (0.8 + 0.15j) * oval + mixed * coma**2 + push
    defocused = coma.abs().square() - oval.abs().square()
    last = (
        0.8 * focus + 0.5 * mixed[..., None] * defocused[..., None] + 0.4 * action[..., 2:].tanh()
    )
    after = (vectors(first, second) + 0.04 * random[..., :4], last + 0.04 * random[..., 4:5])
    return torch.cat((*after, dome + 0.2 * (50 - dome) + 3 * random[..., 5:]), -1)


def _sharp(modes: Tensor) -> Tensor:
    """Light in the middle of an image, behind glass that has errors of its own."""
    missed = (modes - tensor([0.5, 0.1, -0.2, 0.5, 0.3])).square()
    return torch.exp(-(missed * tensor([0.6, 0.6, 0.5, 0.5, 0.3])).sum(-1))


_PUPIL = blocks.spin(5, 0, 2, rates=(1.0, 2.0))

MIRROR = replace(
    CRAFT,
    name="adaptive_optics",
    cause="irrelevant",
    dim_state=6,
    dim_action=3,
    tasks=angles,
    start=lambda shape, generator: (
        blocks.normal(1.0, 6)(shape, generator) * tensor([0.7, 0.7, 0.7, 0.7, 0.7, 8.0])
        + tensor([0.0, 0.0, 0.0, 0.0, 0.0, 50.0])
    ),
    behaviour=blocks.normal(1.0, 3),
    step=_aberrant,
    reward=inherited(_PUPIL, _sharp, sees=5),
    generators=blocks.spin(6, 0, 2, rates=(1.0, 2.0)),
    action_generators=blocks.spin(3, 0, rates=(2.0,)),
    reward_noise=0.01,
)
"""A mirror that corrects images, of instruments that are mounted at any angle."""

OTHER_CIRCUITS = (BOOST, EDDY_PROBE, MILLING, MIRROR)
