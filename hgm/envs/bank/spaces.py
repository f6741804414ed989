"""Positive: other groups and other spaces than the rotations of a plane."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from hgm import lie
from hgm.envs.bank import blocks
from hgm.envs.bank.base import Shape
from hgm.envs.bank.blocks import angles, each, goal, shared, spread, table, turn, unit, walk
from hgm.envs.bank.goals import CONE


def directions(num: int, generator: torch.Generator) -> Tensor:
    """Unit vectors ``(num, 3)``, uniform on the sphere."""
    normal = blocks.normal(1.0, 3)((num,), generator)
    return normal / normal.norm(dim=-1, keepdim=True)


def shortest_turn(tasks: Tensor) -> Tensor:
    """Coordinates in so(3) of the rotations by the shortest way from goal 0 to the others."""
    first = tasks[:1].expand_as(tasks)
    wedge = tasks[:, :, None] * first[:, None, :] - first[:, :, None] * tasks[:, None, :]
    sine = (lie.vee(wedge, lie.so_generators(3).double())).norm(dim=-1, keepdim=True)
    angle = torch.atan2(sine, (tasks * first).sum(-1, keepdim=True))
    scale = torch.where(sine > 1e-12, angle / sine.clamp_min(1e-12), 1.0)
    return scale * lie.vee(wedge, lie.so_generators(3).double())


def _near(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    return -(following - task[..., : following.shape[-1]]).norm(dim=-1)


def _drunk(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    moved = state[..., :2] + blocks.disc(action) + 0.05 * random[..., :2]
    fading = state.new_tensor([0.9, 0.8, 0.7, 0.6, 0.5, 0.4])
    return torch.cat((moved, fading * state[..., 2:] + 0.3 * random[..., 2:]), -1)


def _pair(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    (one, two), (first, second) = state.chunk(2, -1), action.chunk(2, -1)
    pulled = two + blocks.disc(second) + 0.1 * (one - two)
    return torch.cat((one + blocks.disc(first), pulled), -1) + 0.05 * random


def _apart(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    moved = [blocks.disc(part) for part in action.chunk(2, -1)]
    return state + torch.cat(moved, -1) + 0.05 * random


def _both(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    one, two = following.chunk(2, -1)
    return -(one - goal(task)).norm(dim=-1) - 0.5 * (two + goal(task)).norm(dim=-1)


def _two_circles(second: int, rate: float = 1.0) -> blocks.Reward:
    """Goals of two bodies, the second's angle a column's times a rate."""

    def reward(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
        one, two = following.chunk(2, -1)
        other = unit(rate * task[..., second : second + 1])
        return -(one - goal(task)).norm(dim=-1) - 0.6 * (two - other).norm(dim=-1)

    return reward


def _marker(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    x, marker = state.chunk(2, -1)
    drift = state.new_tensor([0.98, 0.8]) * marker + 0.15 * random[..., 2:]
    return torch.cat((x + blocks.disc(action) + 0.05 * random[..., :2], drift), -1)


def _to_marker(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    x, marker = following.chunk(2, -1)
    return -(x - turn(marker, task[..., :1])).norm(dim=-1)


def _linear(state: Tensor, action: Tensor, task: Tensor) -> Tensor:
    return 0.95 * turn(state, 0.05) - state + 0.2 * action


def _flows(generator: list[list[float]]) -> blocks.Reward:
    """The cone about the unit vector of column 1, carried along a generator by column 0."""
    along = torch.tensor(generator, dtype=torch.float64)

    def reward(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
        back = lie.exp(-task[..., :1, None] * along)
        origin = (back @ following[..., None])[..., 0]
        return -(origin - unit(task[..., 1:2])).norm(dim=-1)

    return reward


_SHIFTS = torch.zeros(2, 3, 3, dtype=torch.float64)
_SHIFTS[0, 0, 2] = _SHIFTS[1, 1, 2] = 1.0

_CENTRE = torch.tensor([0.8, -0.5], dtype=torch.float64)
_ABOUT_CENTRE = blocks.spin(3, 0)
_ABOUT_CENTRE[0, :2, 2] = -_ABOUT_CENTRE[0, :2, :2] @ _CENTRE

ROTATIONS = lie.so_generators(3).double()
SHEAR, BOOST = [[0.0, 1.0], [0.0, 0.0]], [[0.0, 1.0], [1.0, 0.0]]

DUET = replace(
    CONE,
    name="pair",
    cause="product",
    dim_state=4,
    dim_action=4,
    start=blocks.normal(0.05, 4),
    behaviour=blocks.normal(0.1, 4),
    step=_pair,
    reward=_both,
    generators=blocks.spin(4, 0, 2),
    action_generators=blocks.spin(4, 0, 2),
)
"""Two bodies, the second pulled by the first, that are to be turned together."""

LINEAR = replace(
    CONE,
    name="spiral",
    cause="noncompact",
    start=blocks.normal(0.7, 2),
    behaviour=blocks.normal(1.0, 2),
    step=walk(0.0, _linear),
    max_steps=40,
)


def _one(generator: list[list[float]]) -> Tensor:
    return torch.tensor([generator], dtype=torch.float64)


def _start_in_8(shape: Shape, generator: torch.Generator) -> Tensor:
    return blocks.beside(blocks.normal(0.05, 2), blocks.normal(0.4, 6))(shape, generator)


SPACES = (
    replace(
        CONE,
        name="sphere",
        cause="sphere",
        half="reported",
        dim_state=3,
        dim_action=3,
        num_tasks=8,
        tasks=directions,
        start=blocks.normal(0.05, 3),
        behaviour=blocks.normal(0.1, 3),
        reward=_near,
        generators=ROTATIONS,
        action_generators=ROTATIONS,
        coordinates=shortest_turn,
        goals=lambda tasks: tasks,
    ),
    replace(
        CONE,
        name="sphere_wide",
        cause="sphere",
        dim_state=3,
        dim_action=3,
        num_tasks=6,
        tasks=directions,
        start=blocks.normal(0.7, 3),
        behaviour=blocks.normal(0.1, 3),
        reward=lambda *transition: -_near(*transition).square(),
        generators=ROTATIONS,
        action_generators=ROTATIONS,
        coordinates=shortest_turn,
        goals=lambda tasks: tasks,
        max_steps=25,
    ),
    replace(
        CONE,
        name="irrelevant_6",
        cause="irrelevant",
        dim_state=6,
        dim_action=6,
        start=blocks.normal(0.05, 6),
        behaviour=blocks.normal(0.1, 6),
        generators=blocks.spin(6, 0),
        action_generators=blocks.spin(6, 0),
    ),
    replace(
        CONE,
        name="irrelevant_8",
        cause="irrelevant",
        half="reported",
        dim_state=8,
        start=_start_in_8,
        step=_drunk,
        generators=blocks.spin(8, 0),
    ),
    DUET,
    replace(
        DUET,
        name="torus",
        half="reported",
        num_tasks=6,
        tasks=table(angles, shared(0.8, 1.2), angles),
        step=_apart,
        reward=_two_circles(2),
        generators=torch.cat((blocks.spin(4, 0), blocks.spin(4, 2))),
        action_generators=torch.cat((blocks.spin(4, 0), blocks.spin(4, 2))),
        coordinates=blocks.relative(0, 2),
    ),
    replace(
        DUET,
        name="resonance",
        half="reported",
        num_tasks=5,
        step=_apart,
        reward=_two_circles(0, 2.0),
        generators=blocks.spin(4, 0, 2, rates=(1.0, 2.0)),
        action_generators=blocks.spin(4, 0, 2, rates=(1.0, 2.0)),
    ),
    replace(
        CONE,
        name="marker",
        cause="product",
        dim_state=4,
        start=blocks.normal(0.4, 4),
        step=_marker,
        reward=_to_marker,
        generators=blocks.spin(4, 0),
    ),
    replace(
        CONE,
        name="translations",
        cause="affine",
        group="affine",
        num_tasks=6,
        tasks=each(-1.0, 1.0, 2),
        start=blocks.normal(0.7, 2),
        reward=_near,
        generators=_SHIFTS,
        action_generators=torch.zeros(2, 2, 2, dtype=torch.float64),
        coordinates=blocks.relative(0, 1),
        max_steps=40,
    ),
    replace(
        CONE,
        name="off_centre",
        cause="affine",
        half="reported",
        group="affine",
        start=blocks.normal(0.7, 2),
        step=walk(motion=lambda state, action, task: blocks.disc(action) + 0.1 * (_CENTRE - state)),
        reward=lambda state, action, following, task: (
            -(following - _CENTRE - goal(task)).norm(dim=-1)
        ),
        generators=_ABOUT_CENTRE,
        max_steps=40,
    ),
    replace(
        LINEAR,
        name="scaling",
        half="reported",
        tasks=table(spread(-0.8, 0.8), shared(-3.0, 3.0)),
        reward=_flows([[1.0, 0.0], [0.0, 1.0]]),
        generators=torch.eye(2, dtype=torch.float64)[None],
        action_generators=torch.eye(2, dtype=torch.float64)[None],
    ),
    replace(
        LINEAR,
        tasks=table(spread(-2.0, 2.0), shared(-3.0, 3.0)),
        reward=_flows([[0.4, -1.0], [1.0, 0.4]]),
        generators=_one([[0.4, -1.0], [1.0, 0.4]]),
        action_generators=_one([[0.4, -1.0], [1.0, 0.4]]),
    ),
    replace(
        LINEAR,
        name="shear",
        tasks=table(spread(-1.2, 1.2), shared(-3.0, 3.0)),
        step=walk(0.0, lambda state, action, task: 0.2 * action),
        reward=_flows(SHEAR),
        generators=_one(SHEAR),
        action_generators=_one(SHEAR),
    ),
    replace(
        LINEAR,
        name="boost",
        half="reported",
        tasks=table(spread(-0.8, 0.8), shared(-3.0, 3.0)),
        step=walk(0.0, lambda state, action, task: 0.2 * action),
        reward=_flows(BOOST),
        generators=_one(BOOST),
        action_generators=_one(BOOST),
    ),
)
