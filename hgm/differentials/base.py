"""The contract of estimators of reward differentials from transitions."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from hgm.checks import check_int
from hgm.numerics.fourier import Jet
from hgm.numerics.ranks import ALONE, Ranks


class DifferentialEstimator(nn.Module, ABC):
    """Estimates rewards, gradients and Hessians of every task from samples ``(p, r_i(p))``.

    Life: :attr:`num_passes` times :meth:`update` with every batch and :meth:`finish`; after the
    last pass :meth:`jet` answers. Nothing may be set in data units: length scales, bandwidths and
    neighbourhoods are chosen from the data.

    Args:
        num_tasks: Number ``N`` of tasks.
        dim_state: Dimension ``n`` of the points.

    Attributes:
        num_passes: Passes over the data that the estimator needs.

    Raises:
        ValueError: If an argument is below 1.
    """

    num_passes: int = 1

    def __init__(self, num_tasks: int, dim_state: int) -> None:
        super().__init__()
        self.num_tasks = check_int("num_tasks", num_tasks, 1)
        self.dim_state = check_int("dim_state", dim_state, 1)

    @abstractmethod
    def update(self, points: Tensor, rewards: Tensor, ranks: Ranks = ALONE) -> Tensor:
        """Learns from one batch.

        Args:
            points: Where the rewards were seen, shape ``(N, B, n)``, float64.
            rewards: Rewards, shape ``(N, B)``.
            ranks: Collectives, for runs of several processes.

        Returns:
            A scalar to show as progress.
        """

    def finish(self, ranks: Ranks = ALONE) -> None:  # noqa: B027 - an optional hook
        """Ends a pass over the data."""

    def resized(self, num_tasks: int, dim_state: int) -> DifferentialEstimator | None:
        """An estimator of the same kind for other sizes, not fitted.

        None where the kind knows no such thing: points then keep the coordinates that rewards do
        not depend on, and all tasks take part in the search.
        """
        return None

    @property
    @abstractmethod
    def noise(self) -> Tensor:
        """Standard deviation of each task's rewards about its model, ``(N,)``."""

    @abstractmethod
    def jet(self, points: Tensor, tasks: Tensor) -> Jet:
        """Reward jets: row ``i`` of `points` ``(P, Q, n)`` under task ``tasks[i]``.

        Variances must grow where the data end: alignment trusts a point by them.
        """

    def rough_jet(self, points: Tensor, tasks: Tensor) -> Jet:
        """As :meth:`jet`, for alignment: errors of 1e-5 do no harm. Override it if cheaper."""
        return self.jet(points, tasks)
