"""The network that MetaGenRL learns: from a piece of a trajectory to a loss."""

from __future__ import annotations

import torch
from torch import Tensor, nn

BOUND = 1e3
"""Losses of single steps stay within this."""


class TrajectoryLoss(nn.Module):
    r"""The loss of pieces of trajectories, :math:`L_\alpha = \langle \ell_t \rangle_t`.

    .. math::
        \ell_t &= 10^3 \tanh(10^{-3} f(h_t)), \quad
        h_t = \mathrm{LSTM}(h_{t+1};\ \langle g(a_{tj}, \pi_{tj}) \rangle_j,\
        e(r_t, t/T, V_{t+1}, V_t)),

    backwards in time, with perceptrons g (three layers, normalised), e (two hidden layers, eight
    outputs) and f (two hidden layers, normalised), of whose units half are rectified and half
    squared. The number of action dimensions j and their order mean nothing to it, and states are
    not seen. Rewards and both values are standardised over the steps of a batch, each by itself:
    scaling all rewards changes nothing, and neither does shifting them where no step is terminal.

    Source: L. Kirsch, S. van Steenkiste, J. Schmidhuber, *Improving Generalization in Meta
    Reinforcement Learning using Learned Objectives*, ICLR 2020, arXiv 1910.04098.

    Example:
        >>> sum(parameter.numel() for parameter in TrajectoryLoss().parameters())
        15497
    """

    def __init__(self) -> None:
        super().__init__()
        self.actions = _Perceptron([2, 32, 32, 32], norm=True)
        self.scalars = nn.Sequential(_Perceptron([4, 32, 32]), nn.Linear(32, 8))
        self.gates = nn.Linear(40 + 32, 4 * 32)
        self.head = nn.Sequential(_Perceptron([32, 32, 32], norm=True), nn.Linear(32, 1))
        with torch.no_grad():
            self.gates.bias[32:64] = 1.0  # what is to come is not forgotten at first

    def forward(
        self,
        action: Tensor,
        policy: Tensor,
        reward: Tensor,
        after: Tensor,
        value: Tensor,
        mask: Tensor,
    ) -> Tensor:
        """Losses ``(...)`` of batches ``(..., B, T)``; their gradient is for ``policy`` only.

        Args:
            action: What was done, in half action ranges, ``(..., B, T, m)``.
            policy: What the policy would do now, likewise.
            reward: Rewards, ``(..., B, T)``.
            after: Values of the next states, zero where a step is terminal, likewise.
            value: Values of the states, likewise.
            mask: Whether a step counts; those that do not, come after those that do.
        """
        steps = mask.shape[-1]
        time = torch.arange(steps).to(reward).div(steps).expand(reward.shape)
        known = [standardised(entry, mask) for entry in (reward, after, value)]
        scalars = self.scalars(torch.stack((known[0], time, known[1], known[2]), -1).detach())
        seen = self.actions(torch.stack((action.detach(), policy), -1)).mean(-2)
        found = self.head(self._backwards(torch.cat((seen, scalars), -1), mask)).squeeze(-1)
        losses = BOUND * torch.tanh(found / BOUND)
        return (losses * mask).sum((-2, -1)) / mask.sum((-2, -1))

    def _backwards(self, inputs: Tensor, mask: Tensor) -> Tensor:
        """States of the LSTM; cuDNN's has no second derivatives, PyTorch's two bias vectors."""
        read, remember = self.gates.weight.split((40, 32), 1)
        # What does not depend on the state, of all steps at once.
        ahead = nn.functional.linear(inputs, read, self.gates.bias)
        state = cell = inputs.new_zeros(*inputs.shape[:-2], 32)
        states = []
        for t in reversed(range(inputs.shape[-2])):
            gates = ahead[..., t, :] + nn.functional.linear(state, remember)
            write, keep, new, show = gates.chunk(4, -1)
            counts = mask[..., t, None].to(gates)
            cell = (keep.sigmoid() * cell + write.sigmoid() * new.tanh()) * counts
            state = show.sigmoid() * cell.tanh()
            states.append(state)
        return torch.stack(states[::-1], -2)


class _Perceptron(nn.Module):
    """Layers of which half of the units are rectified, half squared."""

    def __init__(self, sizes: list[int], norm: bool = False) -> None:
        super().__init__()
        pairs = [*zip(sizes, sizes[1:], strict=False)]
        self.layers = nn.ModuleList(nn.Linear(*pair) for pair in pairs)
        self.norms = nn.ModuleList(nn.LayerNorm(size) for _, size in pairs if norm)

    def forward(self, found: Tensor) -> Tensor:
        for index, layer in enumerate(self.layers):
            found = layer(found)
            if self.norms:
                found = self.norms[index](found)
            rectified, squared = found.chunk(2, -1)
            found = torch.cat((rectified.relu(), squared.square()), -1)
        return found


def standardised(value: Tensor, mask: Tensor) -> Tensor:
    """Entries that count, with mean 0 and variance 1 over ``(B, T)``; zero where none differ."""
    num = mask.sum((-2, -1), keepdim=True)
    mean = (value * mask).sum((-2, -1), keepdim=True) / num
    rest = (value - mean) * mask
    spread = (rest.square().sum((-2, -1), keepdim=True) / num).sqrt()
    # Equal numbers differ from their mean by rounding, which is not to be blown up.
    size = (value * mask).abs().amax((-2, -1), keepdim=True)
    least = 64 * torch.finfo(value.dtype).eps * size + torch.finfo(value.dtype).tiny
    return rest / torch.maximum(spread, least)
