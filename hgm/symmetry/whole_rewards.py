r"""Rewards as functions of everything.

.. math:: r_i(s, a, s') = R(L_i^{-1} s, K_i^{-1} a, L_i^{-1} s')

What the group does to all of it is known once the dynamics have completed it, and then rewards and
dynamics tell elements and generators together.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from hgm import lie
from hgm.numerics.gauss_newton import GaussNewton, Penalty
from hgm.numerics.ranks import ALONE
from hgm.numerics.tails import Tails, long_tails
from hgm.symmetry.algebra import nearest_basis
from hgm.symmetry.effort import Learned
from hgm.symmetry.findings import Dynamics, Problem, Refined
from hgm.symmetry.finite import MISFIT, FiniteTransformations, frequency
from hgm.symmetry.inheritance import Both
from hgm.symmetry.learned_rewards import LESS, ROOM, Learn, Regression
from hgm.symmetry.phases import root_of
from hgm.symmetry.pooling import PooledModel
from hgm.symmetry.refinement import NEGLIGIBLE
from hgm.symmetry.samples import Samples, Seen
from hgm.symmetry.scaled import Spanned
from hgm.symmetry.subgroup import LeftActions, Subgroup, deviations, free_in
from hgm.symmetry.view import View

_MOST = 250  # unknowns of generators
_NEARLY = 1.25  # times what is missed before: generators that are a little off miss more
_ROUNDS, _STEPS = 2, 4  # features are learned anew once elements and generators are better
_SAME = 1e3  # inverse deviation of what is a matter of choice
_CLOSED = 0.02  # residual of the closure


class Whole(NamedTuple):
    """Elements by one model of rewards as functions of next states, actions and displacements.

    Attributes:
        model: The model.
        group: Generators on states and actions.
        coords: Coordinates of all tasks; those that did not lead are where they were, ``(N, d)``.
        deviation: Predicted standard deviation of the leading elements, in radians, ``(M - 1,)``:
            for given generators; where these moved, too, as before.
    """

    model: PooledModel
    group: Both
    coords: Tensor
    deviation: Tensor


class _Posed(NamedTuple):
    """What rewards are to be explained by, and what is missed of them before.

    Attributes:
        pool: The model of what rewards were seen to depend on.
        seen: Everything, of the leading tasks.
        tails: What bends its long tails.
        missed: What the model misses of held-out rewards, in units of noise.
        calibrated: Whether rewards are calibrated as by the model; what is to be tried, in turn.
            Told by everything, they may need no calibration.
    """

    pool: PooledModel
    seen: Seen
    tails: Tails | None
    missed: float
    calibrated: tuple[bool, ...]

    def placed(self, group: Spanned, coords: Tensor) -> PooledModel | None:
        """A model of everything that misses clearly less, by elements alone; None if none does."""
        for calibrated in self.calibrated:
            start = self.pool.elsewhere(free_in(group, coords), self.tails, calibrated)
            phase = Learn(start, self.missed)
            while not phase.done:
                phase.step(self.seen, ALONE)
            if phase.result is not start:
                return phase.result
        return None

    def together(self, subgroup: Subgroup, penalty: Penalty) -> PooledModel | None:
        """The same by elements and generators."""
        table = subgroup.start.numel() * self.seen.points.shape[-1]
        every = max(1, -(-self.seen.reward.numel() * table // ROOM))
        points, rewards = (part[:, ::every] for part in self.seen)
        for calibrated in self.calibrated:
            model = self.pool.elsewhere(subgroup, self.tails, calibrated, penalty)
            for _ in range(_ROUNDS):
                model = model.relearned(self._learned(model)[0])
                for _ in range(_STEPS):
                    model.step(points, rewards)
            if model.increasing and self._learned(model, by_task=True)[1] < LESS * self.missed:
                return model
        return None

    def _learned(self, model: PooledModel, by_task: bool = False) -> tuple[Learned, float]:
        return Regression.of(model, self.seen, ALONE, self.pool.spread, by_task).learned()

    def promising(self, group: Spanned, coords: Tensor) -> _Posed | None:
        """The same with calibrations by which nearly as little is missed; None if by none."""
        tried = []
        for calibrated in self.calibrated:
            model = self.pool.elsewhere(free_in(group, coords), self.tails, calibrated)
            if self._learned(model)[1] < _NEARLY * self.missed:
                tried.append(calibrated)
        return self._replace(calibrated=tuple(tried)) if tried else None


def whole_rewards(
    problem: Problem,
    dynamics: Dynamics,
    refined: Refined,
    group: Both,
    coords: Tensor,
    kept: Samples,
    inherited: bool,
) -> Whole | None:
    """The same elements by everything; None where it does not explain clearly more.

    Few waves fill few dimensions only. What rewards owe to what these cannot follow looks like
    noise, and elements are as unsure as that makes them. Networks must foretell tasks that they
    were not told of: what is a task's own explains nothing.

    Where all tasks have the same dynamics, generators move, too, as far as these let them, and the
    group may be any; and still close.

    Args:
        problem: What was searched.
        dynamics: Of all tasks.
        refined: Elements by what rewards were seen to depend on.
        group: Generators on states and actions.
        coords: Coordinates of all tasks, ``(N, d)``.
        kept: Raw transitions of all tasks.
        inherited: Whether tasks have dynamics of their own.
    """
    pool, view, leading = refined.pool, problem.view, problem.leading
    if pool is None or not len(group.states):
        return None
    few, more = (Seen(*(field[leading] for field in one(kept))) for one in (view, view.everything))
    regression = Regression.of(pool, few, ALONE, pool.spread)
    missed = regression.missed_before()
    if missed < NEGLIGIBLE * float(regression.target.var()):
        return None
    tails = long_tails(more.points.flatten(0, 1))
    calibrated = (False, True) if pool.transformed else (False,)
    others, dim = coords[leading[1:]], more.points.shape[-1]
    acting = Spanned(view.on_everything(*group), dim)
    posed = _Posed(pool, more, tails, missed, calibrated).promising(acting, others)
    if posed is None:
        return None
    found, deviation, model = coords.clone(), refined.deviation, None
    if not inherited and problem.whole:
        scaled = view.units.scale(kept)
        model, group, others = _with_generators(posed, dynamics, view, group, scaled, others)
    if model is None:
        model = posed.placed(acting, others)
        if model is None:
            return None
        others = model.actions.view_as(others)
        subgroup = free_in(Spanned(view.among_seen(group.states), len(view.columns)), others)
        deviation = deviations(subgroup, model.actions, model.covariance())
    found[leading[1:]] = others
    return Whole(model, group, found, deviation)


def _with_generators(
    posed: _Posed, dynamics: Dynamics, view: View, group: Both, scaled: Samples, coords: Tensor
) -> tuple[PooledModel | None, Both, Tensor]:
    """A model, generators and elements by rewards and dynamics; as given where there is none."""
    basis, start = _entries(group, view.index, view.units.dim_state)
    if start.numel() > _MOST:
        return None, group, coords
    acting = Spanned(view.on_everything(*basis), posed.seen.points.shape[-1])
    subgroup = Subgroup(acting, LeftActions(start, coords))
    model = posed.together(subgroup, _by_dynamics(dynamics, scaled, basis, start, coords))
    if model is None:
        return None, group, coords
    before, (directions, coords) = coords, subgroup.keep(model.actions)
    states, actions = (lie.hat(directions, part) for part in basis)
    mix = nearest_basis(states, group.states)
    found = Both(lie.hat(mix, states), lie.hat(mix, actions))
    if float(lie.closure_residual(view.among_seen(found.states))) > _CLOSED:
        return None, group, before
    if len(found.states) == 1:
        found = found.periodic(frequency(view.among_seen(found.states)[0]))
    return model, found, coords @ torch.linalg.inv(mix)


def _entries(group: Both, index: Tensor, dim_state: int) -> tuple[Both, Tensor]:
    """Unit matrices of entries that may move, ``(D, k, k)`` and ``(D, m, m)``, and what they are.

    Those that are not zero, and all of what rewards were seen to depend on.
    """
    free = [part.ne(0).any(0) for part in group]
    free[0][index[index < dim_state][:, None], index] = True
    units = []
    for part in free:
        place = part.flatten().nonzero()[:, 0]
        unit = group.states.new_zeros(len(place), part.numel())
        unit[torch.arange(len(place)), place] = 1.0
        units.append(unit)
    states = torch.cat((units[0], units[0].new_zeros(len(units[1]), units[0].shape[1])))
    actions = torch.cat((units[1].new_zeros(len(units[0]), units[1].shape[1]), units[1]))
    start = torch.cat([part[:, mask] for part, mask in zip(group, free, strict=True)], 1)
    size, m = len(free[0]), len(free[1])
    return Both(states.view(-1, size, size), actions.view(-1, m, m)), start


def _by_dynamics(
    dynamics: Dynamics, scaled: Samples, basis: Both, start: Tensor, coords: Tensor
) -> Penalty:
    """What finite transformations of the dynamics say of generators, of second order."""
    model, size = dynamics.model, basis.states.shape[-1]
    state, action = (part.flatten(0, 1) for part in (scaled.state, scaled.action))
    n = state.shape[-1]
    entries = torch.cat((basis.states[:, :n].flatten(1), basis.actions.flatten(1)), 1)
    far = lie.reach(lie.hat(start, basis.states), coords)
    nothing = start.new_zeros(len(start), entries.shape[1])
    problem = FiniteTransformations(model, state, action, nothing, entries, far, size)
    # Generators that do nothing keep everything, and so do other bases of the same span.
    own = _SAME * torch.linalg.qr(start.mT).Q.mT
    same = torch.block_diag(*[own] * len(start))
    solver = GaussNewton(
        start.flatten(), MISFIT, 1e-3, lambda now: (same @ (now - start.flatten()), same)
    )
    for _ in range(_STEPS):
        solver.decide(problem(solver.propose(problem(solver.unknowns, True)), False))
    centre, root = solver.unknowns, root_of(solver.information()).mT

    def penalty(unknowns: Tensor) -> tuple[Tensor, Tensor]:
        rest = unknowns.new_zeros(len(root), len(unknowns) - len(centre))
        return root @ (unknowns[: len(centre)] - centre), torch.cat((root, rest), 1)

    return penalty
