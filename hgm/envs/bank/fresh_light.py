"""Positive: polarised light and colours, which turn, fade, and have other illuminants."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from hgm import lie
from hgm.envs.bank import blocks
from hgm.envs.bank.base import Reward, Shape, Step
from hgm.envs.bank.blocks import angles, each, relative, spread, table, turn
from hgm.envs.bank.machines import DOT
from hgm.envs.point import bound_disc

LIGHT = replace(DOT, dim_state=3, dim_action=3, behaviour=blocks.normal(1.0, 3), max_steps=25)


def tensor(values: list[float] | list[list[float]]) -> Tensor:
    """Values in float64."""
    return torch.tensor(values, dtype=torch.float64)


def still(*shape: int) -> Tensor:
    """Generators of elements that do nothing to actions."""
    return torch.zeros(*shape, dtype=torch.float64)


def hills(*places: list[float], width: float) -> Callable[[Tensor], Tensor]:
    """Bells at places in general position, each lower than the last: no linear map keeps them."""
    centres, heights = tensor([*places]), torch.linspace(1.0, 0.4, len(places)).double()

    def shape(x: Tensor) -> Tensor:
        far = (x[..., None, :] - centres).square().sum(-1)
        return (heights * torch.exp(-far / (2 * width**2))).sum(-1)

    return shape


def inherited(
    generators: Tensor,
    shape: Callable[[Tensor], Tensor],
    columns: tuple[int, ...] = (0,),
    sees: int | None = None,
) -> Reward:
    """A shape of next states, carried back by the coordinates in these columns of a task.

    It sees the first coordinates only, or all; generators are of these.
    """

    def reward(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
        back = lie.exp(-lie.hat(task[..., 0, list(columns)], generators))
        return shape(lie.act(back, following[..., :sees]))

    return reward


def graded(reward: Reward, column: int) -> Reward:
    """A reward on a task's own scale, its factor in a column, its shift in the next."""
    return lambda state, action, following, task: (
        task[..., column] * reward(state, action, following, task) + task[..., column + 1]
    )


def between(generators: Tensor) -> Callable[[Tensor], Tensor]:
    """Coordinates of the elements from task 0 to the others, whose first columns are elements."""

    def coordinates(tasks: Tensor) -> Tensor:
        elements = lie.exp(lie.hat(tasks[:, : len(generators)], generators))
        return lie.vee(lie.log(elements @ torch.linalg.inv(elements[:1])), generators)

    return coordinates


_AXES = torch.eye(3, dtype=torch.float64)
CROSS = torch.linalg.cross(_AXES[:, None], _AXES[None]).mT
"""Cross products with the three axes, which generate turns about them."""

# Intensity; two components of linear, and one of circular polarisation.
POLARISED = torch.cat((blocks.spin(4, 1), torch.eye(4, dtype=torch.float64)[None]))


def _polariser(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """What a turning polariser, and glass under stress, do to a beam: as much for a brighter one.

    All terms are of degree 1 in the state, and turn with it.
    """
    light, linear, circular = state[..., :1], state[..., 1:3], state[..., 3:]
    push, power = bound_disc(action, 1.0), linear.square().sum(-1, keepdim=True)
    stress = linear[..., :1] * push[..., 1:] - linear[..., 1:] * push[..., :1]
    after = (
        light * (0.96 + 0.2 * power / (light.square() + power)),
        0.9 * turn(linear, 0.3 * circular / light) + 0.3 * light * push,
        0.8 * circular + 0.5 * stress,
    )
    return torch.cat(after, -1) + 0.02 * light * random


def _beam(shape: Shape, generator: torch.Generator) -> Tensor:
    light = blocks.normal(0.4, 1)(shape, generator).exp()
    return torch.cat((light, 0.4 * light * blocks.normal(1.0, 3)(shape, generator)), -1)


_WANTED_BEAM = hills(
    [1.0, 0.5, 0.0], [1.5, -0.3, 0.4], [0.6, 0.0, -0.4], [1.2, 0.8, 0.7], width=0.5
)


def retarded(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """A point in Poincare's ball, turned about the axis of a retarder that is to be chosen."""
    turned = lie.exp(lie.hat(0.5 * bound_disc(action, 1.5), CROSS)) @ state[..., None]
    return 0.97 * turned[..., 0] + 0.04 * random


WANTED_LIGHT = hills(
    [0.7, 0.2, -0.3], [-0.5, 0.6, 0.2], [0.1, -0.7, 0.5], [-0.2, -0.3, -0.8], width=0.5
)

STOKES = replace(
    LIGHT,
    name="stokes",
    cause="sphere",
    num_tasks=8,
    tasks=table(each(-0.75, 0.75, 3), each(0.5, 2.0), each(-1.0, 1.0)),
    start=blocks.normal(0.6, 3),
    step=retarded,
    reward=graded(inherited(CROSS, WANTED_LIGHT, (0, 1, 2)), 3),
    generators=CROSS,
    action_generators=CROSS,
    coordinates=between(CROSS),
)
"""Polarisation, and analysers in poses of their own."""


def plate(sign: float) -> Step:
    """A plate that delays, and absorbs one polarisation: its angle is a task's, times a sign."""

    def step(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
        angle = sign * task[..., :1]
        along, across = turn(state[..., :2], -angle).split(1, -1)
        delayed = turn(torch.cat((across, state[..., 2:]), -1), 0.6)
        linear = turn(torch.cat((0.95 * along, 0.8 * delayed[..., :1]), -1), angle)
        after = torch.cat((linear, 0.8 * delayed[..., 1:]), -1)
        push = torch.nn.functional.pad(0.4 * bound_disc(action, 1.0), (0, 1))
        return after + push + 0.03 * random

    return step


PLATES = replace(
    LIGHT,
    name="plates",
    cause="heredity",
    num_tasks=5,
    dim_action=2,
    tasks=angles,
    start=blocks.normal(0.6, 3),
    behaviour=blocks.normal(1.0, 2),
    step=plate(1.0),
    reward=inherited(blocks.spin(3, 0), WANTED_LIGHT),
    generators=blocks.spin(3, 0),
    action_generators=blocks.spin(2, 0),
)
"""Every task has a plate in the beam, as far turned as what it wants."""

# Two illuminants, as percentages of what three cones see; and what neither of them changes.
_ILLUMINANTS = torch.diag_embed(tensor([[1.0, 0.2, -0.6], [-0.3, 0.8, 0.4]]))
_CONTRAST = torch.linalg.cross(*_ILLUMINANTS.diagonal(dim1=1, dim2=2))


def _adapting(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """Three cones, whose gains are set in percentages, and which adapt to a contrast."""
    contrast = torch.tanh(2 * (state.log() * _CONTRAST).sum(-1, keepdim=True))
    return state * torch.exp(0.2 * action.tanh() - 0.15 * contrast * _CONTRAST + 0.03 * random)


def _of_logs(shape: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda x: shape(x.log())


# Hue and chroma are a complex number, lightness is the third coordinate.
_CONFORMAL = torch.stack((blocks.spin(3, 0)[0], torch.diag(tensor([1.0, 1.0, 0.0]))))


def _hue(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """Colours that are dyed and bleached in percentages, and whose hue drifts with lightness."""
    (dye, tint, lamp), lightness = action.tanh().split(1, -1), state[..., 2:]
    chroma = turn(state[..., :2], 0.25 * tint + 0.2 * lightness)
    chroma = chroma * torch.exp(0.2 * dye - 0.1 * lightness.square())
    after = torch.cat((chroma, 0.85 * lightness + 0.3 * lamp), -1)
    spread = chroma.norm(dim=-1, keepdim=True)
    return after + 0.03 * random * torch.cat((spread, spread, torch.ones_like(spread)), -1)


def _powers(reward: Reward, column: int) -> Reward:
    """Rewards that are not negative, to a power that is a task's own."""
    return lambda state, action, following, task: (
        reward(state, action, following, task) ** task[..., column]
    )


FRESH_LIGHT = (
    replace(
        LIGHT,
        name="polariser",
        cause="noncompact",
        num_tasks=8,
        dim_state=4,
        dim_action=2,
        tasks=table(angles, spread(-0.5, 0.5)),
        start=_beam,
        behaviour=blocks.normal(1.0, 2),
        step=_polariser,
        reward=inherited(POLARISED, lambda x: _WANTED_BEAM(x[..., :3]), (0, 1)),
        generators=POLARISED,
        action_generators=torch.cat((blocks.spin(2, 0), still(1, 2, 2))),
        coordinates=relative(0, 1),
    ),
    STOKES,
    PLATES,
    replace(
        LIGHT,
        name="von_kries",
        cause="noncompact",
        num_tasks=7,
        tasks=table(each(-0.6, 0.6, 2), each(0.5, 2.0), each(-1.0, 1.0)),
        start=lambda shape, generator: blocks.normal(0.5, 3)(shape, generator).exp(),
        step=_adapting,
        reward=graded(
            inherited(
                _ILLUMINANTS,
                _of_logs(
                    hills(
                        [0.3, 0.2, -0.3],
                        [-0.5, 0.4, 0.2],
                        [0.1, -0.7, 0.4],
                        [0.4, 0.5, 0.6],
                        width=0.5,
                    )
                ),
                (0, 1),
            ),
            2,
        ),
        generators=_ILLUMINANTS,
        action_generators=still(2, 3, 3),
        coordinates=relative(0, 1),
    ),
    replace(
        LIGHT,
        name="chroma",
        cause="noncompact",
        num_tasks=7,
        tasks=table(angles, spread(-0.5, 0.5), each(0.6, 1.6)),
        start=blocks.normal(0.6, 3),
        step=_hue,
        reward=_powers(
            inherited(
                _CONFORMAL,
                hills(
                    [0.7, 0.0, 0.2], [-0.4, 0.6, -0.3], [0.1, -0.6, 0.4], [0.3, 0.9, 0.5], width=0.5
                ),
                (0, 1),
            ),
            2,
        ),
        generators=_CONFORMAL,
        action_generators=still(2, 3, 3),
        coordinates=relative(0, 1),
    ),
)
