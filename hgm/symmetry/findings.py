"""What the stages of the search find."""

from typing import NamedTuple

import torch
from torch import Tensor

from hgm.symmetry.invariance import EquivarianceForm
from hgm.symmetry.phases import Fit
from hgm.symmetry.pooling import PooledModel
from hgm.symmetry.subgroup import LeftActions


class Span(NamedTuple):
    """Directions that all elements share.

    Attributes:
        fit: Elements in the span of few directions; free ones where no few are enough.
        free: Elements that are free, for comparison.
        num_directions: How many directions the elements need.
    """

    fit: Fit
    free: Fit
    num_directions: int


class Refined(NamedTuple):
    """Elements after pooled refinement, or before, where no one model explains all tasks.

    Attributes:
        unknowns: The unknowns of the span's fit, ``(u,)``.
        deviation: Predicted standard deviation of the elements, in radians, ``(N - 1,)``.
        pool: The one reward model that explains all tasks, if any.
    """

    unknowns: Tensor
    deviation: Tensor
    pool: PooledModel | None


class Findings(NamedTuple):
    """What the search leaves, in the group's coordinates.

    Attributes:
        actions: Directions ``(d, D)`` of the closed algebra, an orthogonal basis of generators of
            norm sqrt 2, and coordinates ``(N - 1, d)``.
        num_directions: How many directions the elements need; brackets add the rest.
        spectrum: Singular values of the freely fitted elements' coordinates, descending.
        pair_loss: Mean robust loss over all pairs of tasks, with elements in the span.
        free_loss: The same with free elements.
        deviation: Predicted standard deviation of the elements, in radians, ``(N - 1,)``.
        form: Equivariance form of the dynamics.
        action_generators: What the directions do to actions, ``(d, m, m)``.
        pool: The one reward model that explained all tasks and so refined the elements, if any.
    """

    actions: LeftActions
    num_directions: int
    spectrum: Tensor
    pair_loss: float
    free_loss: float
    deviation: Tensor
    form: EquivarianceForm
    action_generators: Tensor
    pool: PooledModel | None

    @property
    def coords(self) -> Tensor:
        """Coordinates of all tasks on the directions, 0 for the base task, ``(N, d)``."""
        return torch.cat((torch.zeros_like(self.actions.coords[:1]), self.actions.coords))
