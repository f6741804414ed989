"""What the base task's reward owes to the action, besides what it owes to states."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hgm.geometry.sight import action_table
from hgm.numerics.fourier import LINEAR_SCALE, slope


@dataclass(frozen=True, repr=False)
class ActionReward:
    r"""Terms of the action, :math:`r = R(p) + g(a)`, up to a constant, which is in `R`.

    Squares, products and waves of actions, as :mod:`hgm.symmetry.relevance` fits them.

    Attributes:
        scale: Standard deviations of the actions, ``(m,)``.
        frequencies: Waves in scaled actions, ``(F, m)``; none where squares are enough.
        phases: Their phases, ``(F,)``.
        weights: Of actions, their products, and waves, in units of the reward,
            ``(m + m (m + 1) / 2 + F,)``.
        inherited: Whether a task's terms are the base task's moved, :math:`g_i(K_i a) = g(a)`; else
            all tasks have the same.
    """

    scale: Tensor
    frequencies: Tensor
    phases: Tensor
    weights: Tensor
    inherited: bool

    def __call__(self, action: Tensor) -> Tensor:
        """The terms at actions ``(..., m)``, shape ``(...)``, in the dtype of the model."""
        scaled = action.to(self.scale) / self.scale
        return action_table(scaled, self.frequencies, self.phases) @ self.weights

    def slope(self, action: Tensor) -> Tensor:
        """Their gradients, ``(..., m)``."""
        scaled, m = action.to(self.scale) / self.scale, len(self.scale)
        num = m * (m + 1) // 2
        linear, squares, waves = self.weights.split((m, num, len(self.phases)))
        rows, columns = torch.triu_indices(m, m, device=scaled.device)
        upper = torch.zeros(m, m).to(squares).index_put((rows, columns), squares)
        gradient = LINEAR_SCALE * (linear + scaled @ (upper + upper.mT))
        if len(waves):
            padded = torch.nn.functional.pad(waves, (0, m + 1))
            gradient = gradient + slope(scaled, self.frequencies, self.phases, padded)
        return gradient / self.scale

    def to(self, like: torch.dtype | torch.device | str) -> ActionReward:
        """The same in another dtype, or on another device."""
        moved = {name: part.to(like) for name, part in vars(self).items() if name != "inherited"}
        return replace(self, **moved)
