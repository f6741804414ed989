"""Whether one reward, moved by the elements, is every task's reward."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from hgm import lie
from hgm.evidence.actions import ACTION_TERMS
from hgm.evidence.beside import Both, Compared, judged
from hgm.evidence.everything import Everything, explained
from hgm.evidence.own import Left, Stage, leave, own
from hgm.evidence.statement import Statement, Tolerance, measure
from hgm.numerics.fourier import LENGTHSCALES, FourierRegression, enough_waves
from hgm.numerics.gram import gram_of
from hgm.numerics.maps import Maps, Splines, bent, joint_table, ridges, straight
from hgm.numerics.tails import Tails
from hgm.symmetry.samples import Seen

REWARDS = Tolerance(small=5e-6, large=1e-2, approximate=1e-2)
"""Shares of the rewards' variance: amplitudes of 0.2%, 10% and 10%."""

_OF_NOISE = 0.02
"""Share of what no model explains that a deviation may be: a seventh of its amplitude."""
_MOST_SMALL = 1e-3
"""However large the noise is: an amplitude of 3%."""

_WAVES = (384, 768, 1152)  # of the one reward, of at most 2, of 3, and of more coordinates
_FINE = (0.1, 0.2, 0.35, 0.6)  # standard deviations of the points: kinks are narrow
_OWN = Stage(128, LENGTHSCALES, 13)
_MAP_MISFIT = 1e-4  # share of the variance that such a map may miss
_BETTER = 0.25  # effect that a calibration may leave, relative to that without
_DOUBTS, _ROUNDING = 4.0, 1e-4  # predicted deviations, and radians, that an element may be off
_CALIBRATION = 0.1  # most that fitted factors are off, and shifts, in deviations
_SUP = 0.995  # quantile that stands for the largest deviation


class OneReward(NamedTuple):
    """How well one reward explains all tasks, on held-out transitions.

    Attributes:
        statement: The share of the rewards' variance that is a task's own.
        calibration: ``"same"``, ``"affine"`` or ``"increasing"``: what had to be allowed.
        largest: Largest deviation of a task's reward that is its own, in the units of the rewards.
        noise: Share of the variance that nothing explains.
        in_action: The share that is a task's own as a function of the action; None where that is
            not asked for.
    """

    statement: Statement
    calibration: str
    largest: float
    noise: float
    in_action: Statement | None = None


class Beyond(NamedTuple):
    """Everything that rewards may be functions of, where it explains more than what they see.

    Attributes:
        train: Training points, ``(N, B, p)``.
        held: Held-out points, ``(N, H, p)``.
        group: What carries them into the base task.
        actions: Which columns are actions.
    """

    train: Tensor
    held: Tensor
    group: Everything
    actions: slice


def one_reward(
    elements: Tensor,
    generators: Tensor,
    doubt: Tensor,
    train: Seen,
    held: Seen,
    tails: Tails | None = None,
    beyond: Beyond | None = None,
) -> OneReward:
    r"""Fits :math:`\psi_i(r_i(p)) = R(L_i^{-1} p)` to all tasks, and what each would add to it.

    `R` is a regression on training transitions, refitted to what it leaves. What a small change of
    its element would explain is taken off every task's residuals, up to four times the error that
    is predicted for it, and where rewards are calibrated what a factor and a shift of up to a tenth
    would. Then every task's own regression `h_i` learns what is left of its training rewards. On
    held-out rewards, with :math:`e_i` what `R` leaves of them, the effect is
    :math:`\langle e_i h_i \rangle` as a share of the variance: 0 unless a task knows something
    that the others do not.

    Rewards are compared as they are (:math:`\psi_i` the identity); if that is broken, after
    affine, then after increasing maps, the base task's left alone. A map that explains little is
    not believed.

    Args:
        elements: Left actions on the points, ``(N, k, k)``.
        generators: Of the group, ``(d, k, k)``.
        doubt: Predicted standard deviations of the elements, in radians, ``(N,)``.
        train: Points ``(N, B, q)`` and rewards that are learned from.
        held: Points and rewards that are judged by.
        tails: What bends long tails of points for regressions; None: nothing does.
        beyond: What a reward of everything explains first, before `R`; None: nothing does.
    """
    inverse = torch.linalg.inv(elements)
    places = (lie.act(inverse, train.points), lie.act(inverse, held.points))
    rewards = (train.reward, held.reward)
    first = taken = _look(places, rewards, generators, doubt, "same", tails, beyond)
    best = taken.again()
    for calibration, splines in (("affine", straight), ("increasing", bent)):
        if not best.statement.broken:
            break
        targets = _calibrated(
            _bend(places[0], tails), (train.reward, held.reward), splines(train.reward)
        )
        if targets is None:
            continue
        look = _look(places, targets, generators, doubt, calibration, tails, beyond)
        if look.effect < min(_BETTER * first.effect, taken.effect):
            taken, best = look, look.again()
    return best


class _Look(NamedTuple):
    """How large a deviation looks, and what is known of it after a second look."""

    effect: float
    again: Callable[[], OneReward]


def _look(
    places: Both,
    targets: Both,
    generators: Tensor,
    doubt: Tensor,
    name: str,
    tails: Tails | None,
    beyond: Beyond | None,
) -> _Look:
    dim = places[0].shape[-1]
    many = enough_waves(_WAVES, dim)
    stages = (Stage(many, LENGTHSCALES, 11), Stage(many, _FINE, 12), _OWN)
    least = _MAP_MISFIT if name == "increasing" else REWARDS.small

    if beyond is not None:
        places = _beside(places, beyond)

    def residuals(inputs: Both, wanted: Both, stages: Sequence[Stage]) -> tuple[Both, Left]:
        seen, rest, known = (inputs[0][..., :dim], inputs[1][..., :dim]), wanted, None
        if beyond is not None:
            more = (inputs[0][..., dim:], inputs[1][..., dim:])
            known = explained(more, wanted[0], beyond.group)
            rest = (wanted[0] - known.values[0], wanted[1] - known.values[1])
        there = (_bend(seen[0], tails), _bend(seen[1], tails))
        left = leave(there, rest, stages, slopes=True)
        along = _along(generators, seen, left, tails)
        if known is not None:
            along = (along[0] + known.along[0], along[1] + known.along[1])
        if name != "same":
            left = _off_calibration(wanted, left)
        return there, _off_elements(along, doubt, left)

    def compared(there: Both, wanted: Both, left: Left) -> Compared:
        found = own(there, left, _OWN)
        variance = wanted[1][..., 0].var(1).mean().clamp_min(1e-300)
        small = min(least + _OF_NOISE * found.noise / float(variance), _MOST_SMALL)
        tolerance = REWARDS._replace(small=small)
        return Compared(found, found.sure * variance, tolerance)

    wanted = (targets[0][..., None], targets[1][..., None])
    there, left = residuals(places, wanted, stages)
    found = compared(there, wanted, left)

    def crossed(inputs: Both, wanted: Both) -> Compared:
        there, rest = residuals(inputs, wanted, left.stages)
        return compared(there, wanted, rest)

    def in_action() -> Statement | None:
        """What is a task's own as a function of the action that it is in the base task."""
        if beyond is None:
            return None
        columns = slice(dim + beyond.actions.start, dim + beyond.actions.stop)
        turned = (places[0][..., columns], places[1][..., columns])
        # A task's own shift owes nothing to the action.
        shift = left.near.mean(1, keepdim=True)
        known = own(turned, left._replace(near=left.near - shift, far=left.far - shift), _OWN)
        variance = wanted[1][..., 0].var(1).mean().clamp_min(1e-300)
        return measure(_in_turn(known.product), _in_turn(known.sure * variance), ACTION_TERMS)

    def again() -> OneReward:
        statement = judged(found, crossed, places, wanted, _in_turn, beside=dim)
        largest = float(found.own.known.abs().flatten().quantile(_SUP))
        noise = found.own.noise / float(targets[1].var(1).mean().clamp_min(1e-300))
        return OneReward(statement, name, largest, noise, in_action())

    product, total = _in_turn(found.own.product), _in_turn(found.total)
    return _Look(measure(product, total, found.tolerance).effect, again)


def _beside(places: Both, beyond: Beyond) -> Both:
    """Places on what rewards see, and on everything."""
    more = (lie.act(beyond.group.inverse, part) for part in (beyond.train, beyond.held))
    near, far = (torch.cat(both, -1) for both in zip(places, more, strict=True))
    return near, far


def _along(generators: Tensor, places: Both, left: Left, tails: Tails | None) -> Both:
    """Derivatives of all regressions together along the group, ``(N, B, d)`` and ``(N, H, d)``."""
    assert left.slopes is not None, "they were asked for"
    parts = []
    for place, slope in zip(places, left.slopes, strict=True):
        steep = slope if tails is None else tails.back(slope, place[..., None, :])
        parts.append((lie.field(generators, place) @ steep.mT)[..., 0])
    return parts[0], parts[1]


def _bend(points: Tensor, tails: Tails | None) -> Tensor:
    return points if tails is None else tails(points)


def _in_turn(values: Tensor) -> Tensor:
    """Values of tasks ``(N, H)``, which take turns, ``(N H,)``."""
    return values.mT.flatten()


def _off_calibration(wanted: Both, left: Left) -> Left:
    """Residuals less what a factor and a shift of every task explain of training ones."""
    near, far = (
        torch.cat((torch.ones_like(target), target - rest), -1)
        for target, rest in zip(wanted, (left.near, left.far), strict=True)
    )
    most = _CALIBRATION * wanted[0].std(1, keepdim=True).expand(-1, 2, -1).clone()
    most[:, 1] = _CALIBRATION
    move = torch.linalg.lstsq(near, left.near).solution.clamp(-most, most)
    return left._replace(near=left.near - near @ move, far=left.far - far @ move)


def _off_elements(along: Both, doubt: Tensor, left: Left) -> Left:
    """Residuals less what small changes of the elements explain of training ones."""
    near, far = along
    if not near.shape[-1]:
        return left
    move = torch.linalg.lstsq(near, left.near).solution
    most = (_DOUBTS * doubt + _ROUNDING)[:, None, None]
    move = move * (most / move.norm(dim=1, keepdim=True).clamp_min(1e-300)).clamp_max(1.0)
    return left._replace(near=left.near - near @ move, far=left.far - far @ move)


def _calibrated(
    place: Tensor, rewards: tuple[Tensor, Tensor], splines: Splines
) -> tuple[Tensor, Tensor] | None:
    r"""Rewards in the base task's units, training and held-out; None if their order is lost.

    By splines and one regression on features of the points, see :mod:`hgm.numerics.maps`.
    """
    train, held = rewards
    centre, width = train.mean(1, keepdim=True), train.std(1, keepdim=True).clamp_min(1e-12)
    dim = place.shape[-1]
    one = FourierRegression(1, dim, 1, enough_waves(_WAVES, dim), seed=17)
    # Tasks take turns: the first rows choose the length scale.
    turns = ((train - centre) / width).mT.flatten()[None, :, None]
    one.accumulate(place.transpose(0, 1).flatten(0, 1)[None], turns)
    one.solve()
    waves = one.table(place.flatten(0, 1)[None])[0].unflatten(0, train.shape)
    table = joint_table(waves, splines.table(train))
    target = torch.cat((train[0], torch.zeros_like(train[1:]).flatten()))
    normal, size = gram_of(table), waves.shape[-1]
    normal = normal + torch.diag(ridges(one.fitted.ridge[0], size, normal))
    found = torch.linalg.solve(normal, table.mT @ target)[size:]
    maps = Maps(splines, splines.identity()).changed(found)
    return (maps(train), maps(held)) if maps.increase else None
