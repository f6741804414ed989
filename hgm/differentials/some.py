"""Some of the tasks of an estimator that is fitted already."""

from collections.abc import Sequence

import torch
from torch import Tensor

from hgm.differentials.base import DifferentialEstimator
from hgm.numerics.fourier import Jet
from hgm.numerics.ranks import Ranks


class Some(DifferentialEstimator):
    """A fitted estimator's answers for some of its tasks, in an order of their own.

    Args:
        estimator: The fitted one.
        tasks: Which, the base task first.
    """

    def __init__(self, estimator: DifferentialEstimator, tasks: Sequence[int]) -> None:
        super().__init__(len(tasks), estimator.dim_state)
        self._whole = [estimator]  # no module of this one: it is not fitted here
        self._tasks = torch.tensor(tasks)

    def update(self, points: Tensor, rewards: Tensor, ranks: Ranks | None = None) -> Tensor:
        """Refuses: the whole estimator is fitted."""
        raise ValueError("Expected a fitted estimator of all tasks; some of them are not refitted.")

    @property
    def noise(self) -> Tensor:
        """Standard deviation of the tasks' rewards about their models."""
        whole = self._whole[0].noise
        return whole[self._tasks.to(whole.device)]

    def jet(self, points: Tensor, tasks: Tensor) -> Jet:
        """That of the whole estimator."""
        return self._whole[0].jet(points, self._tasks.to(tasks.device)[tasks])

    def rough_jet(self, points: Tensor, tasks: Tensor) -> Jet:
        """That of the whole estimator."""
        return self._whole[0].rough_jet(points, self._tasks.to(tasks.device)[tasks])
