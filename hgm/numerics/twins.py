"""Twin networks: the same regression on two disjoint halves of the data, in one batched product."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

_WARM_UP = 0.1  # share of the steps
_RIDGE = 1e-6
_SMALL = 0.1  # of the last layer's start: what is linear is known already

Loss = Callable[[Tensor, Tensor], Tensor]
"""Values and targets ``(2, B, q)`` to losses ``(2,)``."""


def mean_square(value: Tensor, target: Tensor) -> Tensor:
    """Mean squared errors, ``(2,)``."""
    return (value - target).square().mean((1, 2))


class Twins:
    r"""Two networks :math:`f(x) = x A + \mathrm{net}(x)` of SiLU units.

    `A` starts at the least-squares solution of each half.

    Args:
        sizes: Of all layers: inputs, hidden ones, outputs.
        x: Standardised inputs of both halves, ``(2, K, p)``.
        y: Standardised targets, ``(2, K, q)``, float32, and what else a loss is told, behind them.
        generator: Source of weights and of batches.

    Attributes:
        weights: Of all layers, ``(2, in, out)``, float32.
        biases: Likewise, ``(2, 1, out)``.
        linear: The `A` of both, ``(2, p, q)``.
    """

    @torch.inference_mode(False)
    def __init__(
        self, sizes: Sequence[int], x: Tensor, y: Tensor, generator: torch.Generator
    ) -> None:
        x, y = x.clone(), y.clone()  # nothing that changes later, or that inference made
        table = torch.cat((x, torch.ones_like(x[..., :1])), -1)
        ridge = _RIDGE * x.shape[1] * torch.eye(table.shape[-1]).to(table)
        solution = torch.linalg.solve(
            table.mT @ table + ridge, table.mT @ y[..., : sizes[-1]].to(table)
        ).float()
        self.linear = solution[:, :-1].clone()
        self.weights: list[Tensor] = []
        self.biases: list[Tensor] = []
        for num_in, num_out in zip(sizes[:-1], sizes[1:], strict=True):
            weight = torch.randn(2, num_in, num_out, generator=generator) / math.sqrt(num_in)
            self.weights.append(weight.to(y))
            self.biases.append(torch.zeros(2, 1, num_out).to(y))
        self.weights[-1] *= _SMALL
        self.biases[-1] = solution[:, -1:].clone()
        self._x, self._y, self._generator = x.float(), y, generator

    @property
    def parameters(self) -> list[Tensor]:
        """All that is learned."""
        return [*self.weights, *self.biases, self.linear]

    @torch.inference_mode(False)
    @torch.enable_grad()
    def descend(self, steps: int, size: int, rate: float, loss: Loss = mean_square) -> None:
        """Steps of Adam on batches, with one cycle of the learning rate.

        Args:
            steps: How many.
            size: Samples of a batch, of either half.
            rate: Largest learning rate.
            loss: What is to become small.
        """
        parameters, num = self.parameters, self._x.shape[1]
        for parameter in parameters:
            parameter.requires_grad_()
        optimiser = torch.optim.Adam(parameters, rate)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, rate, total_steps=steps, pct_start=_WARM_UP
        )
        order = torch.randperm(num, generator=self._generator)
        for step in range(steps):
            place = step % max(1, num // size)
            if place == 0:
                order = torch.randperm(num, generator=self._generator).to(self._x.device)
            some = order[place * size : (place + 1) * size]
            cost = loss(self.value(self._x[:, some]), self._y[:, some]).sum()
            optimiser.zero_grad()
            cost.backward()
            optimiser.step()
            schedule.step()
        for parameter in parameters:
            parameter.requires_grad_(False)
            parameter.grad = None

    def crossed(self, most: int) -> Tensor:
        """What either twin makes of the other's half, less the targets there, ``(2, K, q)``.

        Args:
            most: Rows at a time.
        """
        pieces = zip(self._x.flip(0).split(most, 1), self._y.flip(0).split(most, 1), strict=True)
        outputs = self.linear.shape[-1]
        return torch.cat([self.value(x) - y[..., :outputs] for x, y in pieces], 1)

    def jet(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Values ``(2, B, q)`` at float32 inputs ``(B, p)``, and Jacobians ``(2, B, p, q)``."""
        hidden, slope = x.expand(2, -1, -1), self.weights[0][:, None]
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
        return hidden @ self.weights[-1] + self.biases[-1] + x @ self.linear, slope

    def value(self, x: Tensor) -> Tensor:
        """Values ``(2, B, q)`` at standardised float32 inputs ``(B, p)`` or ``(2, B, p)``."""
        hidden = x
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            hidden = functional.silu(hidden @ weight + bias)
        return hidden @ self.weights[-1] + self.biases[-1] + x @ self.linear
