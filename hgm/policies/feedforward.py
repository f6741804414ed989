"""Actors and critics: plain perceptrons, for boxes of actions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from tensordict import TensorDictBase
from tensordict.nn import TensorDictModuleBase
from torch import Tensor, nn
from torch.nn.functional import softplus
from torchrl.envs.utils import ExplorationType, exploration_type

from hgm.checks import MAX_WIDTH, check_int, check_network, check_real
from hgm.policies.distributions import BoxTanhNormal

_LEAST_SPREAD = 0.01
_SHIFT = math.log(math.expm1(1 - _LEAST_SPREAD))
"""A learned standard deviation is 1 where the network's output is 0."""


class Actor(TensorDictModuleBase):
    r"""A stochastic policy from ``observation (n,)`` to ``action (m,)`` in the box [low, high].

    As a TensorDict module it writes the median, unless TorchRL's exploration type is random: then
    it samples.

    Args:
        dim_state: State dimension ``n``.
        dim_action: Action dimension ``m``.
        low: Least actions, ``(m,)``.
        high: Largest actions, ``(m,)``.
        width: Width of the hidden layers.
        depth: Number of hidden layers.
        spread: Standard deviation before squashing; None: a function of the state, learned.
        dim_latent: Dimension of ``latent``, a second input that tells the task; 0: there is none.

    Attributes:
        dim_state: See above.
        dim_action: See above.
        log_volume: :math:`\sum \log(high - low)`.

    Raises:
        ValueError: If a size is below 1 (a latent's: below 0), or the bounds are not ``m`` finite,
            ordered pairs.

    Example:
        >>> from tensordict import TensorDict
        >>> actor = Actor(3, 2, torch.zeros(2), torch.ones(2))
        >>> actor(TensorDict(observation=torch.zeros(5, 3), batch_size=[5]))["action"].shape
        torch.Size([5, 2])
    """

    low: Tensor
    high: Tensor
    log_volume: Tensor

    def __init__(
        self,
        dim_state: int,
        dim_action: int,
        low: Tensor,
        high: Tensor,
        width: int = 64,
        depth: int = 2,
        spread: float | None = None,
        dim_latent: int = 0,
    ) -> None:
        super().__init__()
        check_box(dim_state, dim_action, low, high)
        check_int("dim_latent", dim_latent, 0, MAX_WIDTH)
        if spread is not None:
            check_real("spread", spread, 0.0, strict=True)
        self.dim_state, self.dim_action, self.spread = dim_state, dim_action, spread
        self.in_keys = ["observation", "latent"] if dim_latent else ["observation"]
        self.out_keys = ["action"]
        outputs = dim_action if spread else 2 * dim_action
        self.net = perceptron(dim_state + dim_latent, outputs, width, depth)
        self.register_buffer("low", low.clone())
        self.register_buffer("high", high.clone())
        self.register_buffer("log_volume", (high - low).log().sum(), persistent=False)
        self._arguments = {"width": width, "depth": depth, "dim_latent": dim_latent}

    @property
    def arguments(self) -> dict[str, Any]:
        """What it was made with."""
        return {
            "dim_state": self.dim_state,
            "dim_action": self.dim_action,
            "low": self.low.detach().cpu().clone(),
            "high": self.high.detach().cpu().clone(),
            "spread": self.spread,
            **self._arguments,
        }

    def dist(self, *inputs: Tensor) -> BoxTanhNormal:
        """Distribution of the actions at states ``(..., n)``, and latents ``(..., Z)`` if any."""
        found = self.net(inputs[0] if len(inputs) == 1 else torch.cat(inputs, -1))
        if self.spread is not None:
            loc, scale = found, torch.full_like(found, self.spread)
        else:
            loc, raw = found.chunk(2, -1)
            scale = softplus(raw + _SHIFT) + _LEAST_SPREAD
        return BoxTanhNormal(loc, scale, self.low, self.high, self.log_volume)

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Writes ``action``."""
        dist = self.dist(*(tensordict[key] for key in self.in_keys))
        sampled = exploration_type() == ExplorationType.RANDOM
        tensordict["action"] = dist.rsample() if sampled else dist.deterministic_sample
        return tensordict


class Critics(nn.Module):
    """Two independent values of state and action, in one go; actions count in half ranges.

    Args:
        dim_state: State dimension ``n``.
        dim_action: Action dimension ``m``.
        low: Least actions, ``(m,)``.
        high: Largest actions, ``(m,)``.
        width: Width of the hidden layers.
        depth: Number of hidden layers.
        dim_latent: Dimension of a latent that tells the task; 0: there is none.

    Raises:
        ValueError: As :class:`Actor`.
    """

    _factor: Tensor
    _shift: Tensor

    def __init__(
        self,
        dim_state: int,
        dim_action: int,
        low: Tensor,
        high: Tensor,
        width: int = 64,
        depth: int = 2,
        dim_latent: int = 0,
    ) -> None:
        super().__init__()
        check_box(dim_state, dim_action, low, high)
        inputs = dim_state + check_int("dim_latent", dim_latent, 0, MAX_WIDTH) + dim_action
        width, depth = check_network(width, depth)
        ends = [inputs, *[width] * depth, 1]
        *hidden, last = zip(ends, ends[1:], strict=False)
        shapes: list[tuple[int, ...]] = [
            shape for i, o in hidden for shape in ((2, i, o), (2, 1, o))
        ]
        shapes += [(2, 1, last[0]), (2, 1)]
        names = [f"{('weight', 'bias')[i % 2]}_{i // 2}" for i in range(len(shapes))]
        for index, (name, shape) in enumerate(zip(names, shapes, strict=True)):
            bound = ends[index // 2] ** -0.5  # as torch.nn.Linear
            parameter = nn.Parameter(torch.empty(shape).uniform_(-bound, bound))
            self.register_parameter(name, parameter)
        self.register_buffer("_factor", 2 / (high - low))
        self.register_buffer("_shift", (high + low) / (low - high))

    def forward(self, action: Tensor, *inputs: Tensor, frozen: bool = False) -> Tensor:
        """Values ``(2, B)``.

        Args:
            action: Actions, ``(B, m)``.
            *inputs: States ``(B, n)``, and latents ``(B, Z)`` if any.
            frozen: Whether gradients reach the arguments only, and not the parameters.
        """
        action = torch.addcmul(self._shift, action, self._factor)
        layers: list[Tensor] = [*self.parameters()]
        if frozen:
            layers = [parameter.detach() for parameter in layers]
        return twin_values(layers, torch.cat((*inputs, action), -1))


def twin_values(layers: Sequence[Tensor], inputs: Tensor) -> Tensor:
    """Values ``(2, B)`` by two critics with these weights, the parameters of :class:`Critics`.

    Args:
        layers: Weights and biases in turn, as :class:`Critics` has them.
        inputs: States, latents if any, and actions in half ranges, ``(B, n + Z + m)``.
    """
    found = inputs.expand(2, -1, -1)
    for weight, bias in zip(layers[:-2:2], layers[1:-2:2], strict=True):
        found = torch.baddbmm(bias, found, weight).relu_()
    # With one output a product of matrices takes twice as long as this.
    return (found * layers[-2]).sum(-1) + layers[-1]


def perceptron(inputs: int, outputs: int, width: int, depth: int) -> nn.Sequential:
    """So many hidden layers of rectified units, and a linear one.

    Raises:
        ValueError: If ``width`` or ``depth`` is below 1.
    """
    width, depth = check_network(width, depth)
    ends = [inputs, *[width] * depth]
    layers: list[nn.Module] = []
    for fan_in, fan_out in zip(ends, ends[1:], strict=False):
        layers += [nn.Linear(fan_in, fan_out), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.Linear(ends[-1], outputs))


def check_box(dim_state: int, dim_action: int, low: Tensor, high: Tensor) -> None:
    """Checks dimensions and bounds of a policy.

    Raises:
        ValueError: If a dimension is below 1, or the bounds are not ``m`` finite, ordered pairs.
    """
    check_int("dim_state", dim_state, 1)
    check_int("dim_action", dim_action, 1)
    shaped = low.shape == high.shape == (dim_action,)
    if not shaped or not (low.isfinite() & high.isfinite() & (low < high)).all():
        raise ValueError(
            f"Expected `low` and `high` to be {dim_action} finite numbers each, low < high, got "
            f"{low.tolist()} and {high.tolist()}."
        )
