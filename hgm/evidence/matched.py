"""Transitions, less what the group makes of others that are nearest to them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from hgm import lie
from hgm.dynamics import DynamicsModel
from hgm.numerics.fourier import Whitening, whitening
from hgm.symmetry.findings import Findings
from hgm.symmetry.frames import carried, pairs
from hgm.symmetry.samples import Samples, halves
from hgm.symmetry.scaled import Spanned

_ROWS = 10_000
_FOLDS = 8
_ELEMENTS, _FAR = 64, 0.75  # elements of the group; share of them that move states most
_NEAREST, _THIN = 8, 16
_LEAST_FARTHER = 0.1
_ACTION = 0.25  # unit of actions: obstacles have places, and regressions know what actions do
_NEAR = 0.98  # quantile of the distances of transitions to each other
_JUDGES = 1000


class Matched(NamedTuple):
    """Transitions that have others beside them, K of them.

    Attributes:
        place: Middles of the predicted motions, whitened, ``(K, n)``.
        push: Predicted displacements, in units of their deviations, ``(K, n)``.
        excess: Residuals less those of the others, in these units, ``(K, n)``.
        blur: What the distance to the others may add to it, ``(K, n)``.
        fold: Excesses of different folds have no transition in common, ``(K,)``.
        motion: Mean square of the displacements' deviations from their mean.
    """

    place: Tensor
    push: Tensor
    excess: Tensor
    blur: Tensor
    fold: Tensor
    motion: float


def matched(findings: Findings, train: Samples, held: Samples) -> Matched:
    r"""Every transition's residual, less the mean of those of carried transitions beside it.

    With :math:`e(s, a, s') = s' - s - f(s, a)`, the excess of a transition is :math:`e` less the
    mean over the nearest :math:`(L_g s, K_g a, L_g s')`, where `g` is one of many elements that are
    not near the identity, and the transition one of the same fold. `f` is one function in all
    frames: whatever it is, excesses have mean 0 where the group is a symmetry, but for the distance
    to the others. Others of a thinner set are farther off: what they differ by, over the share that
    is added to the distance, is what the excess may be off by.

    Args:
        findings: What the search left.
        train: Scaled training transitions.
        held: Scaled held-out ones.
    """
    model, n = findings.dynamics.model, held.state.shape[-1]
    half = torch.cat([halves(some.reward.shape) for some in (train, held)], 1)
    fresh = 1 - _in_turn(half).to(train.reward.device)  # the twin that did not learn from it
    joined = (torch.cat(both, 1) for both in zip(train, held, strict=True))
    rows = Samples(*(_in_turn(field) for field in joined))
    inputs, change = pairs(rows)
    push = _predicted(model, inputs, fresh)
    of_states, of_actions = (whitening(part) for part in inputs.split((n, inputs.shape[1] - n), 1))

    def where(some: Tensor) -> np.ndarray:
        unit = (of_states(some[:, :n]), _ACTION * of_actions(some[:, n:]))
        return torch.cat(unit, -1).cpu().numpy()

    element, turn = _far(findings, rows.state, of_states)
    fold = torch.randint(_FOLDS, (len(push),), generator=torch.Generator().manual_seed(0))
    excess, blur = change / model.scale - push, torch.zeros_like(push)
    distance = torch.zeros(len(push), dtype=torch.float64)
    for own in (fold == torch.arange(_FOLDS)[:, None]).to(push.device):
        some = Samples(*(field[own].expand(len(turn), *field[own].shape) for field in rows))
        there, moved = (part.flatten(0, 1) for part in pairs(carried(some, element, turn)))
        (beside, close), (beyond, far) = (
            _nearest(there[::thin], where, inputs[own], moved[::thin], model, fresh[own])
            for thin in (1, _THIN)
        )
        excess[own] -= beside
        farther = far.mean() / close.mean().clamp_min(1e-300) - 1
        blur[own] = (beyond - beside) / farther.clamp_min(_LEAST_FARTHER).to(push)
        distance[own.cpu()] = close
    here = where(inputs)
    apart = cKDTree(here).query(here[:: max(1, len(here) // _JUDGES)], 2)[0][:, 1]
    kept = distance <= np.quantile(apart, _NEAR)
    middle = of_states(rows.state + push * model.scale / 2)
    motion = float((change / model.scale).var(0).sum().clamp_min(1e-300))
    there = kept.to(push.device)
    return Matched(
        middle[there],
        push[there],
        excess[there],
        blur[there],
        fold[kept],
        motion,
    )


def _nearest(
    there: Tensor,
    where: Callable[[Tensor], np.ndarray],
    inputs: Tensor,
    moved: Tensor,
    model: DynamicsModel,
    fresh: Tensor,
) -> tuple[Tensor, Tensor]:
    """Mean residuals of the nearest of others, and mean distances of these.

    By the twin that did not learn from a transition: its error is the same beside it.
    """
    tree = cKDTree(where(there), balanced_tree=False, compact_nodes=False)
    distances, nearest = tree.query(where(inputs), _NEAREST)
    index = torch.from_numpy(nearest).flatten().to(inputs.device)
    expected = _predicted(model, there[index], fresh.repeat_interleave(_NEAREST))
    left = moved[index] / model.scale - expected
    return left.unflatten(0, (-1, _NEAREST)).mean(1), torch.from_numpy(distances.mean(1))


def _in_turn(field: Tensor) -> Tensor:
    """Rows ``(N, B, ...)`` of all tasks, which take turns, at most about 10,000 of them."""
    stride = -(-field.shape[:2].numel() // _ROWS)
    return field[:, ::stride].transpose(0, 1).flatten(0, 1)


def _predicted(model: DynamicsModel, inputs: Tensor, twin: Tensor) -> Tensor:
    both = model.values(inputs)
    return torch.where(twin[:, None] == 0, both[0], both[1]) / model.scale


def _far(findings: Findings, states: Tensor, white: Whitening) -> tuple[Tensor, Tensor]:
    """Elements all over the group that are not near the identity, on states and on actions."""
    group = Spanned(findings.generators, states.shape[-1])
    where = group.spread(round(_ELEMENTS / _FAR) + 1, findings.coords / 2)[1:]
    element, turn = (
        lie.exp(lie.hat(where, basis))
        for basis in (findings.generators, findings.action_generators)
    )
    some = states[:: max(1, len(states) // _JUDGES)]
    moved = (white(lie.act(element, some.expand(len(where), *some.shape))) - white(some)).square()
    most = moved.sum(-1).mean(-1).argsort(descending=True)[:_ELEMENTS]
    return element[most], turn[most]
