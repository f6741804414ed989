"""Whether all tasks share their dynamics, and whether these share the group."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from hgm import lie
from hgm.dynamics import DynamicsModel
from hgm.evidence.statement import Statement, Tolerance, ignorance, measure
from hgm.symmetry.findings import Findings
from hgm.symmetry.heredity import base_dynamics, carried, own_dynamics, pairs
from hgm.symmetry.samples import Samples
from hgm.symmetry.scaled import Spanned

DYNAMICS = Tolerance(small=2e-3, large=6e-2, approximate=1e-2)
"""Shares of the motion: amplitudes of 4.5%, 24% and 10%."""

_ELEMENTS, _POINTS, _DATA = 16, 200, 3000
_INDEPENDENT = 8  # errors of a regression of the dynamics, about
_NEAR = 0.98  # quantile of the distance of data to their neighbours: beyond, nothing is known
_JUDGES = 600


def homogeneous(findings: Findings, half: Tensor, train: Samples, held: Samples) -> Statement:
    """Whether a task's own dynamics add anything to those of all tasks, a share of the motion.

    Where dynamics are inherited, all tasks' transitions are compared in the base task's frame.

    Args:
        findings: What the search left.
        half: Which twin learned from a training transition, ``(N, B)``.
        train: Scaled training transitions.
        held: Scaled held-out ones.
    """
    model = findings.dynamics.model
    if findings.inherited:
        elements, turns = (
            lie.exp(lie.hat(findings.coords, basis))
            for basis in (findings.generators, findings.action_generators)
        )
        train, held = (carried(some, elements, turns) for some in (train, held))
        model = base_dynamics(train, half)
    own = own_dynamics(model, half, train, held)
    return measure(own.deviation.mT.flatten(), own.motion.mT.flatten(), DYNAMICS)


class Equivariance(NamedTuple):
    """Whether the group is a symmetry of the dynamics.

    Attributes:
        statement: The share of the motion that is not equivariant.
        coverage: Share of transitions that are carried to where there are data.
    """

    statement: Statement
    coverage: float


def equivariant(
    model: DynamicsModel,
    generators: Tensor,
    action_generators: Tensor,
    coords: Tensor,
    train: Samples,
    held: Samples,
) -> Equivariance:
    r"""Carries held-out states and actions all over the group, and compares displacements.

    With :math:`\Delta_k = L_g^{-1} f_k(L_g s, K_g a) - f_k(s, a)` of twin `k`, the effect is
    :math:`\langle \Delta_1 \Delta_2 \rangle` as a share of :math:`\langle f_1 f_2 \rangle`, over
    what is carried to where there are data.

    Args:
        model: The dynamics of all tasks.
        generators: Scaled state generators, ``(d, k, k)``.
        action_generators: Scaled action generators, ``(d, m, m)``.
        coords: Coordinates of the tasks, ``(N, d)``.
        train: Scaled training transitions, which tell where there are data.
        held: Scaled held-out ones.
    """
    n = held.state.shape[-1]
    known = _thinned(pairs(train)[0].flatten(0, 1), _DATA)
    state, action = (_thinned(part.flatten(0, 1), _POINTS) for part in (held.state, held.action))
    group = Spanned(generators, n)
    where = group.spread(_ELEMENTS + 1, coords / 2)[1:]  # no further than the tasks themselves
    element, turn = (lie.exp(lie.hat(where, basis)) for basis in (generators, action_generators))
    carried = torch.cat((lie.act(element, state), lie.act(turn, action)), -1)
    there = model.values(carried.flatten(0, 1)).unflatten(1, carried.shape[:2])
    here = model.values(torch.cat((state, action), -1))
    back = torch.linalg.solve(element[..., :n, :n], there.mT).mT
    deviation = (back - here[:, None]) / model.scale
    covered = near(carried.flatten(0, 1), known).view(carried.shape[:2]).double()
    seen = covered.sum(0)
    some = seen > 0
    if int(some.sum()) < 10:
        return Equivariance(ignorance(DYNAMICS), float(covered.mean()))
    product = (deviation.prod(0).sum(-1) * covered).sum(0)[some] / seen[some]
    motion = (here / model.scale).prod(0).sum(-1)[some]
    # The twins' own errors are smooth: all transitions share them, and few are independent.
    error = ((deviation[0] - deviation[1]).square().sum(-1) / 2 * covered).sum() / covered.sum()
    doubt = float(error / motion.mean().clamp_min(1e-300)) / _INDEPENDENT**0.5
    statement = measure(product, motion, DYNAMICS, doubt)
    return Equivariance(statement, float(covered.mean()))


def near(points: Tensor, data: Tensor) -> Tensor:
    """Whether points ``(Q, p)`` are as near to data ``(B, p)`` as data are to each other."""
    # Products of matrices would leave a datum some 1e-8 away from itself.
    exact = "donot_use_mm_for_euclid_dist"
    own = torch.cdist(_thinned(data, _JUDGES), data, compute_mode=exact)
    own = torch.where(own > 0, own, torch.inf).amin(1)
    return torch.cdist(points, data).amin(1) <= own[own.isfinite()].quantile(_NEAR)


def _thinned(rows: Tensor, num: int) -> Tensor:
    return rows[:: max(1, len(rows) // num)]
