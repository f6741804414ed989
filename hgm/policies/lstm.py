"""MetaRNN: one LSTM that reads everything, and knows which observation and action is which."""

from __future__ import annotations

import torch
from torch import Tensor

from hgm.checks import MAX_WIDTH, check_int
from hgm.policies.in_context import InContextLearner, Memory, Weights, draw, lstm, split


class LSTMLearner(InContextLearner):
    r"""Scores linear in :math:`h_t = \mathrm{LSTM}(h_{t-1}; o_t, a_{t-1}, r_{t-1}, e_t)`.

    Source: the MetaRNN that L. Kirsch et al., arXiv 2109.10781, compare with: J. X. Wang et al.,
    arXiv 1611.05763; Y. Duan et al., arXiv 1611.02779.

    Args:
        dim_state: Number ``n`` of observations.
        dim_action: Number ``m`` of actions.
        width: Size of the LSTM.

    Raises:
        ValueError: If a size is out of range.
    """

    def __init__(self, dim_state: int, dim_action: int, width: int = 32) -> None:
        self.dim_state = check_int("dim_state", dim_state, 1)
        self.dim_action = check_int("dim_action", dim_action, 1)
        self.width = check_int("width", width, 1, MAX_WIDTH)
        inputs = self.width + self.dim_state + self.dim_action + 2
        gates = 4 * self.width
        self._shapes: list[tuple[int, ...]] = [(gates, inputs), (gates,)]
        self._shapes += [(self.dim_action, self.width), (self.dim_action,)]
        self.num_parameters = sum(torch.Size(shape).numel() for shape in self._shapes)

    def initial(self, generator: torch.Generator) -> Tensor:
        """Normal entries of variance one over their number in a row; forget gates start open."""
        theta = draw(self._shapes, generator)
        split(theta[None], self._shapes)[1][0, self.width : 2 * self.width] = 1.0
        return theta

    def blank(
        self, num_lives: int, dim_state: int, dim_action: int, generator: torch.Generator
    ) -> Memory:
        """State and cell, zeros ``(1, H, L)``."""
        if (dim_state, dim_action) != (self.dim_state, self.dim_action):
            raise ValueError(
                f"Expected {self.dim_state} observations and {self.dim_action} actions, for which "
                f"this LSTM is built, got {dim_state} and {dim_action}: only model=symla runs with "
                "any."
            )
        return [torch.zeros(1, self.width, num_lives, device=generator.device)] * 2

    def weights(self, theta: Tensor) -> Weights:
        """Matrices and biases."""
        return split(theta, self._shapes)

    def step(
        self,
        weights: Weights,
        memory: Memory,
        observation: Tensor,
        action: Tensor,
        reward: Tensor,
        start: Tensor,
    ) -> tuple[Tensor, Memory]:
        """See :meth:`InContextLearner.step`."""
        matrix, bias, head, offset = weights
        state, cell = (leaf.expand(len(bias), -1, -1) for leaf in memory)
        inputs = torch.cat((state, observation, action, reward[:, None], start[:, None]), 1)
        state, cell = lstm(torch.baddbmm(bias[..., None], matrix, inputs), cell)
        scores = torch.baddbmm(offset[..., None], head, state)
        return scores, [state, cell]
