r"""Dynamics that differ between tasks: are they inherited, as rewards are?

Where tasks have dynamics of their own, one policy still serves all of them if these are those of
the base task, moved:

.. math:: T_i(L_i s, K_i a) = L_i T_0(s, a).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from scipy.stats import ttest_1samp
from torch import Tensor
from torch.func import jacfwd

from hgm import lie
from hgm.dynamics import DynamicsModel
from hgm.dynamics.bent import BentDynamics
from hgm.numerics.fixed_point import fixed_point
from hgm.numerics.gauss_newton import GaussNewton, Terms
from hgm.numerics.ranks import ALONE
from hgm.symmetry.finite import frequency, snap_periods
from hgm.symmetry.frames import base_dynamics, carried, each_half, missed, pairs
from hgm.symmetry.inherited_rows import Both, refined_rows
from hgm.symmetry.samples import Samples, halves, thin

_SMALL = 2e-4  # share of the motion: less does not matter
_BLOCKS, _SURE = 20, 0.99  # of time, over which means are compared; how surely
_ROUNDS = 6
_AGAIN = 4  # rounds from where they end
_ROWS = 12  # rounds of rows that rewards do not see
_FEW, _MANY = 500, 2000  # transitions of a task that a step is made on; that choose
_MISFIT = 0.1  # of a typical displacement
_RIDGE = 1e-6
_RATES = [number / 2 for number in range(-6, 7)]  # turns of actions for one of what rewards see

Price = Callable[[Tensor], float]
"""Nats per transition that action elements ``(N, m, m)`` cost."""


def free_of_charge(turns: Tensor) -> float:
    """Rewards do not depend on the action."""
    return 0.0


def inherited_action_generators(
    samples: Samples,
    half: Tensor,
    generators: Tensor,
    coords: Tensor,
    start: Tensor,
    price: Price = free_of_charge,
) -> Tensor:
    """Action generators ``(d, m, m)`` that carry the base task's dynamics into all tasks'.

    Starts from given ones and from linear regressions ``f = A s + B a + c`` of every task, in which
    heredity means :math:`B_i K_i = L_i B_0`; then Gauss-Newton, with the base task's dynamics
    fitted anew in every round. Of the better end and those near it that keep the covariance of
    actions, and whose turns are a simple ratio to the states', Schwarz's criterion chooses.

    Args:
        samples: Scaled transitions of all tasks.
        half: Which twin learns from which, ``(N, B)``.
        generators: Scaled state generators, ``(d, k, k)``.
        coords: Coordinates of the tasks, ``(N, d)``.
        start: Action generators to start from, too.
        price: What rewards say against action elements.
    """
    few = Samples(*(thin(field, _FEW) for field in samples))
    few_half = thin(half, _FEW)
    elements = lie.exp(lie.hat(coords, generators))
    found: list[tuple[Tensor, float]] = []
    for guess in (_from_slopes(few, elements, coords), start):
        found.append(_turned(few, few_half, elements, coords, guess, _ROUNDS))
    best = min(found, key=lambda one: one[1])[0]
    many = Samples(*(thin(field, _MANY) for field in samples))
    guesses = _simpler(best, generators)
    return _simplest(many, thin(half, _MANY), elements, coords, guesses, price)


def again_inherited(
    samples: Samples, coords: Tensor, start: Both, free: Tensor, share: float = 1.0
) -> Both:
    """Generators as :func:`inherited_or_shared` fits them, none of them simplified.

    Args:
        samples: Scaled transitions of all tasks.
        coords: Coordinates of the tasks, ``(N, d)``.
        start: Generators that were found.
        free: Which entries of state generators rewards do not tell, ``(k, k)``.
        share: Of the transitions that were used then.
    """
    num = max(1, int(share * min(_FEW, samples.reward.shape[1] / share)))
    few = Samples(*(thin(field, num) for field in samples))
    half = thin(halves(samples.reward.shape).to(coords.device), num)
    if bool(free.any()):
        start = _rows(few, half, coords, start, free, _AGAIN)
    elements = lie.exp(lie.hat(coords, start.states))
    found, _ = _turned(few, half, elements, coords, start.actions, _AGAIN)
    return Both(start.states, found)


def _turned(
    samples: Samples, half: Tensor, elements: Tensor, coords: Tensor, start: Tensor, rounds: int
) -> tuple[Tensor, float]:
    """Action generators from given ones, and how surprising next states are by them."""

    def fitted(found: Tensor, sharp: bool = False) -> DynamicsModel:
        turns = lie.exp(lie.hat(coords, found))
        return base_dynamics(carried(samples, elements, turns), half, sharp)

    def better(flat: Tensor) -> Tensor:
        found = flat.view_as(start)
        return _step(samples, elements, coords, found, fitted(found)).flatten()

    found = fixed_point(better, start.flatten(), rounds).view_as(start)
    return found, fitted(found, sharp=True).surprise


def _simpler(action_generators: Tensor, generators: Tensor) -> list[tuple[int, Tensor]]:
    """Action generators and simpler ones nearby, with their numbers of parameters."""
    d, m, _ = action_generators.shape
    # In scaled coordinates the covariance of actions is about the identity.
    turning = (action_generators - action_generators.mT) / 2
    found = [(d * m * m, action_generators), (d * m * (m - 1) // 2, turning)]
    unit = float(torch.linalg.eigvals(generators[0]).imag.max()) if d == 1 else 0.0
    if unit > 0:
        found.append((0, snap_periods(turning[0], unit)[None]))
    return found


def _simplest(
    samples: Samples,
    half: Tensor,
    elements: Tensor,
    coords: Tensor,
    guesses: list[tuple[int, Tensor]],
    price: Price,
) -> Tensor:
    num, costs = samples.reward.numel(), []
    for free, guess in guesses:
        turns = lie.exp(lie.hat(coords, guess))
        surprise = base_dynamics(carried(samples, elements, turns), half).surprise
        costs.append(num * (surprise + price(turns)) + free / 2 * math.log(num))
    return guesses[min(range(len(costs)), key=costs.__getitem__)][1]


def _from_slopes(samples: Samples, elements: Tensor, coords: Tensor) -> Tensor:
    inputs, change = pairs(samples)
    n, m = samples.state.shape[-1], samples.action.shape[-1]
    table = torch.cat((inputs, torch.ones_like(inputs[..., :1])), -1)
    ridge = _RIDGE * table.shape[1] * torch.eye(table.shape[-1]).to(table)
    slopes = torch.linalg.solve(table.mT @ table + ridge, table.mT @ change).mT[..., n : n + m]
    turns = torch.linalg.pinv(slopes, rtol=1e-3) @ elements[:, :n, :n] @ slopes[:1]
    logs = lie.log(turns)
    fine = logs.isfinite().all(-1).all(-1)
    solved = torch.linalg.lstsq(coords[fine], logs[fine].flatten(1)).solution.unflatten(-1, (m, m))
    guesses = [solved]
    if len(solved) == 1:
        # A logarithm knows an angle up to whole turns only.
        sizes = logs[fine].norm(dim=(-2, -1))
        axis = logs[fine][sizes.argmax()]
        turn = float(torch.linalg.eigvals(axis).imag.abs().max())
        if turn > 0:
            guesses += [rate * axis[None] / turn for rate in _RATES]
    misfits = [
        float((lie.exp(lie.hat(coords, guess)) - turns).square().mean()) for guess in guesses
    ]
    return guesses[min(range(len(guesses)), key=misfits.__getitem__)]


def _step(
    samples: Samples,
    elements: Tensor,
    coords: Tensor,
    action_generators: Tensor,
    model: DynamicsModel,
) -> Tensor:
    n, shape = samples.state.shape[-1], action_generators.shape
    back = torch.linalg.inv(elements)
    state, next_state = (lie.act(back, part) for part in (samples.state, samples.next_state))

    def turned(unknowns: Tensor) -> Tensor:
        return lie.exp(-lie.hat(coords, unknowns.view(shape)))

    def residuals(unknowns: Tensor, derive: bool) -> Terms:
        action = lie.act(turned(unknowns), samples.action)
        prediction = model.predict(torch.cat((state, action), -1).flatten(0, 1))
        value = prediction.value.mean(0).view_as(state)
        residual = ((value - (next_state - state)) / model.scale).flatten(0, 1)
        variance = (model.noise / model.scale).square().sum().expand(len(residual))
        if not derive:
            return Terms(residual, variance, None)
        slope = prediction.jacobian.mean(0)[..., n:].unflatten(0, state.shape[:2])
        fields = lie.field(jacfwd(turned)(unknowns).movedim(-1, 1), samples.action)
        along = fields @ slope.mT / model.scale
        return Terms(residual, variance, along.flatten(0, 1))

    solver = GaussNewton(action_generators.flatten(), _MISFIT, damping=1e-3)
    for _ in range(2):
        trial = solver.propose(residuals(solver.unknowns, True), ALONE)
        solver.decide(residuals(trial, False), ALONE)
    return solver.unknowns.view(shape)


def inherited_rows(
    samples: Samples, coords: Tensor, start: Both, free: Tensor, rounds: int = _ROWS
) -> Both:
    """Generators whose rows that rewards do not see, `free (k, k)`, follow from heredity, too.

    The base task's dynamics are fitted anew in every round.

    Args:
        samples: Scaled transitions of all tasks.
        coords: Coordinates of the tasks, ``(N, d)``.
        start: Where to start.
        free: Which entries of state generators are unknown.
        rounds: How often.
    """
    few = Samples(*(thin(field, _FEW) for field in samples))
    half = thin(halves(samples.reward.shape).to(coords.device), _FEW)
    return _rows(few, half, coords, start, free, rounds)


def _rows(
    few: Samples, half: Tensor, coords: Tensor, start: Both, free: Tensor, rounds: int
) -> Both:
    shapes = start.states.shape, start.actions.shape

    def both(flat: Tensor) -> Both:
        parts = flat.split([shape.numel() for shape in shapes])
        return Both(*(part.view(shape) for part, shape in zip(parts, shapes, strict=True)))

    def better(flat: Tensor) -> Tensor:
        found = both(flat)
        model = base_dynamics(carried(few, *found.elements(coords)), half, sharp=False)
        found = refined_rows(few, coords, found, free, model)
        return torch.cat([part.flatten() for part in found])

    first = torch.cat([part.flatten() for part in start])
    return both(fixed_point(better, first, rounds))


def inherited_or_shared(
    model: DynamicsModel,
    samples: Samples,
    generators: Tensor,
    action_generators: Tensor,
    coords: Tensor,
    free: Tensor | None = None,
    price: Price = free_of_charge,
) -> tuple[Both, bool]:
    """Generators, and whether tasks inherit dynamics of their own by them.

    Only where tasks differ in their dynamics, and differ less in the base task's frame.

    Args:
        model: The dynamics of all tasks.
        samples: Scaled transitions of all tasks.
        generators: Scaled state generators, ``(d, k, k)``.
        action_generators: Of which the dynamics of all tasks are symmetric, if they are shared.
        coords: Coordinates of the tasks, ``(N, d)``.
        free: Which entries of state generators rewards do not tell, ``(k, k)``;
            None: none.
        price: What rewards say against action elements.
    """
    shared = Both(generators, action_generators)
    half = halves(samples.reward.shape).to(coords.device)
    if isinstance(model, BentDynamics):  # the base task's are straight
        model = base_dynamics(samples, half)
    differ = each_half(model, half, samples)
    if not len(generators) or not _positive(differ.shares - _SMALL):
        return shared, False
    if free is not None and bool(free.any()):
        generators, action_generators = inherited_rows(samples, coords, shared, free)
    found = inherited_action_generators(samples, half, generators, coords, action_generators, price)
    if len(found) == 1:
        size = generators.shape[-1]
        both = torch.block_diag(generators[0], found[0])
        found = snap_periods(both, frequency(generators[0]))[None, size:, size:]
    elements, turns = (lie.exp(lie.hat(coords, basis)) for basis in (generators, found))
    there = carried(samples, elements, turns)
    left = missed(model, half, samples)
    # Carried to where transitions were seen: in the base task's frame a group may shrink it.
    n = left.shape[-1]
    at_base = missed(base_dynamics(there, half), half, there) @ elements[:, :n, :n].mT
    explained = ((left / model.scale).square() - (at_base / model.scale).square()).sum(-1)
    less = _positive(explained / differ.motion.mean().clamp_min(1e-300) - differ.share / 2)
    return (Both(generators, found), True) if less else (shared, False)


def _positive(values: Tensor) -> bool:
    """Whether the mean of values ``(N, H)``, over stretches of time, is above 0 for sure."""
    means = values.mean(0)
    size = max(1, len(means) // _BLOCKS)
    blocks = means[: len(means) // size * size].view(-1, size).mean(1)
    return bool(ttest_1samp(blocks.cpu(), 0.0, alternative="greater").pvalue < 1 - _SURE)
