"""The distribution of bounded actions."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import AffineTransform, TransformedDistribution
from torchrl.modules import TanhNormal


class BoxTanhNormal(TransformedDistribution):
    r"""Actions :math:`a = c + h \tanh(u)` with :math:`u \sim N(\mu, \sigma^2)`, in a box c -+ h.

    TorchRL's ``TanhNormal`` does the same, but reads its bounds' values whenever it is built,
    which costs time and which :class:`hgm.traced.TracedLoss` cannot record.

    Args:
        loc: Means before squashing, ``(..., m)``.
        scale: Standard deviations before squashing, ``(..., m)``.
        low: Least actions, ``(m,)``.
        high: Largest actions, ``(m,)``.
    """

    base_dist: TanhNormal

    def __init__(self, loc: Tensor, scale: Tensor, low: Tensor, high: Tensor) -> None:
        self._centre, self._half = ((high + low) / 2).to(loc), ((high - low) / 2).to(loc)
        transform = AffineTransform(self._centre, self._half, event_dim=1)
        super().__init__(TanhNormal(loc, scale), transform, validate_args=False)

    def rsample_and_log_prob(self, sample_shape: torch.Size | tuple[int, ...] = ()) -> tuple:
        """A sample ``(..., m)`` and its log density ``(...)``, exact where tanh saturates."""
        unit, log_prob = self.base_dist.rsample_and_log_prob(sample_shape)
        return self._centre + self._half * unit, log_prob - self._half.log().sum(-1)

    @property
    def deterministic_sample(self) -> Tensor:
        r"""The median :math:`c + h \tanh(\mu)`, ``(..., m)``."""
        return self._centre + self._half * self.base_dist.deterministic_sample
