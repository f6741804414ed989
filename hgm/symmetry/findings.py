"""What the stages of the search find."""

from typing import NamedTuple

import torch
from torch import Tensor

from hgm.differentials.base import DifferentialEstimator
from hgm.dynamics import DynamicsModel
from hgm.groups import LieGroup
from hgm.numerics.tails import Tails
from hgm.symmetry.completion import Completion
from hgm.symmetry.invariance import EquivarianceForm
from hgm.symmetry.orbit import Orbit, bases
from hgm.symmetry.phases import Fit
from hgm.symmetry.pooling import PooledModel
from hgm.symmetry.refits import Refits
from hgm.symmetry.samples import Samples
from hgm.symmetry.view import View


class Problem(NamedTuple):
    """What is searched, in scaled coordinates.

    Attributes:
        view: How rewards see transitions.
        group: The group that acts on the points that they see.
        estimator: Estimator of reward differentials at these points.
        leading: The tasks that find the algebra, the base task first, ``(M,)``.
        whole: Whether the ambient group holds every map, so that points may be a part of states.
        tails: What bends long tails of the points that rewards see; None: nothing does.
    """

    view: View
    group: LieGroup
    estimator: DifferentialEstimator
    leading: Tensor
    whole: bool
    tails: Tails | None = None


class Dynamics(NamedTuple):
    """The model of the dynamics, and its equivariance form."""

    model: DynamicsModel
    form: EquivarianceForm


class Span(NamedTuple):
    """Directions that all elements share.

    Attributes:
        fit: Elements in the span of few directions; free ones where no few are enough.
        free: Elements that are free, for comparison.
        num_directions: How many directions the elements need.
        kept: Whether they were found among those that the dynamics keep.
    """

    fit: Fit
    free: Fit
    num_directions: int
    kept: bool = False


class Refined(NamedTuple):
    """Elements after pooled refinement, or before, where no one model explains all tasks.

    Attributes:
        unknowns: The unknowns of the span's fit, ``(u,)``.
        deviation: Predicted standard deviation of the elements, in radians, ``(M - 1,)``.
        pool: The one reward model that explains all tasks, if any.
    """

    unknowns: Tensor
    deviation: Tensor
    pool: PooledModel | None


class Findings(NamedTuple):
    """What the search leaves, in scaled coordinates.

    Attributes:
        problem: What was searched.
        kept: The transitions that it was learned from.
        dynamics: The model of the dynamics.
        directions: What these keep of the group's generators, ``(p, D)``.
        seen: Generators of the closed algebra on what rewards see, ``(d, q, q)``.
        generators: The same on all of the state, ``(d, k, k)``.
        action_generators: What they do to actions, ``(d, m, m)``.
        inherited: Whether tasks have dynamics of their own, which the elements carry into each
            other; else all tasks have the same.
        free: What of the generators of inherited dynamics rewards do not tell, ``(u, k, k)``.
        completion: How sure the entries that rewards do not see are.
        coords: Coordinates of all tasks, 0 for base tasks, ``(N, d)``.
        num_directions: How many directions the elements need; brackets add the rest.
        spectrum: Singular values of the freely fitted elements' coordinates, descending.
        pair_loss: Mean robust loss over all pairs of leading tasks, with elements in the span.
        free_loss: The same with free elements.
        expected_loss: The same of residuals as large as predicted.
        deviation: Predicted standard deviation of the leading elements, as rewards tell them, in
            radians, ``(M - 1,)``.
        pool: The one reward model that explained all tasks and so refined the elements, if any;
            that of the first orbit where there are several.
        whole: The same of all coordinates, where it explains more by them, and so refined the
            elements.
        orbits: The orbits, where there are several; their tasks' elements are relative to their own
            base task.
        refits: What fits of halves of the transitions find; None where that was not asked for,
            or cannot be done.
    """

    problem: Problem
    kept: Samples
    dynamics: Dynamics
    directions: Tensor
    seen: Tensor
    generators: Tensor
    action_generators: Tensor
    inherited: bool
    free: Tensor
    completion: Completion
    coords: Tensor
    num_directions: int
    spectrum: Tensor
    pair_loss: float
    free_loss: float
    expected_loss: float
    deviation: Tensor
    pool: PooledModel | None
    whole: PooledModel | None = None
    orbits: tuple[Orbit, ...] = ()
    refits: Refits | None = None

    @property
    def bases(self) -> Tensor:
        """The base task of every task, ``(N,)``."""
        num = len(self.coords)
        if not self.orbits:
            return torch.zeros(num, dtype=torch.int64)
        return bases(self.orbits, num)
