"""Recurrent policies: which task it is, they gather from what they see, do and receive."""

from __future__ import annotations

from typing import Any

import torch
from tensordict import TensorDict, TensorDictBase
from tensordict.nn import (
    NormalParamExtractor,
    ProbabilisticTensorDictModule,
    ProbabilisticTensorDictSequential,
    TensorDictModule,
)
from torch import Tensor, nn
from torch.distributions import OneHotCategorical
from torchrl.modules import GRUModule, ValueOperator

from hgm.checks import MAX_WIDTH, check_int, check_real
from hgm.policies.distributions import BoxTanhNormal
from hgm.policies.feedforward import check_box

INPUTS = ["observation", "previous_action", "previous_reward", "start"]
"""What is new at every step; ``start (1,)`` is 1. where an episode starts, and else 0."""


class RecurrentActor(ProbabilisticTensorDictSequential):
    """A stochastic policy of :func:`make_recurrent`.

    Attributes:
        dim_state: State dimension ``n``.
        dim_action: Action dimension ``m``.
    """

    dim_state: int
    dim_action: int

    @property
    def recurrent(self) -> GRUModule:
        """The part with the memory; its ``make_tensordict_primer()`` gives it to environments."""
        return self[1]

    def blank(self, num: int) -> TensorDictBase:
        """What it is told besides the state at the start of a trial, ``[num]``: nothing yet."""
        start = torch.ones(num, 1)
        entries = {
            "previous_action": torch.zeros(num, self.dim_action),
            "previous_reward": torch.zeros(num, 1),
            "start": start,
            "is_init": start.bool(),
            "memory": torch.zeros(num, 1, self.recurrent.gru.hidden_size),
        }
        return TensorDict(entries, [num])


class _Encoder(nn.Module):
    """All inputs as one vector: states and rewards times a gain, actions in half ranges."""

    _centre: Tensor
    _half: Tensor

    def __init__(self, inputs: int, width: int, low: Tensor, high: Tensor, gain: float) -> None:
        super().__init__()
        self.register_buffer("_centre", (high + low) / 2)
        self.register_buffer("_half", (high - low) / 2)
        self.gain = gain
        self.net = nn.Sequential(nn.Linear(inputs, width), nn.Tanh())

    def forward(self, observation: Tensor, action: Tensor, reward: Tensor, start: Tensor) -> Tensor:
        action = (action - self._centre.to(action)) / self._half.to(action)
        return self.net(torch.cat((self.gain * observation, action, self.gain * reward, start), -1))


def make_recurrent(
    dim_state: int,
    dim_action: int,
    low: Tensor,
    high: Tensor,
    width: int = 64,
    input_gain: float = 3.0,
    discrete: bool = False,
) -> tuple[RecurrentActor, ValueOperator]:
    r"""A policy with a memory, and the value of what it knows.

    :math:`h_{t+1} = \mathrm{GRU}(h_t, \tanh W (s_t, a_{t-1}, r_{t-1}, e_t))` with :math:`e_t` = 1
    where an episode starts, of which policy and value are perceptrons with one hidden layer (Duan
    et al., arXiv 1611.02779). Both share the memory.

    The actor reads :data:`INPUTS`, ``is_init (1,)``, which empties the memory, and ``memory``,
    empty where it is missing; it writes ``action (m,)``, ``action_log_prob``, ``features`` and
    ``("next", "memory")``. Under ``torchrl.modules.set_recurrent_mode`` it runs whole sequences
    ``[M, T]`` at once. It samples, unless TorchRL's exploration type is deterministic: then it
    returns the median; of discrete actions, one-hot vectors, the most probable.

    Args:
        dim_state: State dimension ``n``.
        dim_action: Action dimension ``m``.
        low: Least actions, ``(m,)``.
        high: Largest actions, ``(m,)``.
        width: Width of the memory and of all layers.
        input_gain: Factor of states and rewards; what tells tasks apart are small differences.
        discrete: Whether one of ``m`` actions is chosen, a one-hot vector.

    Returns:
        The actor, and the critic from its ``features`` to ``state_value (1,)``.

    Raises:
        ValueError: If a size is below 1, the gain is not above 0, or the bounds are not ``m``
            finite, ordered pairs.

    Example:
        >>> actor, critic = make_recurrent(3, 2, torch.zeros(2), torch.ones(2))
        >>> step = actor.blank(5).set("observation", torch.zeros(5, 3))
        >>> critic(actor(step))["state_value"].shape, step["next", "memory"].shape
        (torch.Size([5, 1]), torch.Size([5, 1, 64]))
    """
    check_box(dim_state, dim_action, low, high)
    check_int("width", width, 1, MAX_WIDTH)
    check_real("input_gain", input_gain, 0.0, strict=True)
    inputs = dim_state + dim_action + 2
    encoder = _Encoder(inputs, width, low.clone(), high.clone(), input_gain)
    if discrete:
        head, keys = _head(width, dim_action, 0.01), ["logits"]
        chooses: dict[str, Any] = {"distribution_class": OneHotCategorical}
    else:
        head = nn.Sequential(_head(width, 2 * dim_action, 0.01), NormalParamExtractor())
        box = {"low": low.clone(), "high": high.clone()}
        keys = ["loc", "scale"]
        chooses = {"distribution_class": BoxTanhNormal, "distribution_kwargs": box}
    actor = RecurrentActor(
        TensorDictModule(encoder, in_keys=INPUTS, out_keys=["embedded"]),
        GRUModule(
            input_size=width,
            hidden_size=width,
            in_keys=["embedded", "memory", "is_init"],
            out_keys=["features", ("next", "memory")],
        ),
        TensorDictModule(head, in_keys=["features"], out_keys=keys),
        ProbabilisticTensorDictModule(
            in_keys=keys, out_keys=["action"], return_log_prob=True, **chooses
        ),
    )
    actor.dim_state, actor.dim_action = dim_state, dim_action
    return actor, ValueOperator(_head(width, 1, 1.0), in_keys=["features"])


def _head(width: int, outputs: int, gain: float) -> nn.Module:
    """One hidden layer; a small gain starts a policy without preference."""
    last = nn.Linear(width, outputs)
    nn.init.orthogonal_(last.weight, gain)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Linear(width, width), nn.Tanh(), last)
