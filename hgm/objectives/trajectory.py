"""The network that MetaGenRL learns: from a piece of a trajectory to a loss."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

BOUND = 1e3
"""Losses of single steps stay within this."""


class TrajectoryLoss(nn.Module):
    r"""The loss of pieces of trajectories, :math:`L_\alpha = \langle \ell_t \rangle_t`.

    .. math::
        \ell_t &= 10^3 \tanh(10^{-3} f(h_t)), \quad
        h_t = \mathrm{LSTM}(h_{t+1};\ \langle g(a_{tj}, \pi_{tj}) \rangle_j,\
        e(r_t, t/T, x_t, V_t)),

    backwards in time, with perceptrons g (three layers, normalised), e (two hidden layers, eight
    outputs) and f (two hidden layers, normalised), of whose units half are rectified and half
    squared, before they are normalised. The number of action dimensions j and their order mean
    nothing to it, and states are not seen. What x is, see :func:`with_values`,
    :func:`with_differences` and :func:`with_advantages`: scaling all rewards changes nothing, and
    neither does shifting them where no step is terminal.

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
            for part in self.modules():
                if isinstance(part, nn.Linear):
                    nn.init.xavier_uniform_(part.weight)
                    part.bias.zero_()
            self.gates.bias[32:64] = 1.0  # what is to come is not forgotten at first

    def forward(
        self, action: Tensor, policy: Tensor, known: Sequence[Tensor], mask: Tensor
    ) -> Tensor:
        """Losses ``(...)`` of batches ``(..., B, T)``; their gradient is for ``policy`` only.

        Args:
            action: What was done, in half action ranges, ``(..., B, T, m)``.
            policy: What the policy would do now, likewise.
            known: Rewards, x and values, in units of their own, ``(..., B, T)`` each.
            mask: Whether a step counts; those that do not, come after those that do.
        """
        steps = mask.shape[-1]
        time = torch.arange(steps).to(known[0]).div(steps).expand(mask.shape)
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
            rectified, squared = layer(found).chunk(2, -1)
            found = torch.cat((rectified.relu(), squared.square()), -1)
            if self.norms:
                found = self.norms[index](found)
        return found


def counted(done: Tensor) -> Tensor:
    """Which steps of pieces ``(..., T)`` count: those up to the first end of an episode."""
    return done.cumsum(-1) - done.long() == 0


def with_values(
    reward: Tensor, value: Tensor, after: Tensor, goes_on: Tensor, mask: Tensor
) -> tuple[Tensor, ...]:
    r"""Rewards, :math:`x_t = \hat V_{t+1} (1 - d_t)`, and values :math:`\hat V_t`, as published.

    Rewards are standardised over the steps of a batch, values of all states of it by one mean and
    one deviation, so that :math:`x_t - \hat V_t` is a difference of values.
    What follows a terminal step counts as the mean.
    """
    last = mask & ~torch.nn.functional.pad(mask[..., 1:], (0, 1))
    mean, spread = moments(torch.cat((value, after), -1), torch.cat((mask, last), -1))
    before, then = ((entry - mean) / spread * mask for entry in (value, after))
    return standardised(reward, mask), then * goes_on, before


def with_differences(
    reward: Tensor, value: Tensor, after: Tensor, goes_on: Tensor, mask: Tensor, gamma: float
) -> tuple[Tensor, ...]:
    r"""Rewards, :math:`x_t = r_t + \gamma V_{t+1} (1 - d_t) - V_t`, and values.

    Rewards and values are standardised each by itself, x is in units of its root mean square: its
    zero, where a step was as good as was thought, stays. The same is known as by
    :func:`with_values`, but the small difference of large numbers that says whether an action was
    good need not be learned.
    """
    residual = reward + gamma * after * goes_on - value
    size = value.abs() + reward.abs() + after.abs()
    return standardised(reward, mask), scaled(residual, size, mask), standardised(value, mask)


def with_advantages(
    reward: Tensor, value: Tensor, taken: Tensor, mask: Tensor
) -> tuple[Tensor, ...]:
    r"""Rewards, :math:`x_t = Q_1(s_t, a_t) - V_t`, and values, in the units of the above.

    What a single step was worth by the critic, instead of by its own reward and the next state: no
    noise of the step is in it, nor the critic's errors at another state.
    """
    size = taken.abs() + value.abs()
    return (
        standardised(reward, mask),
        scaled(taken - value, size, mask),
        standardised(value, mask),
    )


def scaled(difference: Tensor, size: Tensor, mask: Tensor) -> Tensor:
    """Entries that count, in units of their root mean square; small where they are rounding.

    Args:
        difference: Differences of larger numbers, ``(..., B, T)``.
        size: How large these are, likewise.
        mask: Whether an entry counts.
    """
    entries = difference * mask
    return entries / _spread(entries, size, mask)


def standardised(value: Tensor, mask: Tensor) -> Tensor:
    """Entries that count, with mean 0 and variance 1 over ``(B, T)``; zero where none differ."""
    mean, spread = moments(value, mask)
    return (value - mean) * mask / spread


def moments(value: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation ``(..., 1, 1)`` of the entries that count, over the last two axes."""
    num = mask.sum((-2, -1), keepdim=True)
    mean = (value * mask).sum((-2, -1), keepdim=True) / num
    return mean, _spread((value - mean) * mask, value, mask)


def _spread(rest: Tensor, size: Tensor, mask: Tensor) -> Tensor:
    """Root mean square of differences, ``(..., 1, 1)``; more than the rounding of what they are of.

    Equal numbers differ by rounding, which is not to be blown up.
    """
    num = mask.sum((-2, -1), keepdim=True)
    spread = (rest.square().sum((-2, -1), keepdim=True) / num).sqrt()
    most = (size * mask).abs().amax((-2, -1), keepdim=True)
    least = 64 * torch.finfo(size.dtype).eps * most + torch.finfo(size.dtype).tiny
    return torch.maximum(spread, least)
