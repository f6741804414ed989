"""Positive: vehicles, linked bodies and bodies that turn in space."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from hgm.envs.bank import blocks
from hgm.envs.bank.base import Shape
from hgm.envs.bank.blocks import goal, inertia, of_distance, shared, table, turn, unit
from hgm.envs.bank.machines import BODY, MACHINES, TURNED_TWICE
from hgm.envs.bank.more_plane import length
from hgm.envs.bank.spaces import ROTATIONS
from hgm.envs.point import bound_disc

STILL = torch.zeros(1, 2, 2, dtype=torch.float64)
"""What a turn of the world does to the two actions of a vehicle that carries its own axes."""

_BAR = 0.4


def _trailer(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """Position and heading of a tractor, and the heading of a trailer that follows its hitch."""
    x, tractor, trailer = state.chunk(3, -1)
    way = 0.15 * action[..., :1].tanh()
    steer = 0.5 * action[..., 1:].tanh()
    cross = trailer[..., :1] * tractor[..., 1:] - trailer[..., 1:] * tractor[..., :1]
    moved = x + way * tractor + 0.01 * random[..., :2]
    headed = turn(tractor, steer + 0.02 * random[..., 2:3])
    return torch.cat((moved, headed, turn(trailer, way / _BAR * cross)), -1)


def _hitched(shape: Shape, generator: torch.Generator) -> Tensor:
    x = blocks.normal(0.6, 2)(shape, generator)
    angle = blocks.uniform(math.pi, 1)(shape, generator)
    bent = blocks.uniform(1.2, 1)(shape, generator)
    return torch.cat((x, unit(angle), unit(angle + bent)), -1)


def _backed(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """The trailer's axle is wanted at the goal."""
    axle = following[..., :2] - _BAR * following[..., 4:]
    return -torch.log(0.1 + (axle - goal(task)).square().sum(-1))


def _penny(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """Contact point, heading, rolling rate, lean and its rate of a disc that rights itself."""
    x, heading = state[..., :2], state[..., 2:4]
    rolling, lean, rate = state[..., 4:].unbind(-1)
    drive, tilt = action.tanh().unbind(-1)
    moved = x + 0.15 * rolling[..., None] * heading + 0.01 * random[..., :2]
    headed = turn(heading, (0.6 * rolling * lean.tanh())[..., None])
    rates = (0.9 * rolling + 0.4 * drive, lean + 0.3 * rate, 0.8 * rate - 0.3 * lean + 0.4 * tilt)
    return torch.cat((moved, headed, torch.stack(rates, -1) + 0.02 * random[..., 4:]), -1)


def _tossed(shape: Shape, generator: torch.Generator) -> Tensor:
    x, rates = blocks.normal(0.6, 2)(shape, generator), blocks.normal(0.7, 3)(shape, generator)
    return torch.cat((x, unit(blocks.uniform(math.pi, 1)(shape, generator)), rates), -1)


def _slowly(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """Near the goal, and hardly rolling: a product."""
    near = torch.exp(-blocks.distance(following, task).square() / (2 * 0.6**2))
    return near / (1 + following[..., 4].square())


def _tether(x: Tensor, v: Tensor, action: Tensor, task: Tensor) -> Tensor:
    """Two craft with thrusters, drawn to one planet, on a tether that pulls where it is taut."""
    off = x[..., 2:] - x[..., :2]
    pull = 3 * (length(off) - 0.5).clamp_min(0) / length(off).clamp_min(1e-9) * off
    forces = [
        bound_disc(thrust, 1.5) - 2 * place / (0.4 + place.square().sum(-1, keepdim=True))
        for thrust, place in zip(action.chunk(2, -1), x.chunk(2, -1), strict=True)
    ]
    return torch.cat((forces[0] + pull, forces[1] - pull), -1) - 0.3 * v


def _apart(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """The way from the first to the second is to be the task's."""
    missed = following[..., 2:4] - following[..., :2] - goal(task)
    return torch.exp(-missed.square().sum(-1) / (2 * 0.7**2))


def _chandelier(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """A bob on a sphere, and its velocity; the pivot is accelerated across."""
    bob, velocity = state.chunk(2, -1)
    weight = torch.cat((-bound_disc(action, 1.5), torch.full_like(action[..., :1], -1.5)), -1)
    moved = bob + 0.15 * velocity
    moved = moved / length(moved)
    faster = 0.97 * velocity + 0.15 * weight + 0.02 * random[..., 3:]
    return torch.cat((moved, faster - (faster * moved).sum(-1, keepdim=True) * moved), -1)


def _hanging(shape: Shape, generator: torch.Generator) -> Tensor:
    bob = blocks.normal(0.6, 3)(shape, generator) - torch.tensor([0.0, 0.0, 1.0]).double()
    bob, velocity = bob / length(bob), blocks.normal(0.6, 3)(shape, generator)
    return torch.cat((bob, velocity - (velocity * bob).sum(-1, keepdim=True) * bob), -1)


def _product(one: Tensor, two: Tensor) -> Tensor:
    """Products of quaternions ``(..., 4)``, the real part first."""
    a, u, b, v = one[..., :1], one[..., 1:], two[..., :1], two[..., 1:]
    real = a * b - (u * v).sum(-1, keepdim=True)
    return torch.cat((real, a * v + b * u + torch.linalg.cross(*torch.broadcast_tensors(u, v))), -1)


def _rotation(vector: Tensor) -> Tensor:
    """Quaternions of rotation vectors ``(..., 3)``."""
    half = length(vector) / 2
    return torch.cat((half.cos(), torch.sinc(half / math.pi) / 2 * vector), -1)


def _upwards(q: Tensor) -> Tensor:
    """The vertical as the body sees it, ``(..., 3)``."""
    w, x, y, z = q.unbind(-1)
    return torch.stack(
        (2 * (x * z - w * y), 2 * (y * z + w * x), w * w - x * x - y * y + z * z), -1
    )


def _gimbal(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
    """A quaternion, and the body's rates: three wheels of unlike strength, and a low weight."""
    q, rates = state[..., :4], state[..., 4:]
    weight = torch.linalg.cross(rates.new_tensor([0.1, 0.0, 0.25]).expand_as(rates), _upwards(q))
    wheels = rates.new_tensor([0.4, 0.3, 0.5]) * action.tanh()
    after = _product(q, _rotation(0.3 * rates))
    return torch.cat((after, 0.9 * rates + wheels + weight + 0.02 * random[..., 4:]), -1)


def _afloat(shape: Shape, generator: torch.Generator) -> Tensor:
    yaw = blocks.uniform(2 * math.pi, 1)(shape, generator)
    up = torch.cat((torch.zeros_like(yaw), torch.zeros_like(yaw), yaw), -1)
    tilt = _rotation(blocks.normal(0.5, 3)(shape, generator))
    return torch.cat((_product(_rotation(up), tilt), blocks.normal(0.5, 3)(shape, generator)), -1)


def _framed(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """The first body axis is wanted along the task's angle, and the third one upright."""
    w, x, y, z = following[..., :4].unbind(-1)
    camera = torch.stack((w * w + x * x - y * y - z * z, 2 * (x * y + w * z)), -1)
    along = (camera * unit(task[..., :1])).sum(-1)
    return torch.exp(1.5 * (along - 1)) + 0.3 * _upwards(following[..., :4])[..., 2]


# Half a turn of the quaternion is a whole turn of the body.
_YAW = torch.zeros(1, 7, 7, dtype=torch.float64)
_YAW[0, 0, 3] = _YAW[0, 1, 2] = -0.5
_YAW[0, 3, 0] = _YAW[0, 2, 1] = 0.5

_ATTITUDE = next(one for one in MACHINES if one.name == "attitude")


def _at_port(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """An oblong well that the attitude of the task turns."""
    return torch.exp(_ATTITUDE.reward(state[..., :3], action, following[..., :3], task))


UNSEEN_MOTION = (
    replace(
        BODY,
        name="trailer",
        num_tasks=5,
        dim_state=6,
        start=_hitched,
        step=_trailer,
        reward=_backed,
        generators=blocks.spin(6, 0, 2, 4),
        action_generators=STILL,
        max_steps=40,
    ),
    replace(
        BODY,
        name="penny",
        num_tasks=5,
        dim_state=7,
        start=_tossed,
        step=_penny,
        reward=_slowly,
        generators=blocks.spin(7, 0, 2),
        action_generators=STILL,
        max_steps=40,
    ),
    replace(
        BODY,
        name="tether",
        cause="product",
        num_tasks=5,
        dim_state=8,
        dim_action=4,
        start=blocks.normal(0.6, 8),
        behaviour=blocks.normal(1.0, 4),
        step=inertia(_tether),
        reward=_apart,
        generators=blocks.spin(8, 0, 2, 4, 6),
        action_generators=blocks.spin(4, 0, 2),
        max_steps=40,
    ),
    replace(
        BODY,
        name="chandelier",
        num_tasks=5,
        dim_state=6,
        tasks=table(blocks.angles, shared(0.5, 0.7)),
        start=_hanging,
        step=_chandelier,
        reward=of_distance(lambda far: torch.exp(-far.square() / (2 * 0.4**2))),
        generators=blocks.spin(6, 0, 3),
        max_steps=40,
    ),
    replace(
        BODY,
        name="gimbal",
        num_tasks=5,
        dim_state=7,
        dim_action=3,
        tasks=blocks.angles,
        start=_afloat,
        behaviour=blocks.normal(1.0, 3),
        step=_gimbal,
        reward=_framed,
        generators=_YAW,
        action_generators=torch.zeros(1, 3, 3, dtype=torch.float64),
        max_steps=25,
    ),
    replace(
        _ATTITUDE,
        name="docking",
        num_tasks=7,
        dim_state=6,
        start=blocks.normal(0.6, 6),
        behaviour=blocks.normal(1.0, 3),
        step=inertia(
            lambda x, v, action, task: (
                bound_disc(action, 1.5) - 2 * x / (0.4 + x.square().sum(-1, keepdim=True)) - 0.3 * v
            )
        ),
        reward=_at_port,
        generators=TURNED_TWICE,
        action_generators=ROTATIONS,
        max_steps=40,
    ),
)
