"""Learners whose learning is what a recurrent network does: many members and lives at once."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

Memory = list[Tensor]
"""What is known, leaves ``(P, H, ..., L)``: lives come last, as they lie side by side."""
Weights = list[Tensor]
"""Parameters as the matrices that a step multiplies with, ``(P, ...)``."""


class InContextLearner(ABC):
    r"""A learning algorithm with parameters :math:`\theta` and a memory: no weight moves in a life.

    ``P`` members, rows of :math:`\theta`, live ``L`` lives each, all at once. A step is told the
    observation, the last action, its reward and whether an episode starts, and gives a score to
    every action; the largest is carried out.

    Attributes:
        num_parameters: Number ``D`` of parameters.
    """

    num_parameters: int

    @abstractmethod
    def initial(self, generator: torch.Generator) -> Tensor:
        """Parameters before training, ``(D,)``."""

    @abstractmethod
    def blank(
        self, num_lives: int, dim_state: int, dim_action: int, generator: torch.Generator
    ) -> Memory:
        """Memories at birth, the same for all members: leaves ``(1, H, ..., L)``.

        Raises:
            ValueError: If the learner is for other sizes.
        """

    @abstractmethod
    def weights(self, theta: Tensor) -> Weights:
        """Parameters ``(P, D)`` as matrices, once a life."""

    @abstractmethod
    def step(
        self,
        weights: Weights,
        memory: Memory,
        observation: Tensor,
        action: Tensor,
        reward: Tensor,
        start: Tensor,
    ) -> tuple[Tensor, Memory]:
        """One step of all lives.

        Args:
            weights: Of :meth:`weights`.
            memory: Of :meth:`blank` or of the last step; it is not changed.
            observation: ``(P, n, L)``.
            action: The last action, one-hot, zeros at birth, ``(P, m, L)``.
            reward: The last reward, 0 at birth, ``(P, L)``.
            start: 1. where an episode starts, ``(P, L)``.

        Returns:
            Scores ``(P, m, L)`` and the new memory.
        """


class Population:
    """Members that live at once and act by their largest scores.

    Args:
        learner: The learning algorithm.
        theta: Parameters of its members, ``(P, D)``.
    """

    def __init__(self, learner: InContextLearner, theta: Tensor) -> None:
        self.learner, self.theta = learner, theta

    def begin(
        self, num_lives: int, dim_state: int, dim_action: int, generator: torch.Generator
    ) -> None:
        """All members are born into ``L`` lives, the same memories at birth for each."""
        blank = self.learner.blank(num_lives, dim_state, dim_action, generator)
        self._memory = [leaf.to(self.theta) for leaf in blank]
        self._weights = self.learner.weights(self.theta)
        self._action = self.theta.new_zeros(len(self.theta), dim_action, num_lives)
        self._index = torch.arange(dim_action).to(self.theta)[:, None]

    def __call__(self, observation: Tensor, reward: Tensor, start: Tensor) -> Tensor:
        """Indices of actions ``(P, L)``.

        Args:
            observation: ``(P, L, n)``.
            reward: The last reward, ``(P, L)``.
            start: 1. where an episode starts, ``(P, L)``.
        """
        scores, self._memory = self.learner.step(
            self._weights, self._memory, observation.mT, self._action, reward, start
        )
        # The first of the largest; argmax takes ten times as long along few entries.
        largest = scores == scores.amax(1, keepdim=True)
        chosen = torch.where(largest, self._index, float(len(self._index))).amin(1)
        self._action = (self._index == chosen[:, None]).to(scores)
        return chosen.long()


def split(theta: Tensor, shapes: Sequence[tuple[int, ...]]) -> list[Tensor]:
    """Rows of parameters ``(P, D)`` as tensors ``(P, *shape)``, views of them."""
    parts = theta.split([math.prod(shape) for shape in shapes], -1)
    return [part.view(-1, *shape) for part, shape in zip(parts, shapes, strict=True)]


def draw(shapes: Sequence[tuple[int, ...]], generator: torch.Generator) -> Tensor:
    r"""Matrices of entries :math:`N(0, 1/\mathrm{columns})`, vectors of zeros, in one row."""
    parts = []
    for shape in shapes:
        scale = 0.0 if len(shape) == 1 else shape[-1] ** -0.5
        parts.append(scale * torch.randn(math.prod(shape), generator=generator))
    return torch.cat(parts)


def lstm(gates: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    r"""An LSTM's state and cell from its gates' inputs.

    Hochreiter and Schmidhuber, 1997: :math:`c' = f c + i g`, :math:`h' = o \tanh c'`.

    Args:
        gates: Inputs of input, forget and output gate and of the candidate, ``(P, 4 H, ...)``;
            overwritten.
        cell: ``(P, H, ...)``.
    """
    size = gates.shape[1] // 4
    # tanh x = 2 sigmoid(2 x) - 1, which on a CPU takes a fifth of the time.
    gates[:, 3 * size :] *= 2
    take, keep, give, candidate = gates.sigmoid_().unflatten(1, (4, size)).unbind(1)
    cell = torch.addcmul(torch.addcmul(-take, take, candidate, value=2), keep, cell)
    return give * (2 * cell).sigmoid_().mul_(2).sub_(1), cell
