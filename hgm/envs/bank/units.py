"""Positive: units of goods and substances, time that goes on, places and poses."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from hgm import lie
from hgm.envs.bank import blocks
from hgm.envs.bank.base import Shape
from hgm.envs.bank.blocks import angles, each, inertia, spread, table, turn, unit, walk
from hgm.envs.bank.machines import BODY, DOT
from hgm.envs.bank.more_spaces import carried, well
from hgm.envs.bank.spaces import LINEAR
from hgm.envs.point import bound_disc

FLOW = replace(LINEAR, half="reported", num_tasks=5)


def _tensor(values: list[list[float]]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


_SPIRAL = _tensor([[0.3, -1.0, 0.0], [1.0, 0.3, 0.0], [0.0, 0.0, -0.4]])
_DECAY = torch.block_diag(0.93 * lie.exp(0.1 * blocks.spin(2, 0))[0], _tensor([[0.9]]))
_BARTER = torch.diag(torch.tensor([1.0, -1.0, 0.0], dtype=torch.float64))
_AHEAD = torch.kron(_tensor([[0.0, 1.0], [0.0, 0.0]]), torch.eye(2, dtype=torch.float64))


def _wide(u: Tensor) -> Tensor:
    return torch.exp(-(u - u.new_tensor([0.7, 0.2, -0.5])).square().sum(-1) / (2 * 0.8**2))


def _deal(u: Tensor) -> Tensor:
    return -torch.log(0.1 + (u - u.new_tensor([0.8, 0.6, 0.3])).square().sum(-1))


def prices(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """Three prices, changed by percentages, and drawn to their geometric mean."""
    logs = state.log()
    drawn = 0.2 * torch.tanh(logs.mean(-1, keepdim=True) - logs)
    return state * torch.exp(drawn + 0.15 * action.tanh() + 0.03 * random)


def _market(shape: Shape, generator: torch.Generator) -> Tensor:
    return blocks.normal(0.4, 3)(shape, generator).exp()


def utility(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """Squares of logarithms of prices in the task's currency, on the task's own scale."""
    logs = following.log() - task[..., :1]
    missed = (logs - logs.new_tensor([0.2, -0.3, 0.4])).square()
    return -task[..., 1] * (missed * missed.new_tensor([1.0, 2.0, 0.5])).sum(-1)


NUMERAIRE = replace(
    FLOW,
    name="numeraire",
    cause="noncompact",
    dim_state=3,
    dim_action=3,
    tasks=table(spread(-0.6, 0.6), each(0.5, 3.0)),
    start=_market,
    behaviour=blocks.normal(1.0, 3),
    step=prices,
    reward=utility,
    generators=torch.eye(3, dtype=torch.float64)[None],
    action_generators=torch.zeros(1, 3, 3, dtype=torch.float64),
    max_steps=40,
)
"""Prices in currencies of other worth."""


def reaction(state: Tensor, feed: Tensor, scale: Tensor, random: Tensor) -> Tensor:
    """A and B that are fed, and make C at a rate that saturates at a concentration."""
    a, b, c = state.chunk(3, -1)
    made = 0.7 * a * b / (scale + a + b)
    after = torch.cat((0.8 * a - made + feed[..., :1], 0.8 * b - made + feed[..., 1:], c), -1)
    return after + (made - 0.2 * c) * state.new_tensor([0.0, 0.0, 1.0]) + 0.03 * state * random


def _charged(shape: Shape, generator: torch.Generator) -> Tensor:
    return blocks.normal(0.8, 3)(shape, generator).abs()


def _product(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    a, _, c = (following * torch.exp(-task[..., :1])).unbind(-1)
    return torch.exp(-(c - 0.8).square() / (2 * 0.3**2)) - 0.3 * a


REACTOR = replace(
    FLOW,
    name="reactor",
    cause="heredity",
    dim_state=3,
    tasks=spread(-0.5, 0.5),
    start=_charged,
    behaviour=lambda shape, generator: 0.3 * blocks.normal(0.5, 2)(shape, generator).exp(),
    step=lambda state, action, task, random: reaction(
        state, action, torch.exp(task[..., :1]), random
    ),
    reward=_product,
    generators=torch.eye(3, dtype=torch.float64)[None],
    action_generators=torch.eye(2, dtype=torch.float64)[None],
    max_steps=25,
)
"""A reaction whose concentrations are measured in units, in which it saturates."""


def _trade(state: Tensor, action: Tensor, task: Tensor) -> Tensor:
    """A quantity, its price, and cash, which the value of both moves."""
    quantity, price, cash = state.chunk(3, -1)
    value = torch.tanh(quantity * price)
    moves = (-0.1 * quantity, -price * (0.1 + 0.1 * value), 0.3 * value - 0.2 * cash)
    return torch.cat(moves, -1) + 0.2 * action


def _coasting(state: Tensor, action: Tensor, task: Tensor) -> Tensor:
    """Positions and velocities, which slow down together."""
    x, v = state.chunk(2, -1)
    brake = 0.1 + 0.1 * torch.tanh(v.square().sum(-1, keepdim=True))
    return torch.cat((0.1 * v - brake * x, -brake * v), -1) + 0.2 * action


_ALONG, _ACROSS = (torch.tensor(v, dtype=torch.float64) for v in ([0.6, 0.8], [-0.8, 0.6]))
_DOWN_CANAL = torch.zeros(1, 3, 3, dtype=torch.float64)
_DOWN_CANAL[0, :2, 2] = _ALONG


def _canal(state: Tensor, action: Tensor, task: Tensor) -> Tensor:
    """Water that flows fastest in the middle of a canal, and banks that lead back to it."""
    off = (state * _ACROSS).sum(-1, keepdim=True)
    return blocks.disc(action) + 0.06 * torch.exp(-off.square()) * _ALONG - 0.1 * off * _ACROSS


def _jetty(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    missed = following - following.new_tensor([0.2, -0.3]) - task[..., :1] * _ALONG
    return torch.exp(-missed.square().sum(-1) / (2 * 0.5**2))


_POST = torch.tensor([0.5, -0.4], dtype=torch.float64)
_ABOUT_POST = blocks.spin(5, 0, 2)
_ABOUT_POST[0, :2, 4] = -_ABOUT_POST[0, :2, :2] @ _POST


def _seat(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    along, across = turn(following[..., :2] - _POST, -task[..., :1]).unbind(-1)
    return -(along - 0.9).square() - 3 * across.square()


_POSES = torch.zeros(3, 3, 3, dtype=torch.float64)
_POSES[0, 0, 2] = _POSES[1, 1, 2] = 1.0
_POSES[2] = blocks.spin(3, 0)[0]


def _poses(tasks: Tensor) -> Tensor:
    """Coordinates of the rigid motions that take pose 0 to the others."""
    motions = lie.exp(tasks[:, 2, None, None] * _POSES[2])
    motions[:, :2, 2] = tasks[:, :2]
    return lie.vee(lie.log(motions @ torch.linalg.inv(motions[:1])), _POSES)


def _parked(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    along, across = turn(following - task[..., :2], -task[..., 2:3]).unbind(-1)
    return 0.4 * along - torch.hypot(along, 2 * across)


_ON_CYLINDER = torch.cat((blocks.spin(4, 0), torch.zeros(1, 4, 4, dtype=torch.float64)))
_ON_CYLINDER[1, 2, 3] = 1.0


def _lift(state: Tensor, action: Tensor, task: Tensor) -> Tensor:
    """Steps in a draught that turns about the axis, and is drawn to it; and steps along it."""
    across = blocks.disc(action[..., :2]) + 0.9 * turn(state[..., :2], 0.15) - state[..., :2]
    return torch.cat((across, 0.1 * torch.tanh(8 * action[..., 2:])), -1)


def _storey(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    across = following[..., :2] - 0.8 * unit(task[..., :1])
    height = following[..., 2] - task[..., 1]
    return torch.exp(-across.square().sum(-1) / (2 * 0.5**2) - height.square() / (2 * 0.8**2))


UNITS = (
    replace(
        FLOW,
        name="nautilus",
        cause="noncompact",
        dim_state=3,
        dim_action=3,
        tasks=spread(-1.2, 1.2),
        start=blocks.normal(0.7, 3),
        behaviour=blocks.normal(1.0, 3),
        step=walk(0.0, lambda state, action, task: 0.2 * action + state @ _DECAY.T - state),
        reward=carried(_SPIRAL, _wide),
        generators=_SPIRAL[None],
        action_generators=_SPIRAL[None],
        reward_noise=0.005,
    ),
    NUMERAIRE,
    REACTOR,
    replace(
        FLOW,
        name="barter",
        cause="noncompact",
        dim_state=3,
        dim_action=3,
        tasks=spread(-0.8, 0.8),
        start=blocks.normal(0.7, 3),
        behaviour=blocks.normal(1.0, 3),
        step=walk(0.0, _trade),
        reward=carried(_BARTER, _deal),
        generators=_BARTER[None],
        action_generators=_BARTER[None],
    ),
    replace(
        FLOW,
        name="lookahead",
        cause="noncompact",
        dim_state=4,
        dim_action=4,
        tasks=spread(-1.0, 1.0),
        start=blocks.normal(0.7, 4),
        behaviour=blocks.normal(1.0, 4),
        step=walk(0.0, _coasting),
        reward=carried(_AHEAD, well([0.6, -0.3, 0.3, 0.5], [1.0, 1.0, 0.6, 0.6])),
        generators=_AHEAD[None],
        action_generators=_AHEAD[None],
    ),
    replace(
        DOT,
        name="canal",
        cause="affine",
        group="affine",
        num_tasks=5,
        tasks=spread(-1.2, 1.2),
        start=blocks.normal(0.8, 2),
        step=walk(0.03, _canal),
        reward=_jetty,
        generators=_DOWN_CANAL,
        action_generators=torch.zeros(1, 2, 2, dtype=torch.float64),
        max_steps=15,
    ),
    replace(
        BODY,
        name="carousel",
        cause="affine",
        group="affine",
        num_tasks=5,
        tasks=angles,
        start=blocks.normal(0.7, 4),
        step=inertia(
            lambda x, v, action, task: bound_disc(action, 1.5) - 1.0 * (x - _POST) - 0.5 * v
        ),
        reward=_seat,
        generators=_ABOUT_POST,
        max_steps=40,
    ),
    replace(
        DOT,
        name="parking",
        cause="affine",
        group="affine",
        num_tasks=8,
        tasks=table(each(-0.7, 0.7, 2), each(-1.2, 1.2)),
        start=blocks.normal(0.9, 2),
        step=walk(0.03),
        reward=_parked,
        generators=_POSES,
        action_generators=_POSES[:, :2, :2],
        coordinates=_poses,
        max_steps=30,
    ),
    replace(
        DOT,
        name="cylinder",
        cause="affine",
        group="affine",
        num_tasks=6,
        dim_state=3,
        dim_action=3,
        tasks=table(angles, each(-0.7, 0.7)),
        start=blocks.normal(0.7, 3),
        behaviour=blocks.normal(0.1, 3),
        step=walk(0.03, _lift),
        reward=_storey,
        generators=_ON_CYLINDER,
        action_generators=_ON_CYLINDER[:, :3, :3],
        coordinates=blocks.relative(0, 1),
        max_steps=30,
    ),
)
