"""Dynamics as small networks with a linear part."""

from __future__ import annotations

import torch
from torch import Tensor

from hgm.checks import check_network
from hgm.dynamics.base import DynamicsModel, Prediction
from hgm.dynamics.noise import local_noise
from hgm.numerics.twins import Twins

_EPOCHS = 80
_STEPS = (1000, 2000)  # fewest and most of Adam: what small and large data are given at first
_MORE = 3  # times that as many steps again are given, each twice as many as before,
_WORTH = 0.05  # as long as held-out errors fall by that share
_NONE = 1e-3  # of a deviation: errors below it, those of what is exactly linear, fall for ever
_BATCH = 256
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
        self.twins = Twins(self.sizes, x, y, generator)
        size = min(num, _BATCH if num <= _BATCH * _STEPS[1] else 2 * _BATCH)
        steps = min(max(_EPOCHS * num // size, _STEPS[0]), _STEPS[1])
        self.twins.descend(steps, size, self.learning_rate)
        missed = self._missed
        for more in range(_MORE):
            before = [one.clone() for one in self.twins.parameters]
            self.twins.descend(2**more * steps, size, self.learning_rate)
            gain = missed - self._missed
            if not gain >= 0:  # nor is it where steps diverged
                for parameter, value in zip(self.twins.parameters, before, strict=True):
                    parameter.copy_(value)
            if not gain >= _WORTH:
                break
            missed -= gain
        self.local = None
        self.examine(inputs, change, half)
        self.local = local_noise(inputs, self.left(inputs, change, half), self.scale)

    @property
    def _missed(self) -> float:
        """Mean logarithm of the share that twins miss of displacements on each other's half."""
        square = self.twins.crossed(16 * _BUDGET).square().mean((0, 1))
        return float(square.clamp_min(_NONE**2).log().mean() / 2)

    def predict(self, inputs: Tensor) -> Prediction:
        """Both twins' displacements and Jacobians at ``(B, n + m)``."""
        pieces = [self._jet(piece) for piece in inputs.split(_BUDGET)]
        return Prediction(*(torch.cat(parts, 1) for parts in zip(*pieces, strict=True)))

    def values(self, inputs: Tensor) -> Tensor:
        """Both twins' displacements, ``(2, B, n)``."""
        pieces = inputs.split(16 * _BUDGET)
        value = torch.cat([self.twins.value(self._white(piece)) for piece in pieces], 1)
        return value.to(inputs) * self._unit + self._mean

    def _white(self, inputs: Tensor) -> Tensor:
        return ((inputs - self._centre) / self._width).float()

    def _jet(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        value, slope = self.twins.jet(self._white(inputs))
        jacobian = slope.mT.to(inputs) * (self._unit[:, None] / self._width)
        return value.to(inputs) * self._unit + self._mean, jacobian


def _deviation(values: Tensor) -> Tensor:
    deviation = values.std(0)
    return torch.where(deviation > 1e-12, deviation, 1.0)
