"""The phase that refines generators on finite transformations of the dynamics."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.func import jacfwd

from hgm import lie
from hgm.dynamics import DynamicsModel
from hgm.numerics.gauss_newton import GaussNewton, Penalty, Terms
from hgm.numerics.ranks import ALONE
from hgm.symmetry.completion import Completion

_NUM_ELEMENTS = 12  # per dimension of the algebra
_NUM_POINTS = 150  # per element and dimension of the algebra: as many pairs, however large it is
_MOST = 200  # unknowns; more would take minutes
MISFIT = 0.05
"""Of a typical displacement; what misses by more, the dynamics do not share."""

_STEPS = 8
_SIGMAS = (1.5, 3.0)  # deviations from zero of an entry that stays, in either round
_SURE = 1e-4  # nothing is known better
_UNSURE = (0.1, 0.9)  # deviations of entries that the completion tells a little: 1 is nothing
_CORRELATED = 10.0  # observations that count as one, as in GaussNewton.information
_CONVERGED_LOSS = 1e-6
_HALVES = [number / 2 for number in range(1, 9)]
_THIRDS_AND_QUARTERS = [p / q for q in (3, 4) for p in range(1, 4 * q + 1)]
_NEAR, _NEARER = 0.06, 0.03
"""How near frequencies come to ratios of denominators 1 and 2, and of 3 and 4."""
_COMPACT = 0.05
_MOVED = 0.2  # of the largest frequency: more is no frequency that errs, but a block that is split


def refine(
    dynamics: DynamicsModel,
    state: Tensor,
    action: Tensor,
    completion: Completion,
    coords: Tensor,
    size: int,
    natural: bool = True,
) -> Tensor:
    r"""Entries ``(d, n k + m m)`` of whole generators, from values of the dynamics alone.

    The equivariance residual needs Jacobians, which are less accurate than values. An error of a
    generator grows with the way that an element goes, in

    .. math:: T(L_g s, K_g a) = L_g T(s, a).

    In natural coordinates entries that cannot be told from zero are zero: first those that the
    completion is sure of, then those that finite elements leave near it; in others zeros are
    nothing special. Where Jacobians are poor, an entry that is not zero cannot be told from it by
    them, and others would make up for it.
    What is carried to where the twins disagree weighs little.

    Args:
        dynamics: Fitted model of the dynamics.
        state: States, ``(B, n)``, of which some are carried.
        action: Actions, ``(B, m)``.
        completion: Where to start, and how sure that is.
        coords: Coordinates of the training tasks, ``(N, d)``.
        size: Matrix size ``k``.
        natural: Whether coordinates are those of the data, up to units.
    """

    def not_zero(completion: Completion, sigmas: float) -> Tensor:
        return completion.not_zero(sigmas) if natural else ~completion.given

    doubt = completion.deviation
    unsure = ((doubt > _UNSURE[0]) & (doubt < _UNSURE[1])).any(0)
    for sigmas in _SIGMAS:
        free = not_zero(completion, sigmas)
        if int((free | unsure).sum()) * len(completion.entries) <= _MOST:
            free = free | unsure
        unsure = torch.zeros_like(unsure)
        found = settle(dynamics, state, action, completion, free, coords, size)
        if found is None:
            return completion.entries * (completion.given | free)
        completion = found
    return completion.entries * (completion.given | not_zero(completion, _SIGMAS[-1]))


def settle(
    dynamics: DynamicsModel,
    state: Tensor,
    action: Tensor,
    completion: Completion,
    free: Tensor,
    coords: Tensor,
    size: int,
    num_steps: int = _STEPS,
) -> Completion | None:
    """One round of :func:`refine`, in which all but some entries ``(n k + m m,)`` are zero.

    None where nothing is free, or too much. At most `num_steps` steps.
    """
    start = completion.entries * (completion.given | free)
    if not len(start) or not 0 < int(free.sum()) * len(start) <= _MOST:
        return None
    deviation = completion.deviation[:, free].flatten().clamp_min(_SURE)
    before = start[:, free].flatten()

    far = lie.reach(squares(start, state.shape[-1], size), coords)
    entries = torch.eye(len(free)).to(start)[free]
    start = start * ~free
    problem = FiniteTransformations(dynamics, state, action, start, entries, far, size)
    penalty = near(before, deviation / math.sqrt(_CORRELATED))
    solver = GaussNewton(before, MISFIT, damping=1e-3, penalty=penalty)
    for _ in range(num_steps):
        trial = solver.propose(problem(solver.unknowns, True), ALONE)
        solver.decide(problem(trial, False), ALONE)
        if bool(solver.gain < _CONVERGED_LOSS):
            break
    doubt = completion.deviation.clone()
    doubt[:, free] = solver.covariance().diagonal().sqrt().view(len(start), -1)
    return Completion(problem.entries(solver.unknowns), doubt, completion.given)


def near(before: Tensor, deviation: Tensor) -> Penalty:
    """What is known of unknowns that were estimated before."""
    root = torch.diag(1 / deviation)
    return lambda unknowns: (root @ (unknowns - before), root)


def squares(entries: Tensor, n: int, size: int) -> Tensor:
    """State generators ``(d, k, k)`` of entries ``(d, n k + m m)``."""
    rows = entries[:, : n * size].unflatten(-1, (n, size))
    return torch.nn.functional.pad(rows, (0, 0, 0, size - n))


class FiniteTransformations:
    r"""What finite elements miss equivariance by, a :data:`hgm.numerics.gauss_newton.Residuals`.

    Residuals :math:`T(L_g s, K_g a) - L_g T(s, a)`, ``(E P, n)``, in units of typical
    displacements where noise is typical; their variance is what the twins disagree by. Every
    element carries points of its own. Unknowns ``(d f,)`` are what generators have of some entries.

    Args:
        dynamics: Fitted model of the dynamics.
        state: States, ``(B, n)``, of which some are carried.
        action: Actions, ``(B, m)``.
        start: Entries ``(d, n k + m m)`` of the generators where unknowns are 0.
        basis: Entries ``(f, n k + m m)`` that each of them may have some of.
        far: How far elements go along each generator, ``(d,)``.
        size: Matrix size ``k``.
    """

    def __init__(
        self,
        dynamics: DynamicsModel,
        state: Tensor,
        action: Tensor,
        start: Tensor,
        basis: Tensor,
        far: Tensor,
        size: int,
    ) -> None:
        self.dynamics, self.start, self.basis, self.size = dynamics, start, basis, size
        num, each = _NUM_ELEMENTS * len(far), max(1, _NUM_POINTS // len(far))
        engine = torch.quasirandom.SobolEngine(len(far), scramble=True, seed=0)
        self.coords = (2 * engine.draw(num, dtype=torch.float64).to(far) - 1) * far
        rows = torch.arange(num * each, device=state.device) * len(state) // (num * each)
        rows = rows.view(each, num).mT
        self.state, self.action = state[rows], action[rows]
        self.next_state = self.state + self._values(self.state, self.action).mean(0)
        self.here = dynamics.precision(torch.cat((self.state, self.action), -1))

    def entries(self, unknowns: Tensor) -> Tensor:
        """Of the generators, ``(d, n k + m m)``."""
        return self.start + unknowns.view(len(self.start), -1) @ self.basis

    def __call__(self, unknowns: Tensor, derive: bool) -> Terms:
        """Residuals of all elements and points."""
        logs = self.coords @ self.entries(unknowns)
        element, turn = self._exp(logs)
        moved, turned = lie.act(element, self.state), lie.act(turn, self.action)
        expected = lie.act(element, self.next_state)
        there = self.dynamics.precision(torch.cat((moved, turned), -1))
        # Of a difference the variances add up.
        sure = 2 / (1 / self.here + 1 / there)
        scale = self.dynamics.scale / sure.sqrt()
        both = self._values(moved, turned)
        residual = (moved + both.mean(0) - expected) / scale
        disagreement = ((both[0] - both[1]) / scale / 2).square().sum(-1)
        residual, variance = residual.flatten(0, 1), disagreement.flatten()
        if not derive:
            return Terms(residual, variance, None)
        n = self.state.shape[-1]
        slope = self._jacobian(moved, turned)
        # Along an entry of a logarithm; it has so much of each generator's as its coordinate says.
        along = jacfwd(lambda some: self._exp(logs + some @ self.basis))
        of_state, of_action = (
            part.movedim(-1, 1) for part in along(unknowns.new_zeros(len(self.basis)))
        )
        fields = lie.field(of_state, self.state)  # (E, P, f, n)
        change = fields + fields @ slope[..., :n].mT
        change = change + lie.field(of_action, self.action) @ slope[..., n:].mT
        change = (change - lie.field(of_state, self.next_state)) / scale[..., None, :]
        change = self.coords[:, None, :, None, None] * change[:, :, None]
        return Terms(residual, variance, change.flatten(2, 3).flatten(0, 1))

    def _exp(self, entries: Tensor) -> tuple[Tensor, Tensor]:
        """Elements ``(E, k, k)`` and ``(E, m, m)`` of entries ``(E, n k + m m)`` of logarithms."""
        n, m = self.state.shape[-1], self.action.shape[-1]
        turns = entries[:, n * self.size :].unflatten(-1, (m, m))
        return lie.exp(squares(entries, n, self.size)), lie.exp(turns)

    def _values(self, state: Tensor, action: Tensor) -> Tensor:
        inputs = torch.cat((state, action), -1)
        value = self.dynamics.values(inputs.flatten(0, -2))
        return value.unflatten(1, inputs.shape[:-1])

    def _jacobian(self, state: Tensor, action: Tensor) -> Tensor:
        inputs = torch.cat((state, action), -1)
        slope = self.dynamics.predict(inputs.flatten(0, -2)).jacobian.mean(0)
        return slope.unflatten(0, inputs.shape[:-1])


def finite_misses(
    dynamics: DynamicsModel, state: Tensor, action: Tensor, entries: Tensor, far: Tensor, size: int
) -> Tensor:
    r"""What both twins miss equivariance by along generators, per radian, ``(p, 2, B, n)``.

    Half the difference of :math:`T(L s, K a) - L T(s, a)` in opposite elements, of which what is
    even in them drops out; in the units of :class:`FiniteTransformations`.

    Args:
        dynamics: Fitted model of the dynamics.
        state: States, ``(B, n)``.
        action: Actions, ``(B, m)``.
        entries: Of the generators, ``(p, n k + m m)``.
        far: How far elements go along each generator, ``(p,)``.
        size: Matrix size ``k``.
    """
    n, m = state.shape[-1], action.shape[-1]
    inputs = torch.cat((state, action), -1)
    following, here = state + dynamics.values(inputs), 1 / dynamics.precision(inputs)

    def missed(logs: Tensor) -> Tensor:
        element = lie.exp(squares(logs, n, size))
        turn = lie.exp(logs[:, n * size :].unflatten(-1, (m, m)))
        moved = torch.cat((lie.act(element, state), lie.act(turn, action)), -1)
        there = 1 / dynamics.precision(moved)
        scale = dynamics.scale * ((here + there) / 2).sqrt()
        change = dynamics.values(moved.flatten(0, 1)).unflatten(1, moved.shape[:2])
        expected = lie.act(element[:, None], following)
        return (moved[:, None, :, :n] + change.transpose(0, 1) - expected) / scale[:, None]

    steps = far[:, None] * entries
    return (missed(steps) - missed(-steps)) / (2 * far[:, None, None, None])


def snap_periods(generator: Tensor, unit: float | None = None) -> Tensor:
    r"""A compact generator whose frequencies have small rational ratios, exactly so.

    Compact one-parameter groups close, so eigenvalues :math:`\pm i \omega_j` are commensurable. A
    ratio to a known frequency that is within 0.06 of a multiple of a half, or within 0.03 of one
    of a third or a quarter, becomes it: a quaternion turns half as fast as what it describes, and
    noise of the Jacobian makes it look slower. Others, and generators that are not compact
    or not diagonalisable, stay as they are.

    What does not turn is left out where it is small, and stays as it is elsewhere: a screw shifts
    along its axis, a Jordan block of eigenvalues 0 that noise makes look diagonalisable.

    Args:
        generator: Shape ``(k, k)``.
        unit: Frequency that is known and that ratios are to; None, or 0: the largest.
    """
    values, vectors = torch.linalg.eig(generator)
    largest = unit or float(values.imag.max())
    if largest <= 0 or float(values.real.abs().max()) > _COMPACT * largest:
        return generator
    turns = values.imag.abs() >= _NEARER * largest
    right = vectors[:, turns]
    duals, covectors = torch.linalg.eig(generator.mT)
    left = covectors[:, duals.imag.abs() >= _NEARER * largest]
    overlap = left.mT @ right
    if len(overlap) != len(overlap.mT) or float(torch.linalg.cond(overlap)) > 1e4:
        return generator
    dual = torch.linalg.solve(overlap, left.mT)
    ratios = [_snap(float(ratio)) for ratio in values.imag[turns] / largest]
    frequencies = torch.tensor(ratios, dtype=generator.dtype, device=generator.device) * largest
    new = (
        right @ torch.diag(torch.complex(torch.zeros_like(frequencies), frequencies)) @ dual
    ).real
    turning = generator @ (right @ dual).real
    if float(torch.linalg.matrix_norm(new - turning, 2)) > _MOVED * largest:
        return generator
    still = generator - turning
    small = float(torch.linalg.matrix_norm(still, 2)) < _COMPACT * largest
    return new if small else new + still


def _snap(ratio: float) -> float:
    size = abs(ratio)
    for numbers, distance in ((_HALVES, _NEAR), (_THIRDS_AND_QUARTERS, _NEARER)):
        nearest = min(numbers, key=lambda number: abs(number - size))
        if abs(nearest - size) < distance:
            return math.copysign(nearest, ratio)
    return ratio


def frequency(generator: Tensor) -> float:
    """The largest frequency of a generator."""
    return float(torch.linalg.eigvals(generator).imag.max())
