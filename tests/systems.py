"""Dynamics that are known, and data of them."""

import torch
from torch.func import jacfwd, vmap

from hgm import lie
from hgm.dynamics import DynamicsModel, Prediction
from hgm.symmetry.samples import Samples

TURN = lie.so_generators(2).double()
PACE = 0.1


def randn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def spin(size, *planes):
    """Generator ``(1, size, size)`` that turns the planes (p, p + 1)."""
    generator = torch.zeros(1, size, size).double()
    for plane in planes:
        generator[0, plane : plane + 2, plane : plane + 2] = TURN[0]
    return generator


class Known(DynamicsModel):
    """Dynamics whose displacements are given functions of ``(s, a)``, one a twin."""

    def __init__(self, dim_state, one, other=None):
        self.dim_state, self.twins = dim_state, (one, one if other is None else other)
        self.noise, self.scale = torch.zeros(dim_state).double(), torch.ones(dim_state).double()

    def fit(self, inputs, change, half):
        """There is nothing to learn."""

    def values(self, inputs):
        state, action = inputs[..., : self.dim_state], inputs[..., self.dim_state :]
        return torch.stack([twin(state, action) for twin in self.twins])

    def predict(self, inputs):
        jacobian = vmap(jacfwd(self.values))(inputs).movedim(1, 0)
        return Prediction(self.values(inputs), jacobian)


class LeastSquares(DynamicsModel):
    """Twins of linear regressions."""

    def fit(self, inputs, change, half):
        table = torch.cat((inputs, torch.ones_like(inputs[:, :1])), -1)
        self.weights = torch.stack(
            [
                torch.linalg.lstsq(table[half == twin], change[half == twin]).solution
                for twin in range(2)
            ]
        )
        self.examine(inputs, change, half)

    def values(self, inputs):
        return inputs @ self.weights[:, :-1] + self.weights[:, -1:]

    def predict(self, inputs):
        slope = self.weights[:, None, :-1].mT.expand(-1, len(inputs), -1, -1)
        return Prediction(self.values(inputs), slope)


def integrator(friction=None):
    """Displacements of position and velocity: ``x' = x + v / 10``, ``v' = v + (a - F v) / 10``."""

    def change(state, action):
        x, v = state.chunk(2, -1)
        force = action if friction is None else action - v @ friction.mT
        return PACE * torch.cat((v, force), -1)

    return change


def drawn(change, dim_state, dim_action, num, noise=0.0, seed=0, num_tasks=3):
    """Transitions from standard normal states and actions; rewards are the first coordinate."""
    state = randn(num_tasks, num, dim_state, seed=3 * seed)
    action = randn(num_tasks, num, dim_action, seed=3 * seed + 1)
    moved = change(state, action) + noise * randn(*state.shape, seed=3 * seed + 2)
    return Samples(state, action, state[..., 0], state + moved)


def flat(samples):
    """Inputs ``(N B, n + m)``, displacements, and the half of every transition."""
    inputs = torch.cat((samples.state, samples.action), -1).flatten(0, 1)
    change = (samples.next_state - samples.state).flatten(0, 1)
    return inputs, change, torch.arange(len(inputs)) % 2
