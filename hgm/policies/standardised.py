"""States in their own units: an actor that reads what it was shown in standard deviations."""

from __future__ import annotations

import copy

import torch
from tensordict import TensorDictBase
from tensordict.nn import TensorDictModuleBase
from torch import Tensor, nn

from hgm.policies.feedforward import Actor


class Standardised(TensorDictModuleBase):
    r"""An actor that reads :math:`(s - \mu) / \sigma`, mean and deviation of all states so far.

    Components that never changed are only shifted. As a TensorDict module it acts on states in the
    units of the data; :meth:`folded` is a plain actor that does the same.

    Args:
        actor: Reads standardised states; not registered, as its owner has it already.
        dim_state: State dimension ``n``.

    Example:
        >>> actor = Actor(1, 1, -torch.ones(1), torch.ones(1))
        >>> scales = Standardised(actor, 1)
        >>> scales.see(torch.tensor([[10.0], [30.0]]))
        >>> scales.standard(torch.tensor([[40.0]]))
        tensor([[2.]])
    """

    count: Tensor
    mean: Tensor
    square: Tensor

    def __init__(self, actor: Actor, dim_state: int) -> None:
        super().__init__()
        self.in_keys, self.out_keys = ["observation"], ["action"]
        self._actor = (actor,)  # a tuple is what torch.nn.Module leaves alone
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))
        self.register_buffer("mean", torch.zeros(dim_state, dtype=torch.float64))
        self.register_buffer("square", torch.zeros(dim_state, dtype=torch.float64))

    @property
    def dim_action(self) -> int:
        """Action dimension ``m``."""
        return self._actor[0].dim_action

    @property
    def deviation(self) -> Tensor:
        """Standard deviations ``(n,)``; 1 where a component never changed."""
        spread = (self.square / self.count.clamp_min(1.0)).sqrt()
        return torch.where(spread > 0, spread, 1.0)

    @torch.no_grad()
    def see(self, state: Tensor) -> None:
        """Counts states ``(..., n)`` in, exactly as all at once (Chan et al., 1983)."""
        state = state.flatten(0, -2).to(self.mean)
        num, mean = len(state), state.mean(0)
        total = self.count + num
        shift = mean - self.mean
        self.square += (state - mean).square().sum(0) + shift.square() * self.count * num / total
        self.mean += shift * num / total
        self.count.copy_(total)

    def standard(self, state: Tensor) -> Tensor:
        """Standardised states ``(..., n)``."""
        return (state - self.mean.to(state)) / self.deviation.to(state)

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Writes ``action``."""
        read = tensordict.select("observation")
        read["observation"] = self.standard(read["observation"])
        tensordict["action"] = self._actor[0](read)["action"]
        return tensordict

    @torch.no_grad()
    def folded(self) -> Actor:
        """An actor of its own that reads states as they are: the first layer takes the scales."""
        actor = copy.deepcopy(self._actor[0])
        first = actor.net[0]
        assert isinstance(first, nn.Linear)
        weight = first.weight.double() / self.deviation
        first.bias.copy_(first.bias.double() - weight @ self.mean)
        first.weight.copy_(weight)
        return actor
