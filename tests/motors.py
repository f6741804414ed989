"""Points whose actuators are turned by an angle of each task."""

import torch
from systems import TURN, drawn, flat, randn

from hgm import lie
from hgm.dynamics import FourierDynamics

COORDS = torch.tensor([[0.0], [1.2], [-0.8], [2.5]]).double()
NUM = 500


def pushed(state, action):
    return 0.3 * action / (1 + action.square().sum(-1, keepdim=True)).sqrt()


def family(turns, noise=0.02, seed=0, num=NUM):
    """A point whose actuators are turned by an angle of each task."""
    data = drawn(pushed, 2, 2, num, 0.0, seed, num_tasks=len(turns))
    element = lie.exp(turns[..., None] * TURN)
    change = lie.act(element, pushed(data.state, data.action))
    change = change + noise * randn(*change.shape, seed=seed + 50)
    return data._replace(next_state=data.state + change)


def halves_of(data):
    return torch.arange(data.reward.shape[1]).expand(data.reward.shape) % 2


def shared_model(data, dim_action=2):
    inputs, change, _ = flat(data)
    half = halves_of(data).flatten()
    model = FourierDynamics(2, dim_action, 64)
    model.fit(inputs, change, half)
    model.examine(inputs, change, half)
    return model


SAME, TURNED = torch.zeros(4, 1).double(), torch.tensor([[0.0], [0.5], [-0.4], [0.9]]).double()
