"""Networks of fixed effects, and the features that random slopes multiply."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def feedforward(
    num_inputs: int, num_outputs: int, width: int, depth: int, last: int
) -> nn.Sequential:
    """Layers of ``width`` units, a last one of ``last``, and a linear map to the outputs.

    Args:
        num_inputs: Number of features.
        num_outputs: Number of columns of the predictor.
        width: Width of the hidden layers.
        depth: Number of hidden layers.
        last: Width of the last hidden layer.
    """
    widths = [num_inputs, *[width] * (depth - 1), last]
    layers: list[nn.Module] = []
    for before, after in zip(widths, widths[1:], strict=False):
        layers += [nn.Linear(before, after), nn.GELU()]
    return nn.Sequential(*layers, nn.Linear(last, num_outputs))


def check_layers(network: nn.Module) -> nn.Linear:
    """The last layer of a network whose features random slopes may multiply.

    Raises:
        ValueError: If it is no ``torch.nn.Sequential`` that ends with a linear layer.
    """
    if isinstance(network, nn.Sequential) and isinstance(network[-1], nn.Linear):
        return network[-1]
    raise ValueError(
        "Expected `network` with `slopes` to be a torch.nn.Sequential that ends with a "
        f"torch.nn.Linear, got {type(network).__name__}: slopes are those of its inputs."
    )


def evaluate(network: nn.Module, features: Tensor, slopes: bool) -> tuple[Tensor, Tensor | None]:
    """The network's outputs ``(N, C)``, and the design ``(N, 1 + k)`` of effects with slopes."""
    if not slopes:
        return network(features), None
    assert isinstance(network, nn.Sequential)
    inner = network[:-1](features)
    return network[-1](inner), torch.cat((torch.ones_like(inner[:, :1]), inner), 1)
