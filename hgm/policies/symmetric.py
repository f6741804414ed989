"""SymLA: a learner that is the same for every order and number of observations and actions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from hgm.checks import MAX_WIDTH, check_int, check_real
from hgm.policies.in_context import InContextLearner, Memory, Weights, draw, lstm, split


class SymmetricLearner(InContextLearner):
    r"""A dense network whose every weight is a tiny LSTM, all with the same parameters.

    Source: L. Kirsch et al., *Introducing Symmetries to Black Box Meta Reinforcement Learning*,
    AAAI 2022, arXiv 2109.10781. The weight from node ``a`` to node ``b`` of layer ``k`` has the
    state :math:`h_{ab}`, and every step is, layer by layer,

    .. math::
        h_{ab} \leftarrow \mathrm{LSTM}(h_{ab};\; m^{k}_a,\, \bar m^{k+1}_b,\, r,\, e,\,
            m^{k+1}_b,\, \bar m^{k}_a), \quad
        m^{k+1}_b = W \langle h_{ab} \rangle_a + w, \quad
        \bar m^{k}_a = \bar W \langle h_{ab} \rangle_b + \bar w

    with forward messages :math:`m`, backward messages :math:`\bar m`, the reward `r`, the flag `e`
    of an episode's start, and the layer's own messages of the last step. Forward messages are of
    this step, backward ones of the last. Channel 0 of the first layer's forward messages is the
    observation, of the last layer's backward messages the last action, and of the last layer's
    forward messages the scores of actions.

    Permuting observations, actions and the states at birth along permutes scores, and nothing
    else, through the whole life. The same parameters serve all sizes. States at birth are random:
    weights that start equal and are told the same stay equal.

    Args:
        dim_cell: Size ``H`` of a weight's LSTM.
        dim_message: Channels ``C`` of messages.
        hidden: Nodes of the hidden layers; none: one layer from observations to actions.
        ticks: Updates of all layers in a step.
        own_messages: Whether a layer reads its own messages of the last step.
        birth_std: Standard deviation of states at birth.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> learner = SymmetricLearner()
        >>> generator = torch.Generator().manual_seed(0)
        >>> theta = learner.initial(generator)[None]
        >>> for arms in (2, 5):
        ...     memory = learner.blank(3, 1, arms, generator)
        ...     told = [torch.ones(1, 1, 3), torch.zeros(1, arms, 3), *torch.zeros(2, 1, 3)]
        ...     print(learner.step(learner.weights(theta), memory, *told)[0].shape)
        torch.Size([1, 2, 3])
        torch.Size([1, 5, 3])
    """

    def __init__(
        self,
        dim_cell: int = 16,
        dim_message: int = 8,
        hidden: Sequence[int] = (),
        ticks: int = 1,
        own_messages: bool = True,
        birth_std: float = 0.03,
    ) -> None:
        self.dim_cell = check_int("dim_cell", dim_cell, 1, MAX_WIDTH)
        self.dim_message = check_int("dim_message", dim_message, 1, MAX_WIDTH)
        self.hidden = tuple(check_int("hidden", size, 1, MAX_WIDTH) for size in hidden)
        self.ticks = check_int("ticks", ticks, 1, 100)
        self.own_messages = bool(own_messages)
        self.birth_std = check_real("birth_std", birth_std, 0.0)
        cell, message, gates = self.dim_cell, self.dim_message, 4 * self.dim_cell
        reads = [cell, 3, message, message] + [message, message] * self.own_messages
        self._reads = reads  # state; reward, start and 1; messages ahead and back; own ones
        self._shapes = [
            (gates, sum(reads)),
            (message, cell),
            (message,),
            (message, cell),
            (message,),
        ]
        self.num_parameters = sum(torch.Size(shape).numel() for shape in self._shapes)

    def initial(self, generator: torch.Generator) -> Tensor:
        """Normal entries of variance one over their number in a row; forget gates start open."""
        theta, size = draw(self._shapes, generator), self.dim_cell
        bias = split(theta[None], self._shapes)[0][0, :, size + 2]
        bias.zero_()[size : 2 * size] = 1.0
        return theta

    def weights(self, theta: Tensor) -> Weights:
        """Matrices of gates for the first, middle, last and only layer, then of messages.

        The first layer's observations and the last layer's actions are one channel each.
        """
        gates, *messages = split(theta, self._shapes)
        state, told, ahead, back, *own = gates.split(self._reads, -1)
        every = [
            torch.cat((state, told, ahead[..., :first], back[..., :last], *own), -1)
            for first in (1, None)
            for last in (None, 1)
        ]
        scores = [part[:, :1].contiguous() for part in messages[:2]]
        return [*every, *messages, *scores]

    def blank(
        self, num_lives: int, dim_state: int, dim_action: int, generator: torch.Generator
    ) -> Memory:
        """States and cells of every layer's weights, each ``(1, H, A, B, L)``; cells are zero."""
        sizes = (dim_state, *self.hidden, dim_action)
        memory: Memory = []
        for a, b in zip(sizes, sizes[1:], strict=False):
            shape = (1, self.dim_cell, a, b, num_lives)
            drawn = torch.randn(shape, generator=generator, device=generator.device)
            memory += [self.birth_std * drawn, torch.zeros_like(drawn)]
        return memory

    def step(
        self,
        weights: Weights,
        memory: Memory,
        observation: Tensor,
        action: Tensor,
        reward: Tensor,
        start: Tensor,
    ) -> tuple[Tensor, Memory]:
        """See :meth:`InContextLearner.step`; observations and actions of any size."""
        told = torch.stack((reward, start, torch.ones_like(reward)), 1)
        for _ in range(self.ticks):
            scores, memory = self._tick(weights, memory, observation, action, told)
        return scores, memory

    def _tick(
        self, weights: Weights, memory: Memory, observation: Tensor, action: Tensor, told: Tensor
    ) -> tuple[Tensor, Memory]:
        matrices, ahead, back, scores = weights[:4], weights[4:6], weights[6:8], weights[8:]
        old = list(zip(memory[::2], memory[1::2], strict=True))
        members, lives, end = len(told), told.shape[-1], len(old) - 1
        # Messages are of mean states, as they are linear in them.
        returned = [_message(back, state.mean(3), members) for state, _ in old[1:]]
        into, new = observation[:, None], Memory()
        for index, (state, cell) in enumerate(old):
            out = action[:, None] if index == end else returned[index]
            shape = (members, -1, *state.shape[2:])
            parts = [state, told[:, :, None, None], into[:, :, :, None], out[:, :, None]]
            if self.own_messages:
                parts.append(_message(ahead, state.mean(2), members)[:, :, None])
                parts.append(_message(back, state.mean(3), members)[:, :, :, None])
            read = torch.cat([part.expand(shape) for part in parts], 1).flatten(2)
            matrix = matrices[2 * (index > 0) + (index == end)]
            state, cell = lstm(torch.bmm(matrix, read).unflatten(2, state.shape[2:]), cell)
            new += [state, cell]
            into = _message(ahead if index < end else scores, state.mean(2), members)
        return into.view(members, -1, lives), new


def _message(weights: list[Tensor], mean: Tensor, members: int) -> Tensor:
    """Messages ``(P, C, nodes, L)`` of mean states ``(P, H, nodes, L)``."""
    matrix, bias = weights
    flat = mean.expand(members, *mean.shape[1:]).flatten(2)
    return torch.baddbmm(bias[..., None], matrix, flat).unflatten(2, mean.shape[2:])
