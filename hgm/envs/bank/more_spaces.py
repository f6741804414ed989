"""Positive: more groups that are not the rotations of the plane."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from hgm import lie
from hgm.envs.bank import blocks
from hgm.envs.bank.base import Reward
from hgm.envs.bank.blocks import angles, inertia, spread, turn, walk
from hgm.envs.bank.goals import CONE
from hgm.envs.bank.more_plane import HEAVY, POINT, dragged
from hgm.envs.bank.spaces import LINEAR, ROTATIONS, directions, shortest_turn


def _tensor(values: list[list[float]]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def carried(generator: Tensor, shape: Callable[[Tensor], Tensor]) -> Reward:
    """The base shape of states that a generator ``(n, n)`` carries back by column 0 of a task."""

    def reward(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
        back = lie.exp(-task[..., :1, None] * generator)
        return shape((back @ following[..., None])[..., 0])

    return reward


def well(place: list[float], steepness: list[float]) -> Callable[[Tensor], Tensor]:
    """Minus the distance to a place, in units of its own along every axis."""
    return lambda x: -((x - x.new_tensor(place)) * x.new_tensor(steepness)).norm(dim=-1)


# The cross product with the unit vector (2, -1, 2) / 3, and that vector.
_ABOUT_AXIS = _tensor([[0.0, -2.0, -1.0], [2.0, 0.0, -2.0], [1.0, 2.0, 0.0]]) / 3
_AXIS = torch.tensor([2.0, -1.0, 2.0], dtype=torch.float64) / 3
# Left multiplication by the unit quaternion (i + j + k) / sqrt 3: its square is -1.
_ISOCLINIC = (
    _tensor(
        [
            [0.0, -1.0, -1.0, -1.0],
            [1.0, 0.0, -1.0, 1.0],
            [1.0, 1.0, 0.0, -1.0],
            [1.0, -1.0, 1.0, 0.0],
        ]
    )
    / 3**0.5
)
_BOOST = _tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
_JORDAN = _tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
_FIRST = _tensor([[1.0, 0.0], [0.0, 0.0]])
_SCREW = blocks.spin(4, 0)
_SCREW[0, 2, 3] = 0.5
_SHIFT = torch.zeros(1, 3, 3, dtype=torch.float64)
_SHIFT[0, 0, 2] = 1.0


def _sinking(state: Tensor, action: Tensor, task: Tensor) -> Tensor:
    """Steps in a ball, and a pull towards the plane across the axis."""
    return blocks.disc(action) - 0.15 * (state @ _AXIS)[..., None] * _AXIS


def _lorentz(state: Tensor, action: Tensor, task: Tensor) -> Tensor:
    """A pull that depends on the interval t^2 - x^2 only."""
    interval = state[..., :1].square() - state[..., 1:2].square()
    return 0.2 * action - 0.1 * state * (1.5 + torch.tanh(interval))


def _one_scale(state: Tensor, action: Tensor, task: Tensor) -> Tensor:
    """What is left of the first coordinate depends on the second."""
    x, y = state.chunk(2, -1)
    return 0.2 * action - torch.cat((x * (0.15 - 0.1 * torch.sin(2 * y)), 0.1 * y), -1)


def _cart(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    x, v = state.chunk(2, -1)
    return torch.cat((x + 0.1 * v, 0.9 * v + 0.4 * action.tanh()), -1) + 0.01 * random


def _on_track(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    x, v = following.unbind(-1)
    return -torch.log(0.1 + (x - task[..., 0]).square()) - 0.2 * v.square()


def _drill(state: Tensor, action: Tensor, task: Tensor) -> Tensor:
    """Steps across that are drawn to the axis, and steps along it."""
    across = blocks.disc(action[..., :2]) - 0.1 * state[..., :2]
    return torch.cat((across, 0.1 * torch.tanh(10 * action[..., 2:])), -1)


def _on_helix(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    across = turn(following[..., :2], -task[..., :1])
    back = torch.cat((across, following[..., 2:] - 0.5 * task[..., :1]), -1)
    return -(back - back.new_tensor([0.9, 0.0, 0.2])).norm(dim=-1)


def _hover(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    return -torch.log(0.1 + (following[..., :3] - task).square().sum(-1))


_TURNED_TWICE = torch.stack([torch.block_diag(one, one) for one in ROTATIONS])

SQUEEZE = replace(
    LINEAR,
    name="one_scale",
    half="reported",
    tasks=spread(-0.8, 0.8),
    step=walk(0.0, _one_scale),
    reward=carried(_FIRST, well([0.8, 0.4], [1.0, 1.0])),
    generators=_FIRST[None],
    action_generators=_FIRST[None],
)
"""A coordinate whose unit could be any."""

CART = replace(
    CONE,
    name="cart",
    cause="affine",
    half="reported",
    group="affine",
    num_tasks=5,
    dim_action=1,
    tasks=spread(-1.2, 1.2),
    start=blocks.normal(0.7, 2),
    behaviour=blocks.normal(1.0, 1),
    step=_cart,
    reward=_on_track,
    generators=_SHIFT,
    action_generators=torch.zeros(1, 1, 1, dtype=torch.float64),
    max_steps=40,
)
"""A cart on a level track, and places where it is to stop."""

DRONE = replace(
    HEAVY,
    name="drone",
    cause="sphere",
    num_tasks=8,
    dim_state=6,
    dim_action=3,
    tasks=directions,
    start=blocks.normal(0.5, 6),
    behaviour=blocks.normal(1.0, 3),
    step=inertia(dragged),
    reward=_hover,
    generators=_TURNED_TWICE,
    action_generators=ROTATIONS,
    coordinates=shortest_turn,
    goals=lambda tasks: torch.cat((tasks, torch.zeros_like(tasks)), -1),
    max_steps=40,
)
"""Position and velocity in space, and goals all over a sphere."""

MORE_SPACES = (
    replace(
        POINT,
        name="tilted_axis",
        cause="axis",
        dim_state=3,
        dim_action=3,
        tasks=angles,
        start=blocks.normal(0.4, 3),
        behaviour=blocks.normal(0.1, 3),
        step=walk(motion=_sinking),
        reward=carried(_ABOUT_AXIS, well([0.8, 0.3, -0.6], [1.0, 1.0, 1.0])),
        generators=_ABOUT_AXIS[None],
        action_generators=_ABOUT_AXIS[None],
        max_steps=50,
    ),
    replace(
        POINT,
        name="isoclinic",
        cause="product",
        num_tasks=5,
        dim_state=4,
        dim_action=4,
        tasks=angles,
        start=blocks.normal(0.6, 4),
        behaviour=blocks.normal(0.1, 4),
        reward=carried(_ISOCLINIC, well([0.7, 0.2, -0.3, 0.5], [1.0, 2.0, 0.7, 1.4])),
        generators=_ISOCLINIC[None],
        action_generators=_ISOCLINIC[None],
        max_steps=40,
    ),
    replace(
        LINEAR,
        name="lorentz",
        half="reported",
        dim_state=3,
        dim_action=3,
        tasks=spread(-0.8, 0.8),
        start=blocks.normal(0.7, 3),
        behaviour=blocks.normal(1.0, 3),
        step=walk(0.0, _lorentz),
        reward=carried(_BOOST, well([0.7, 0.2, 0.4], [1.0, 1.0, 1.0])),
        generators=_BOOST[None],
        action_generators=_BOOST[None],
    ),
    replace(
        LINEAR,
        name="jordan",
        half="reported",
        dim_state=3,
        dim_action=3,
        num_tasks=6,
        tasks=spread(-1.2, 1.2),
        start=blocks.normal(0.7, 3),
        behaviour=blocks.normal(1.0, 3),
        step=walk(
            0.0,
            lambda state, action, task: 0.2 * action - 0.1 * state + 0.1 * state @ _JORDAN.T,
        ),
        reward=carried(_JORDAN, well([0.5, -0.6, 0.5], [1.0, 0.7, 1.4])),
        generators=_JORDAN[None],
        action_generators=_JORDAN[None],
    ),
    SQUEEZE,
    CART,
    replace(
        POINT,
        name="screw",
        cause="affine",
        group="affine",
        dim_state=3,
        dim_action=3,
        num_tasks=5,
        tasks=spread(-1.5, 1.5),
        start=blocks.normal(0.7, 3),
        behaviour=blocks.normal(0.1, 3),
        step=walk(motion=_drill),
        reward=_on_helix,
        generators=_SCREW,
        action_generators=blocks.spin(3, 0),
        max_steps=30,
    ),
    DRONE,
)
