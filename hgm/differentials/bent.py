"""An estimator in coordinates whose long tails are bent."""

from __future__ import annotations

import torch
from torch import Tensor

from hgm.differentials.base import DifferentialEstimator
from hgm.numerics.fourier import Jet
from hgm.numerics.ranks import ALONE, Ranks
from hgm.numerics.tails import Tails


class Bent(DifferentialEstimator):
    r"""Another estimator's answers, learned and asked for at :math:`y(x)`, by the chain rule.

    Args:
        estimator: The other, which is fitted here.
        tails: The map, one coordinate from each.
    """

    def __init__(self, estimator: DifferentialEstimator, tails: Tails) -> None:
        super().__init__(estimator.num_tasks, estimator.dim_state)
        self.estimator, self.tails = estimator, tails
        self.num_passes = estimator.num_passes

    def update(self, points: Tensor, rewards: Tensor, ranks: Ranks = ALONE) -> Tensor:
        """Learns from bent points."""
        return self.estimator.update(self.tails(points), rewards, ranks)

    def finish(self, ranks: Ranks = ALONE) -> None:
        """Ends a pass over the data."""
        self.estimator.finish(ranks)

    def resized(self, num_tasks: int, dim_state: int) -> DifferentialEstimator | None:
        """The same for another number of tasks; of other coordinates, the map knows nothing."""
        other = self.estimator.resized(num_tasks, dim_state)
        if other is None or dim_state != self.dim_state:
            return None
        return Bent(other, self.tails)

    @property
    def noise(self) -> Tensor:
        """That of the other."""
        return self.estimator.noise

    def jet(self, points: Tensor, tasks: Tensor) -> Jet:
        """By the chain rule."""
        return self._straight(self.estimator.jet(self.tails(points), tasks), points)

    def rough_jet(self, points: Tensor, tasks: Tensor) -> Jet:
        """By the chain rule."""
        return self._straight(self.estimator.rough_jet(self.tails(points), tasks), points)

    def _straight(self, jet: Jet, points: Tensor) -> Jet:
        slope = self.tails.slope(points)
        own = torch.diag_embed(self.tails.bend(points) * jet.gradient)
        hessian = slope[..., :, None] * jet.hessian * slope[..., None, :] + own
        # The variance is that of all components together, most of it where the gradient is.
        share = jet.gradient.square()
        total = share.sum(-1).clamp_min(1e-300)
        usual = (slope.square() * share).sum(-1) / total
        return Jet(
            jet.value,
            slope * jet.gradient,
            hessian,
            jet.value_variance,
            usual * jet.gradient_variance,
        )
