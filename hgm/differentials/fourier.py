"""Reward differentials from Fourier features: closed form, one pass, exact over processes."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from hgm.checks import check_entries, check_int
from hgm.differentials.base import DifferentialEstimator
from hgm.numerics.fourier import LENGTHSCALES, MAX_FEATURES, FourierRegression, Jet
from hgm.numerics.ranks import ALONE, Ranks


class FourierEstimator(DifferentialEstimator):
    """One :class:`~hgm.numerics.fourier.FourierRegression` per task.

    Length scale and noise of every task maximise the evidence; the posterior variance tells where
    the data end.

    Args:
        num_tasks: Number ``N`` of tasks.
        dim_state: Dimension ``n`` of the points.
        num_features: Number of waves, at least 8.
        lengthscales: Candidates, in standard deviations of the points.
    """

    def __init__(
        self,
        num_tasks: int,
        dim_state: int,
        num_features: int = 256,
        lengthscales: Sequence[float] = LENGTHSCALES,
    ) -> None:
        super().__init__(num_tasks, dim_state)
        check_int("num_features", num_features, 8, MAX_FEATURES)
        check_entries("the number of tasks * `num_features`^2", num_tasks * num_features**2)
        scales = [float(scale) for scale in lengthscales]
        if not scales or min(scales) <= 0:
            raise ValueError(f"Expected positive `lengthscales`, got {lengthscales!r}.")
        self._settings = (num_features, scales)
        self.regression = FourierRegression(num_tasks, dim_state, 1, num_features, scales)

    def resized(self, num_tasks: int, dim_state: int) -> FourierEstimator:
        """The same for other sizes, not fitted."""
        return FourierEstimator(num_tasks, dim_state, *self._settings)

    def update(self, points: Tensor, rewards: Tensor, ranks: Ranks = ALONE) -> Tensor:
        """Adds the batch's statistics."""
        self.regression.to(points.device).accumulate(points, rewards[..., None], ranks)
        return points.new_zeros(())

    def finish(self, ranks: Ranks = ALONE) -> None:
        """Solves for all tasks and length scales."""
        self.regression.solve(ranks)

    @property
    def noise(self) -> Tensor:
        """The noise of largest evidence."""
        return self.regression.noise[:, 0]

    def jet(self, points: Tensor, tasks: Tensor) -> Jet:
        """Posterior means and variances."""
        return self.regression.jet(points, tasks)

    def rough_jet(self, points: Tensor, tasks: Tensor) -> Jet:
        """The same in float32, in a third of the time."""
        jet = self.regression.jet(points.float(), tasks)
        return Jet(*(field.to(points) for field in jet))
