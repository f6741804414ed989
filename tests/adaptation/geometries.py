"""Geometries of groups and rewards that are known, and transitions of their tasks."""

import math
from dataclasses import replace

import torch
from systems import randn

from hgm import lie
from hgm.geometry import Geometry
from hgm.geometry.reward_model import RewardModel
from hgm.numerics.fourier import draw_frequencies, features, fit, moments

NOISE = 0.05
PLANE = lie.so_generators(2).double()
SPACE = lie.so_generators(3).double()


def uniform(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def linear_model(slope, noise=NOISE, error=0.0, width=4.0):
    """The reward ``slope . p`` of points as wide as `width`, but for a shift of about `error`."""
    slope = torch.as_tensor(slope, dtype=torch.float64)
    n = len(slope)
    weights, spread = torch.zeros(n + 2, 2).double().unbind(1)
    weights[1 : n + 1], spread[-1] = width * slope / 3, error / 3
    zero = torch.zeros(n).double()
    noise = torch.tensor(noise).double()
    return RewardModel(
        zero, torch.eye(n).double() / width, zero[None], zero[:1], weights, spread[:, None], noise
    )


def bowl(points):
    """The reward ``-log(1 + |p - (1, 0)|^2)``."""
    return -torch.log1p((points - torch.tensor([1.0, 0.0])).square().sum(-1))


def bowl_model(noise=NOISE, seed=0, reward=bowl):
    """A regression on a smooth reward."""
    points = randn(1500, 2, seed=seed)
    rewards = reward(points)[:, None]
    frequencies, phases = draw_frequencies(2, 128, torch.Generator().manual_seed(seed))
    found = fit(moments(features(points, frequencies, phases), rewards))
    eye, zero = torch.eye(2).double(), torch.zeros(2).double()
    spread, noise = found.root[:, -40:], torch.tensor(noise).double()
    return RewardModel(zero, eye, frequencies, phases, found.weights[:, 0], spread, noise)


def geometry_of(generators, model, coords=None, **more):
    d = len(generators)
    coords = torch.zeros(1, d).double() if coords is None else coords
    return Geometry(
        generators, generators, coords, len(model.mean), "found", "", None, model, **more
    )


def circle(model=None, **more):
    return geometry_of(PLANE, linear_model([1.0, 0.0]) if model is None else model, **more)


def translations(*directions, model, far=1.0):
    """Shifts of the plane along `directions`, of at most twice `far`."""
    generators = torch.zeros(len(directions), 3, 3).double()
    for generator, direction in zip(generators, directions, strict=True):
        generator[:2, 2] = torch.tensor(direction)
    coords = far * torch.eye(len(directions)).double()
    return geometry_of(generators, model, coords)


def transitions(geometry, coords, num, noise=0.0, seed=0, radius=1.0):
    """Points and rewards of tasks at `coords`."""
    n = geometry.dim_state
    points = radius * randn(len(coords), num, n, seed=seed)
    points = points / points.norm(dim=-1, keepdim=True).clamp_min(2.5) * 2.5
    none = torch.zeros(len(coords), num, geometry.dim_action).double()
    carried, _ = geometry.act(
        -coords[:, None].expand(-1, num, -1),
        points,
        none[..., :0].expand(-1, -1, 0) if geometry.dim_action == 0 else none,
    )
    rewards = geometry.reward(carried).value
    return points, rewards + noise * randn(*rewards.shape, seed=seed + 1000)


def sphere_tasks(num=12, seed=0, ripple=0.0):
    """Turns of space whose base task they carry about a pole, that pole, and tasks' coordinates."""
    pole = torch.tensor([0.6, 0.0, 0.8]).double()
    model = linear_model(pole)
    # A learned reward is not quite symmetric.
    model.weights[0] = ripple
    model = replace(model, frequencies=torch.tensor([[0.0, 4.0, 0.0]]).double())
    geometry = geometry_of(SPACE, model)
    turns = randn(num, 3, seed=seed)
    coords = turns / turns.norm(dim=-1, keepdim=True) * (math.pi * uniform(num, 1, seed=seed + 1))
    return geometry, pole, coords


def wrapped(angles):
    return torch.atan2(angles.sin(), angles.cos())
