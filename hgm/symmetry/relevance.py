"""What rewards depend on: which coordinates, of which state, and which terms of the action."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from hgm.geometry.sight import SOURCES, action_table, seen_point
from hgm.numerics.fourier import draw_frequencies, features, fit, moments
from hgm.symmetry.samples import Samples, thin

_SCALES = (0.6, 1.0, 1.8, 3.2)
_WAVES, _ROWS, _TASKS = 96, 800, 8  # of the fits that choose
_MORE_WAVES, _MORE_ROWS = 384, 2000  # of those that look again, where rewards are not explained
_FINE_WAVES, _FINE_ROWS = 192, 4000  # of the one that is kept
_ACTION_WAVES = 32
_WORTH = 3e-4  # of what actions leave, that a coordinate must explain: smooth misfit does less
_LEFT = 0.1  # or it must leave no more of what is left without it, as misfit does not
_HOPELESS = 1.0  # nats per reward by which a source may be behind before coordinates are chosen
_GAIN = 0.1  # nats per reward that a coordinate must give: noise that is a tenth smaller


class ActionTerms(NamedTuple):
    r"""Additive terms of the reward in the action, :math:`g_i(a) = \psi(a)^T w_i`.

    Attributes:
        scale: Standard deviations of the actions, ``(m,)``.
        frequencies: Waves in scaled actions, ``(F, m)``, none where squares are enough.
        phases: Their phases, ``(F,)``.
        weights: One column a task, all equal where the terms are shared, ``(N, k)``.
        halves: The same from either half of the data alone, ``(2, N, k)``.
        shared: Whether all tasks have the same terms.
    """

    scale: Tensor
    frequencies: Tensor
    phases: Tensor
    weights: Tensor
    halves: Tensor
    shared: bool

    def table(self, action: Tensor) -> Tensor:
        """The features, ``(..., m) -> (..., k)``."""
        return action_table(action / self.scale, self.frequencies, self.phases)

    def __call__(self, action: Tensor) -> Tensor:
        """The terms at actions ``(N, B, m)``, ``(N, B)``."""
        return (self.table(action) @ self.weights[..., None])[..., 0]


class Sight(NamedTuple):
    """What rewards depend on.

    Attributes:
        source: One of :data:`hgm.geometry.sight.SOURCES`.
        columns: The coordinates that matter, ascending.
        terms: Terms of the action; None where there are none.
        noise: What is left of each task's rewards, in their standard deviations, ``(N,)``.
    """

    source: str
    columns: list[int]
    terms: ActionTerms | None
    noise: Tensor


def points_of(samples: Samples, source: str) -> Tensor:
    """What a reward may be a function of, ``(N, B, n)``."""
    return seen_point(samples.state, samples.next_state, source)


def look(samples: Samples, sources: Sequence[str] = SOURCES, seed: int = 0) -> Sight:
    """Finds out what rewards depend on, by the evidence of regressions.

    Coordinates enter one by one, the one of largest evidence first, until what is left is noise or
    another one no longer helps; then each must show that it cannot be left out. What few waves
    leave is looked at again with more of them, of more transitions.

    Args:
        samples: Transitions.
        sources: Which of :data:`hgm.geometry.sight.SOURCES` to choose from.
        seed: Seed of the waves.
    """
    tasks = slice(None, None, max(1, len(samples.reward) // _TASKS))
    few, more = (
        Samples(*(thin(field[tasks], n) for field in samples)) for n in (_ROWS, _MORE_ROWS)
    )
    found = []
    for source in sources:
        choices = [_choice(few, source, squares, seed, _WAVES) for squares in (False, True)]
        evidence = [choice.evidence(choice.every) for choice in choices]
        best = min(range(2), key=lambda squares: evidence[squares].cost)
        found.append((evidence[best], source, choices[best], bool(best)))
    num = few.reward.numel()
    least = min(one[0].cost for one in found)
    selected = []
    for evidence_of_all, source, choice, squares in found:
        if evidence_of_all.cost < least + _HOPELESS * num:
            columns, cost = _select(choice, evidence_of_all)
            selected.append((cost + _GAIN * num * len(columns), source, columns, squares))
    _, source, columns, squares = min(selected, key=lambda one: one[0])
    columns = _with_more(_choice(more, source, squares, seed, _MORE_WAVES), columns)
    terms = None
    if squares:
        terms = _terms(samples, points_of(samples, source)[..., columns], seed)
    cleaned = samples.reward if terms is None else samples.reward - terms(samples.action)
    chosen = _white(points_of(samples, source)[..., columns])
    noise = _noise(thin(chosen, _ROWS), thin(cleaned, _ROWS), seed)
    return Sight(source, columns, terms, noise)


class Evidence(NamedTuple):
    """Minus twice a log-evidence, and the share of the rewards' variance that is left."""

    cost: float
    left: float


def _choice(samples: Samples, source: str, squares: bool, seed: int, waves: int) -> _Choice:
    """By points alone, or also by squares of the action."""
    action = samples.action / _deviation(samples.action)
    none = action[..., :0]
    extra = action_table(action, none[0, 0], none[0, 0, :0]) if squares else none
    white, reward = _white(points_of(samples, source)), _standard(samples.reward)
    # Of what actions leave: they may be most of it.
    worth = _WORTH * _evidence(white[..., :0], extra, reward, seed, waves).left
    return _Choice(white, extra, reward, seed, waves, worth)


class _Choice(NamedTuple):
    """What coordinates are chosen by.

    Attributes:
        white: All of them, ``(N, B, n)``.
        extra: What else rewards are fitted by, ``(N, B, e)``.
        reward: Standardised rewards, ``(N, B)``.
        seed: Seed of the waves.
        waves: Their number.
        worth: Share of the variance that a coordinate must explain.
    """

    white: Tensor
    extra: Tensor
    reward: Tensor
    seed: int
    waves: int
    worth: float

    @property
    def every(self) -> list[int]:
        """All coordinates."""
        return list(range(self.white.shape[-1]))

    def evidence(self, columns: list[int]) -> Evidence:
        """Of some coordinates."""
        return _evidence(self.white[..., columns], self.extra, self.reward, self.seed, self.waves)

    def better(self, new: Evidence, old: Evidence, num: int) -> bool:
        """Whether so many more coordinates are worth it."""
        gain = new.cost < old.cost - _GAIN * self.reward.numel() * num
        return gain and new.left < max(old.left - self.worth, _LEFT * old.left)

    def needed(self, columns: list[int], evidence: Evidence) -> tuple[list[int], Evidence]:
        """Those coordinates that cannot be left out, one by one."""
        columns = list(columns)
        while len(columns) > 1:
            without = {j: self.evidence([k for k in columns if k != j]) for j in columns}
            least = min(without, key=lambda j: without[j].cost)
            if self.better(evidence, without[least], 1):
                break
            columns.remove(least)
            evidence = without[least]
        return sorted(columns), evidence


def _select(choice: _Choice, all_of_them: Evidence) -> tuple[list[int], float]:
    """Coordinates whose regression has about the largest evidence, and that evidence."""
    chosen: list[int] = []
    found = [choice.evidence([])]
    while len(chosen) < len(choice.every) and found[-1].left > choice.worth:
        tried = {j: choice.evidence([*chosen, j]) for j in choice.every if j not in chosen}
        best = min(tried, key=lambda j: tried[j].cost)
        chosen.append(best)
        found.append(tried[best])
        # One that does not help alone may help together with the next.
        if len(found) > 2 and not choice.better(found[-1], found[-3], 1):
            break
    kept = 1
    for num in range(2, len(found)):
        if choice.better(found[num], found[kept], num - kept):
            kept = num
    chosen, evidence = chosen[:kept], found[kept]
    if choice.better(all_of_them, evidence, len(choice.every) - kept):
        chosen, evidence = choice.every, all_of_them
    columns, evidence = choice.needed(chosen, evidence)
    return columns, evidence.cost


def _with_more(choice: _Choice, columns: list[int]) -> list[int]:
    """All coordinates, or those needed, if more waves explain far more by these than by some."""
    if len(columns) == len(choice.every):
        return columns
    some = choice.evidence(columns)
    if some.left < choice.worth:
        return columns
    every = choice.evidence(choice.every)
    # Clearly: where one of two that belong together is left out, what is seen has no symmetry.
    if not choice.better(every, some, 2 * (len(choice.every) - len(columns))):
        return columns
    return choice.needed(choice.every, every)[0]


def _evidence(white: Tensor, extra: Tensor, reward: Tensor, seed: int, waves: int) -> Evidence:
    """Of every task's own regression, all at the best length scale."""
    generator = torch.Generator().manual_seed(seed)
    omega, phases = (part.to(white) for part in draw_frequencies(white.shape[-1], waves, generator))
    found = []
    for scale in _SCALES if white.shape[-1] else (1.0,):
        table = torch.cat((features(white, omega / scale, phases), extra), -1)
        one = fit(moments(table, reward[..., None]))
        found.append(Evidence(float(one.cost.sum()), float(one.noise.mean())))
    return min(found)


def _noise(white: Tensor, reward: Tensor, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    omega, phases = (
        part.to(white) for part in draw_frequencies(white.shape[-1], _WAVES, generator)
    )
    fits = [
        fit(moments(features(white, omega / s, phases), _standard(reward)[..., None]))
        for s in _SCALES
    ]
    return torch.stack([one.noise for one in fits]).amin(0).sqrt()


def _terms(samples: Samples, points: Tensor, seed: int) -> ActionTerms:
    """Terms of the action beside a smooth function of points, shared or a task's own."""
    every = max(1, points.shape[1] // _FINE_ROWS)
    white, action = _white(points[:, ::every]), samples.action[:, ::every]
    reward = samples.reward[:, ::every]
    reward = reward - reward.mean(1, keepdim=True)
    scale = _deviation(samples.action)
    generator = torch.Generator().manual_seed(seed)
    omega, phases = (
        part.to(white) for part in draw_frequencies(white.shape[-1], _FINE_WAVES, generator)
    )
    waves = [
        part.to(white) for part in draw_frequencies(action.shape[-1], _ACTION_WAVES, generator)
    ]
    plain = waves[0][:0], waves[1][:0]
    found = []
    for own in (plain, (waves[0], waves[1])):
        extra = action_table(action / scale, *own)
        for length in _SCALES:
            table = torch.cat((features(white, omega / length, phases), extra), -1)
            cost = float(fit(moments(table, reward[..., None])).cost.sum())
            found.append((cost, length, own, extra))
    _, length, own, extra = min(found, key=lambda one: one[0])
    table = features(white, omega / length, phases)
    blocks = torch.arange(table.shape[1], device=table.device) * 8 // table.shape[1] % 2
    parts = [
        _eliminate(table[:, mine], extra[:, mine], reward[:, mine])
        for mine in (slice(None), blocks == 0, blocks == 1)
    ]
    separate, together = (
        [_solve(*part, shared=shared) for part in parts] for shared in (False, True)
    )
    # Schwarz's criterion: own terms must earn their number.
    num, k = reward.numel(), extra.shape[-1]
    square = [_misfit(*parts[0], weights) for weights in (separate[0], together[0])]
    free = (len(reward) - 1) * k
    shared = num * math.log(square[1] / square[0]) < free * math.log(num)
    weights, *halves = together if shared else separate
    return ActionTerms(scale, own[0], own[1], weights, torch.stack(halves), bool(shared))


def _eliminate(table: Tensor, extra: Tensor, reward: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Normal equations of the extra weights once each task's own function has followed them."""
    both = torch.cat((extra, reward[..., None]), -1)
    # The ridge that fits once the action is known: without it, everything else looks like noise.
    found = fit(moments(torch.cat((table, extra), -1), reward[..., None]))
    ridge = found.ridge[:, None, None] * torch.eye(table.shape[-1]).to(table)
    shared = table.mT @ both
    left = both.mT @ both - shared.mT @ torch.linalg.solve(table.mT @ table + ridge, shared)
    return left[:, :-1, :-1], left[:, :-1, -1], left[:, -1, -1]


def _solve(normal: Tensor, cross: Tensor, square: Tensor, shared: bool) -> Tensor:
    if shared:
        normal, cross = (part.sum(0, keepdim=True) for part in (normal, cross))
    ridge = 1e-8 * normal.diagonal(dim1=-2, dim2=-1).mean(-1)[:, None, None]
    eye = torch.eye(normal.shape[-1]).to(normal)
    return torch.linalg.solve(normal + ridge * eye, cross[..., None])[..., 0].expand(
        len(square), -1
    )


def _misfit(normal: Tensor, cross: Tensor, square: Tensor, weights: Tensor) -> float:
    quadratic = torch.einsum("nk,nkl,nl->n", weights, normal, weights)
    rest = square - 2 * (cross * weights).sum(-1) + quadratic
    return float(rest.sum().clamp_min(1e-12 * square.sum()))


def _white(points: Tensor) -> Tensor:
    return (points - points.flatten(0, 1).mean(0)) / _deviation(points)


def _standard(reward: Tensor) -> Tensor:
    reward = reward - reward.mean(1, keepdim=True)
    return reward / reward.std(1, keepdim=True).clamp_min(1e-12)


def _deviation(values: Tensor) -> Tensor:
    deviation = values.flatten(0, 1).std(0)
    return torch.where(deviation > 1e-12, deviation, 1.0)
