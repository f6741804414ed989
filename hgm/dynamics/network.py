"""Dynamics as small networks with a linear part."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from hgm.checks import check_network
from hgm.dynamics.base import DynamicsModel, Prediction
from hgm.dynamics.noise import local_noise

_EPOCHS = 80
_STEPS = (1000, 2000)  # fewest and most of Adam: what small and large data are given at first
_MORE = 3  # times that as many steps again are given, each twice as many as before,
_WORTH = 0.05  # as long as held-out errors fall by that share
_NONE = 1e-3  # of a deviation: errors below it, those of what is exactly linear, fall for ever
_BATCH = 256
_WARM_UP = 0.1  # share of the steps
_BUDGET = 4096  # points whose Jacobians are held at a time


class NetworkDynamics(DynamicsModel):
    r"""Twins :math:`f(x) = A x + \mathrm{net}(x)` of SiLU networks, both in one batched product.

    Inputs and targets are standardised; `A` starts at the least-squares solution; Adam with one
    cycle of the learning rate, and more cycles while they gain. In ten dimensions and more a
    network needs far fewer transitions than waves that must fill the space.

    Args:
        dim_state: State dimension ``n``.
        dim_action: Action dimension ``m``.
        width: Units per hidden layer.
        depth: Number of hidden layers.
        learning_rate: Largest one of Adam.
        seed: Seed of weights and batches.

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(
        self,
        dim_state: int,
        dim_action: int,
        width: int = 128,
        depth: int = 2,
        learning_rate: float = 3e-3,
        seed: int = 0,
    ) -> None:
        width, depth = check_network(width, depth)
        self.sizes = [dim_state + dim_action, *depth * (width,), dim_state]
        self.learning_rate, self.seed = learning_rate, seed

    def fit(self, inputs: Tensor, change: Tensor, half: Tensor) -> None:
        """A few thousand steps of Adam, and more while held-out displacements gain by them."""
        generator = torch.Generator().manual_seed(self.seed)
        self._centre, self._width = inputs.mean(0), _deviation(inputs)
        self._mean, self._unit = change.mean(0), _deviation(change)
        parts = [(half == number).nonzero()[:, 0].cpu() for number in range(2)]
        num = min(map(len, parts))
        chosen = [part[torch.randperm(len(part), generator=generator)[:num]] for part in parts]
        rows = torch.stack(chosen).to(inputs.device)
        x = ((inputs - self._centre) / self._width)[rows]
        y = ((change - self._mean) / self._unit)[rows].float()
        self._start(x, y, generator)
        x, size = x.float(), min(num, _BATCH if num <= _BATCH * _STEPS[1] else 2 * _BATCH)
        steps = min(max(_EPOCHS * num // size, _STEPS[0]), _STEPS[1])
        self._descend(x, y, size, steps, generator)
        missed = self._missed(x, y)
        for more in range(_MORE):
            before = [one.clone() for one in self._parameters]
            self._descend(x, y, size, 2**more * steps, generator)
            now = self._missed(x, y)
            gain = missed - now
            if not gain >= 0:  # nor is it where steps diverged
                for parameter, value in zip(self._parameters, before, strict=True):
                    parameter.copy_(value)
            if not gain >= _WORTH:
                break
            missed = now
        self.local = None
        self.examine(inputs, change, half)
        self.local = local_noise(inputs, self.left(inputs, change, half), self.scale)

    @property
    def _parameters(self) -> list[Tensor]:
        return [*self.weights, *self.biases, self.linear]

    def _missed(self, x: Tensor, y: Tensor) -> float:
        """Mean logarithm of the share that twins miss of displacements on each other's half."""
        pieces = zip(
            x.flip(0).split(16 * _BUDGET, 1), y.flip(0).split(16 * _BUDGET, 1), strict=True
        )
        error = sum((self._value(a) - b).square().sum((0, 1)) for a, b in pieces)
        return float((error / y[..., 0].numel()).clamp_min(_NONE**2).log().mean() / 2)

    def predict(self, inputs: Tensor) -> Prediction:
        """Both twins' displacements and Jacobians at ``(B, n + m)``."""
        pieces = [self._jet(piece) for piece in inputs.split(_BUDGET)]
        return Prediction(*(torch.cat(parts, 1) for parts in zip(*pieces, strict=True)))

    def values(self, inputs: Tensor) -> Tensor:
        """Both twins' displacements, ``(2, B, n)``."""
        pieces = inputs.split(16 * _BUDGET)
        value = torch.cat([self._value(self._white(piece)) for piece in pieces], 1)
        return value.to(inputs) * self._unit + self._mean

    def _start(self, x: Tensor, y: Tensor, generator: torch.Generator) -> None:
        ones = torch.ones_like(x[..., :1])
        table = torch.cat((x, ones), -1)
        ridge = 1e-6 * x.shape[1] * torch.eye(table.shape[-1]).to(table)
        solution = torch.linalg.solve(table.mT @ table + ridge, table.mT @ y.to(table)).float()
        self.linear = solution[:, :-1].clone()
        self.weights, self.biases = [], []
        for num_in, num_out in zip(self.sizes[:-1], self.sizes[1:], strict=True):
            weight = torch.randn(2, num_in, num_out, generator=generator) / math.sqrt(num_in)
            self.weights.append(weight.to(y))
            self.biases.append(torch.zeros(2, 1, num_out).to(y))
        self.weights[-1] *= 0.1  # what is linear is known already
        self.biases[-1] = solution[:, -1:].clone()

    @torch.enable_grad()
    def _descend(
        self, x: Tensor, y: Tensor, size: int, steps: int, generator: torch.Generator
    ) -> None:
        parameters, num = self._parameters, x.shape[1]
        for parameter in parameters:
            parameter.requires_grad_()
        optimiser = torch.optim.Adam(parameters, self.learning_rate)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, self.learning_rate, total_steps=steps, pct_start=_WARM_UP
        )
        order = torch.randperm(num, generator=generator)
        for step in range(steps):
            place = step % (num // size)
            if place == 0:
                order = torch.randperm(num, generator=generator).to(x.device)
            some = order[place * size : (place + 1) * size]
            loss = (self._value(x[:, some]) - y[:, some]).square().mean((1, 2)).sum()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        for parameter in parameters:
            parameter.requires_grad_(False)
            parameter.grad = None

    def _white(self, inputs: Tensor) -> Tensor:
        return ((inputs - self._centre) / self._width).float()

    def _value(self, hidden: Tensor) -> Tensor:
        linear = hidden @ self.linear
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            hidden = functional.silu(hidden @ weight + bias)
        return hidden @ self.weights[-1] + self.biases[-1] + linear

    def _jet(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        white = self._white(inputs)
        hidden, slope = white.expand(2, -1, -1), self.weights[0][:, None]
        for index, (weight, bias) in enumerate(
            zip(self.weights[:-1], self.biases[:-1], strict=True)
        ):
            before = hidden @ weight + bias
            sigmoid = torch.sigmoid(before)
            if index:
                slope = slope @ weight[:, None]
            slope = slope * (sigmoid * (1 + before * (1 - sigmoid)))[:, :, None]
            hidden = before * sigmoid
        slope = slope @ self.weights[-1][:, None] + self.linear[:, None]
        value = hidden @ self.weights[-1] + self.biases[-1] + white @ self.linear
        jacobian = slope.mT.to(inputs) * (self._unit[:, None] / self._width)
        return value.to(inputs) * self._unit + self._mean, jacobian


def _deviation(values: Tensor) -> Tensor:
    deviation = values.std(0)
    return torch.where(deviation > 1e-12, deviation, 1.0)
