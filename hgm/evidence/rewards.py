"""Whether one reward, moved by the elements, is every task's reward."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from hgm import lie
from hgm.evidence.beside import Both, Compared, judged
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
    """

    statement: Statement
    calibration: str
    largest: float
    noise: float


def one_reward(
    elements: Tensor,
    generators: Tensor,
    doubt: Tensor,
    train: Seen,
    held: Seen,
    tails: Tails | None = None,
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
    """
    inverse = torch.linalg.inv(elements)
    places = (lie.act(inverse, train.points), lie.act(inverse, held.points))
    first = taken = _look(places, (train.reward, held.reward), generators, doubt, "same", tails)
    best = taken.again()
    for calibration, splines in (("affine", straight), ("increasing", bent)):
        if not best.statement.broken:
            break
        targets = _calibrated(
            _bend(places[0], tails), (train.reward, held.reward), splines(train.reward)
        )
        if targets is None:
            continue
        look = _look(places, targets, generators, doubt, calibration, tails)
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
) -> _Look:
    dim = places[0].shape[-1]
    many = enough_waves(_WAVES, dim)
    stages = (Stage(many, LENGTHSCALES, 11), Stage(many, _FINE, 12), _OWN)
    least = _MAP_MISFIT if name == "increasing" else REWARDS.small

    def compare(
        inputs: Both, wanted: Both, stages: Sequence[Stage]
    ) -> tuple[Compared, Sequence[Stage]]:
        there = (_bend(inputs[0], tails), _bend(inputs[1], tails))
        left = leave(there, wanted, stages, slopes=True)
        if tails is not None and left.slopes is not None:
            near, far = (
                tails.back(slope, place[..., None, :])
                for slope, place in zip(left.slopes, inputs, strict=True)
            )
            left = left._replace(slopes=(near, far))
        if name != "same":
            left = _off_calibration(wanted, left)
        found = own(there, _off_elements(generators, doubt, inputs, left), _OWN)
        variance = wanted[1][..., 0].var(1).mean().clamp_min(1e-300)
        small = min(least + _OF_NOISE * found.noise / float(variance), _MOST_SMALL)
        tolerance = REWARDS._replace(small=small)
        return Compared(found, found.sure * variance, tolerance), left.stages

    wanted = (targets[0][..., None], targets[1][..., None])
    found, likeliest = compare(places, wanted, stages)

    def crossed(inputs: Both, wanted: Both) -> Compared:
        return compare(inputs, wanted, likeliest)[0]

    def again() -> OneReward:
        statement = judged(found, crossed, places, wanted, _in_turn)
        largest = float(found.own.known.abs().flatten().quantile(_SUP))
        noise = found.own.noise / float(targets[1].var(1).mean().clamp_min(1e-300))
        return OneReward(statement, name, largest, noise)

    product, total = _in_turn(found.own.product), _in_turn(found.total)
    return _Look(measure(product, total, found.tolerance).effect, again)


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


def _off_elements(generators: Tensor, doubt: Tensor, places: Both, left: Left) -> Left:
    """Residuals less what small changes of the elements explain of training ones."""
    if not len(generators) or left.slopes is None:
        return left
    near, far = (
        (lie.field(generators, place) @ slope.mT)[..., 0]
        for place, slope in zip(places, left.slopes, strict=True)
    )
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
