r"""Dynamics that differ between tasks: are they inherited, as rewards are?

Where tasks have dynamics of their own, one policy still serves all of them if these are those of
the base task, moved:

.. math:: T_i(L_i s, K_i a) = L_i T_0(s, a).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from scipy.stats import ttest_1samp
from torch import Tensor
from torch.func import jacfwd

from hgm import lie
from hgm.dynamics import DynamicsModel
from hgm.numerics.fixed_point import fixed_point
from hgm.numerics.gauss_newton import Terms
from hgm.symmetry.finite import frequency, snap_periods
from hgm.symmetry.frames import base_dynamics, carried, each_half, missed, pairs
from hgm.symmetry.inheritance import Both, stepped
from hgm.symmetry.inherited_places import Told, refined_places
from hgm.symmetry.inherited_rows import refined_rows
from hgm.symmetry.samples import Samples, halves, thin

_SMALL = 2e-4  # share of the motion: less does not matter
_BLOCKS, _SURE = 20, 0.99  # of time, over which means are compared; how surely
_ROUNDS = 6
_AGAIN = 4  # rounds from where they end
_ROWS = 12  # rounds of rows that rewards do not see
_FEW, _MANY = 500, 2000  # transitions of a task that a step is made on; that choose
_TOGETHER = 64  # tasks that are placed
_FEWEST, _ENTRIES = 100, 1 << 20  # transitions of a task that it is placed by; times tasks squared
_LOOSE = 10.0  # times the deviation that rewards state, which knows nothing of their misfit
_RIDGE = 1e-6
_RATES = [number / 2 for number in range(-6, 7)]  # turns of actions for one of what rewards see

Price = Callable[[Tensor], float]
"""Nats per transition that action elements ``(N, m, m)`` cost."""


def free_of_charge(turns: Tensor) -> float:
    """Rewards do not depend on the action."""
    return 0.0


class Heirs(NamedTuple):
    """Tasks, and where they are in the group.

    Attributes:
        samples: Scaled transitions of all tasks.
        half: Which twin learns from which, ``(N, B)``.
        coords: Coordinates of the tasks, ``(N, d)``.
        like: A model in whose coordinates the base task's dynamics are learned; None: straight.
    """

    samples: Samples
    half: Tensor
    coords: Tensor
    like: DynamicsModel | None = None

    @classmethod
    def of(cls, samples: Samples, coords: Tensor, like: DynamicsModel | None = None) -> Heirs:
        """Tasks whose transitions take turns to be learned by either twin."""
        return cls(samples, halves(samples.reward.shape).to(coords.device), coords, like)

    def few(self, num: int) -> Heirs:
        """About `num` transitions of every task."""
        # Halves anew: every hundredth transition is always of the same.
        samples = Samples(*(thin(field, num) for field in self.samples))
        return Heirs.of(samples, self.coords, self.like)

    def base(self, group: Both, sharp: bool = True) -> DynamicsModel:
        """The base task's dynamics, if generators are these."""
        return base_dynamics(self.at_base(group), self.half, self.like, sharp)

    def at_base(self, group: Both) -> Samples:
        """Transitions in the base task's frame."""
        return carried(self.samples, *group.elements(self.coords))


class Heritage(NamedTuple):
    """What tasks inherit.

    Attributes:
        group: Generators on states and actions.
        inherited: Whether tasks have dynamics of their own, which these carry into each other.
        free: What of those on states heredity told, orthonormal, ``(u, k, k)``.
    """

    group: Both
    inherited: bool
    free: Tensor


def inherited_action_generators(heirs: Heirs, start: Both, price: Price = free_of_charge) -> Tensor:
    """Action generators ``(d, m, m)`` that carry the base task's dynamics into all tasks'.

    Starts from given ones and from linear regressions ``f = A s + B a + c`` of every task, in which
    heredity means :math:`B_i K_i = L_i B_0`; then Gauss-Newton, with the base task's dynamics
    fitted anew in every round. Of the better end and those near it that keep the covariance of
    actions, and whose turns are a simple ratio to the states', Schwarz's criterion chooses.

    Args:
        heirs: The tasks.
        start: Generators; those of actions are a start.
        price: What rewards say against action elements.
    """
    few = heirs.few(_FEW)
    guesses = (_from_slopes(few, start), start)
    best = min((_turned(few, guess, _ROUNDS) for guess in guesses), key=lambda one: one[1])[0]
    return _simplest(heirs.few(_MANY), _simpler(best), price)


def again_inherited(heirs: Heirs, start: Both, free: Tensor, share: float = 1.0) -> Both:
    """Generators as :func:`inherited_or_shared` fits them, none of them simplified.

    Args:
        heirs: The tasks.
        start: Generators that were found.
        free: What of state generators rewards do not tell, orthonormal, ``(u, k, k)``.
        share: Of the transitions that were used then.
    """
    few = heirs.few(max(1, int(share * min(_FEW, heirs.samples.reward.shape[1] / share))))
    if len(free):
        start = inherited_rows(few, start, free, _AGAIN)
    return _turned(few, start, _AGAIN)[0]


def placed(heirs: Heirs, told: Told, group: Both) -> Tensor:
    """Coordinates ``(N, d)`` by the dynamics that tasks inherit, and by what rewards say of them.

    The likeliest of where they were, of what both say, and of what dynamics say nearly alone. Of
    more than 64 tasks, where they were.

    Args:
        heirs: The tasks.
        told: What rewards say.
        group: Generators.
    """
    if not len(group.states) or len(heirs.coords) > _TOGETHER:
        return heirs.coords
    # Tasks are moved together, in a table that grows with their square.
    heirs = heirs.few(max(_FEWEST, min(_MANY, _ENTRIES // len(heirs.coords) ** 2)))
    num, costs, ends = heirs.samples.reward.numel(), [], [heirs.coords]
    for loose in (1.0, _LOOSE):
        ends.append(_moved(heirs, told._replace(deviation=loose * told.deviation), group))
    for end in ends:
        price = float(told.misfit(end).square().sum()) / 2
        costs.append(num * heirs._replace(coords=end).base(group, sharp=False).surprise + price)
    return ends[min(range(len(costs)), key=costs.__getitem__)]


def _moved(heirs: Heirs, told: Told, group: Both) -> Tensor:
    def better(flat: Tensor) -> Tensor:
        coords = torch.cat((heirs.coords[:1], flat.view_as(heirs.coords[1:])))
        model = heirs._replace(coords=coords).base(group, sharp=False)
        return refined_places(heirs.samples, coords, told, group, model)[1:].flatten()

    flat = fixed_point(better, heirs.coords[1:].flatten(), _ROUNDS)
    return torch.cat((heirs.coords[:1], flat.view_as(heirs.coords[1:])))


def _turned(heirs: Heirs, start: Both, rounds: int) -> tuple[Both, float]:
    """Action generators from given ones, and how surprising next states are by them."""

    def better(flat: Tensor) -> Tensor:
        found = start._replace(actions=flat.view_as(start.actions))
        return _step(heirs, found, heirs.base(found, sharp=False)).flatten()

    flat = fixed_point(better, start.actions.flatten(), rounds)
    found = start._replace(actions=flat.view_as(start.actions))
    return found, heirs.base(found).surprise


def _simpler(found: Both) -> list[tuple[int, Both]]:
    """Generators and simpler ones of actions nearby, with their numbers of parameters."""
    d, m, _ = found.actions.shape
    # In scaled coordinates the covariance of actions is about the identity.
    turning = (found.actions - found.actions.mT) / 2
    guesses = [(d * m * m, found.actions), (d * m * (m - 1) // 2, turning)]
    unit = float(torch.linalg.eigvals(found.states[0]).imag.max()) if d == 1 else 0.0
    if unit > 0:
        guesses.append((0, snap_periods(turning[0], unit)[None]))
    return [(free, found._replace(actions=guess)) for free, guess in guesses]


def _simplest(heirs: Heirs, guesses: list[tuple[int, Both]], price: Price) -> Tensor:
    num, costs = heirs.samples.reward.numel(), []
    for free, guess in guesses:
        nats = heirs.base(guess).surprise + price(guess.elements(heirs.coords).actions)
        costs.append(num * nats + free / 2 * math.log(num))
    return guesses[min(range(len(costs)), key=costs.__getitem__)][1].actions


def _from_slopes(heirs: Heirs, start: Both) -> Both:
    samples, coords = heirs.samples, heirs.coords
    elements = start.elements(coords).states
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
    return start._replace(actions=guesses[min(range(len(guesses)), key=misfits.__getitem__)])


def _step(heirs: Heirs, start: Both, model: DynamicsModel) -> Tensor:
    samples, coords = heirs.samples, heirs.coords
    n, shape = samples.state.shape[-1], start.actions.shape
    back = torch.linalg.inv(start.elements(coords).states)
    state, next_state = (lie.act(back, part) for part in (samples.state, samples.next_state))

    def turned(unknowns: Tensor) -> Tensor:
        return lie.exp(-lie.hat(coords, unknowns.view(shape)))

    def residuals(unknowns: Tensor, derive: bool) -> Terms:
        action = lie.act(turned(unknowns), samples.action)
        prediction = model.predict(torch.cat((state, action), -1).flatten(0, 1))
        value = prediction.value.mean(0).view_as(state)
        (found, read), (seen, _) = map(model.reading, (state + value, next_state))
        residual = (found - seen).flatten(0, 1)
        variance = model.left_over.square().sum().expand(len(residual))
        if not derive:
            return Terms(residual, variance, None)
        slope = prediction.jacobian.mean(0)[..., n:].unflatten(0, state.shape[:2])
        fields = lie.field(jacfwd(turned)(unknowns).movedim(-1, 1), samples.action)
        along = fields @ slope.mT * read[..., None, :]
        return Terms(residual, variance, along.flatten(0, 1))

    return stepped(start.actions.flatten(), residuals).view(shape)


def inherited_rows(heirs: Heirs, start: Both, free: Tensor, rounds: int = _ROWS) -> Both:
    """Generators of which what rewards do not tell follows from heredity, too.

    The base task's dynamics are fitted anew in every round.

    Args:
        heirs: The tasks.
        start: Where to start.
        free: Which entries of state generators are unknown.
        rounds: How often.
    """
    shapes = start.states.shape, start.actions.shape

    def both(flat: Tensor) -> Both:
        parts = flat.split([shape.numel() for shape in shapes])
        return Both(*(part.view(shape) for part, shape in zip(parts, shapes, strict=True)))

    def better(flat: Tensor) -> Tensor:
        found = both(flat)
        model = heirs.base(found, sharp=False)
        found = refined_rows(heirs.samples, heirs.coords, found, free, model)
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
    spare: Tensor | None = None,
    price: Price = free_of_charge,
) -> Heritage:
    """Generators by which tasks inherit dynamics of their own, or the given ones.

    Only where tasks differ in their dynamics, and differ less in the base task's frame.

    Args:
        model: The dynamics of all tasks.
        samples: Scaled transitions of all tasks.
        generators: Scaled state generators, ``(d, k, k)``.
        action_generators: Of which the dynamics of all tasks are symmetric, if they are shared.
        coords: Coordinates of the tasks, ``(N, d)``.
        free: What of state generators rewards do not see, orthonormal, ``(u, k, k)``; None:
            nothing.
        spare: What leaves rewards alone, likewise ``(z, k, k)``: given generators are as good as
            any with more or less of it, which then follows from heredity if that is likelier.
        price: What rewards say against action elements.
    """
    shared = Both(generators, action_generators)
    heirs = Heirs.of(samples, coords, model)
    differ = each_half(model, heirs.half, samples)
    if not len(generators) or not _positive(differ.shares - _SMALL):
        return Heritage(shared, False, generators[:0])
    start, free = _start(heirs.few(_FEW), shared, free, spare)
    found = inherited_action_generators(heirs, start, price)
    if len(found) == 1:
        found = Both(start.states, found).periodic(frequency(start.states[0])).actions
    inherited = Both(start.states, found)
    # Carried to where transitions were seen: in the base task's frame a group may shrink it.
    n = samples.state.shape[-1]
    away = inherited.elements(coords).states[:, :n, :n].mT
    # Waves here and there: what only another kind of model explains says nothing of heredity.
    pooled, base = base_dynamics(samples, heirs.half, model), heirs.base(inherited)
    left = (
        missed(pooled, heirs.half, samples),
        missed(base, heirs.half, heirs.at_base(inherited)) @ away,
    )
    seen = model.reading(samples.next_state)[0]
    there, here = ((model.reading(samples.next_state + one)[0] - seen).square() for one in left)
    explained = (there - here).sum(-1)
    less = _positive(explained / differ.motion.mean().clamp_min(1e-300) - differ.share / 2)
    return Heritage(inherited, True, free) if less else Heritage(shared, False, generators[:0])


def _start(
    heirs: Heirs, shared: Both, free: Tensor | None, spare: Tensor | None
) -> tuple[Both, Tensor]:
    """Generators of which what rewards do not tell follows from heredity, and what that is.

    By Schwarz's criterion, of entries that rewards do not see, or also of what leaves them alone.
    """
    nothing = shared.states[:0]
    free, spare = (nothing if part is None else part for part in (free, spare))
    if not len(spare):
        return inherited_rows(heirs, shared, free) if len(free) else shared, free
    choices = [free, torch.cat((free, spare))]
    found, costs = [], []
    num, dim = heirs.samples.reward.numel(), len(shared.states)
    for one in choices:
        found.append(inherited_rows(heirs, shared, one))
        nats = heirs.base(found[-1], sharp=False).surprise
        costs.append(num * nats + dim * len(one) / 2 * math.log(num))
    best = costs.index(min(costs))
    return found[best], choices[best]


def _positive(values: Tensor) -> bool:
    """Whether the mean of values ``(N, H)``, over stretches of time, is above 0 for sure."""
    means = values.mean(0)
    size = max(1, len(means) // _BLOCKS)
    blocks = means[: len(means) // size * size].view(-1, size).mean(1)
    return bool(ttest_1samp(blocks.cpu(), 0.0, alternative="greater").pvalue < 1 - _SURE)
