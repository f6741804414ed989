"""What specimens are built of: columns of tasks, draws, steps, rewards, generators."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from hgm.envs.bank.base import Draw, Reward, Shape, Specimen, Step, Table
from hgm.envs.point import bound_disc

MAX_ACTION = 0.1
"""Largest step of a walking point."""


def table(*columns: Table) -> Table:
    """Tasks of these columns, side by side."""
    return lambda num, generator: torch.cat([column(num, generator) for column in columns], -1)


def each(low: float, high: float, width: int = 1) -> Table:
    """Columns that every task draws for itself, uniformly."""
    return lambda num, generator: low + (high - low) * _rand((num, width), generator)


def shared(low: float, high: float, width: int = 1) -> Table:
    """Columns that are drawn once for all tasks, uniformly."""
    return lambda num, generator: (low + (high - low) * _rand((1, width), generator)).expand(
        num, -1
    )


def spread(low: float, high: float) -> Table:
    """A column of numbers in random order, each from the middle of its own share of a range."""

    def draw(num: int, generator: torch.Generator) -> Tensor:
        order = torch.randperm(num, generator=generator)[:, None]
        return low + (high - low) * (order + 0.15 + 0.7 * _rand((num, 1), generator)) / num

    return draw


def angles(num: int, generator: torch.Generator) -> Tensor:
    """A column of angles that are :func:`spread` over a circle from a random angle on."""
    return spread(0.0, 2 * math.pi)(num, generator) + 2 * math.pi * _rand((1, 1), generator)


def normal(scale: float, width: int) -> Draw:
    """Isotropic normal vectors."""
    return lambda shape, generator: scale * _randn((*shape, width), generator)


def uniform(bound: float, width: int) -> Draw:
    """Vectors that are uniform in a box."""
    return lambda shape, generator: bound * (2 * _rand((*shape, width), generator) - 1)


def beside(*draws: Draw) -> Draw:
    """Vectors of several draws, side by side."""
    return lambda shape, generator: torch.cat([draw(shape, generator) for draw in draws], -1)


def sector(middle: float, width: float, least: float, most: float) -> Draw:
    """Points of the plane in a sector of so many radians, at distances from least to most."""

    def draw(shape: Shape, generator: torch.Generator) -> Tensor:
        random = _rand((*shape, 2), generator)
        distance = least + (most - least) * random[..., :1]
        return distance * unit(middle + width * (random[..., 1:] - 0.5))

    return draw


def unit(angle: Tensor) -> Tensor:
    """Unit vectors of angles ``(..., 1)``, shape ``(..., 2)``."""
    return torch.cat((angle.cos(), angle.sin()), -1)


def turn(vectors: Tensor, angle: Tensor | float) -> Tensor:
    """Plane vectors ``(..., 2)`` turned by angles ``(..., 1)``."""
    angle = torch.as_tensor(angle, dtype=vectors.dtype)
    x, y = vectors[..., :1], vectors[..., 1:]
    return torch.cat((x * angle.cos() - y * angle.sin(), x * angle.sin() + y * angle.cos()), -1)


def stretch(vectors: Tensor, axis: Tensor, factor: float) -> Tensor:
    """Plane vectors ``(..., 2)`` with their part along axes ``(..., 1)`` times a factor."""
    along = unit(axis)
    return vectors + (factor - 1) * (vectors * along).sum(-1, keepdim=True) * along


def spin(size: int, *planes: int, rates: tuple[float, ...] | None = None) -> Tensor:
    """Generator ``(1, size, size)`` that turns the planes (p, p + 1), at rates in radians."""
    generator = torch.zeros(1, size, size, dtype=torch.float64)
    for plane, rate in zip(planes, rates or (1.0,) * len(planes), strict=True):
        generator[0, plane, plane + 1], generator[0, plane + 1, plane] = -rate, rate
    return generator


def relative(*columns: int) -> Callable[[Tensor], Tensor]:
    """Coordinates that are columns of the tasks, counted from the base task's."""
    return lambda tasks: tasks[:, list(columns)] - tasks[:1, list(columns)]


def goal(task: Tensor, column: int = 0) -> Tensor:
    """Goals on a circle: angle in a column of the tasks, radius in the next."""
    return task[..., column + 1 : column + 2] * unit(task[..., column : column + 1])


def distance(states: Tensor, task: Tensor) -> Tensor:
    """Distance of the first two coordinates to :func:`goal`."""
    return (states[..., :2] - goal(task)).norm(dim=-1)


def of_distance(shape: Callable[[Tensor], Tensor]) -> Reward:
    """Rewards that are a function of the distance of next states to :func:`goal`."""
    return lambda state, action, following, task: shape(distance(following, task))


def cone(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
    """The paper's reward: minus the distance to :func:`goal`."""
    return -distance(following, task)


def plus(reward: Reward, more: Reward) -> Reward:
    """The sum of two rewards."""
    return lambda *transition: reward(*transition) + more(*transition)


def disc(action: Tensor) -> Tensor:
    """Actions as a walking point carries them out: no longer than :data:`MAX_ACTION`."""
    return bound_disc(action, MAX_ACTION)


def walk(
    noise: float = 0.05,
    motion: Callable[[Tensor, Tensor, Tensor], Tensor] = lambda state, action, task: disc(action),
) -> Step:
    """Steps ``s' = s + motion(s, a, task) + noise``."""
    return lambda state, action, task, random: state + motion(state, action, task) + noise * random


def inertia(
    force: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor] = lambda x, v, action, task: action,
    pace: float = 0.1,
    noise: float = 0.01,
) -> Step:
    """Steps of position and velocity: ``x' = x + pace v``, ``v' = v + pace force``."""

    def step(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
        x, v = state.chunk(2, -1)
        moved = torch.cat((x + pace * v, v + pace * force(x, v, action, task)), -1)
        return moved + noise * random

    return step


def in_chart(specimen: Specimen, chart: Tensor, **changes: Any) -> Specimen:
    """The same specimen seen in other coordinates of its states, ``C s``."""
    chart = chart.double()
    back = torch.linalg.inv(chart)

    def start(shape: Shape, generator: torch.Generator) -> Tensor:
        return specimen.start(shape, generator) @ chart.T

    def step(state: Tensor, action: Tensor, task: Tensor, random: Tensor) -> Tensor:
        return specimen.step(state @ back.T, action, task, random) @ chart.T

    def reward(state: Tensor, action: Tensor, following: Tensor, task: Tensor) -> Tensor:
        return specimen.reward(state @ back.T, action, following @ back.T, task)

    if specimen.generators is not None:
        changes["generators"] = chart @ specimen.generators @ back
    return replace(specimen, start=start, step=step, reward=reward, **changes)


def _rand(shape: Shape, generator: torch.Generator) -> Tensor:
    return torch.rand(shape, generator=generator, dtype=torch.float64)


def _randn(shape: Shape, generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator, dtype=torch.float64)
