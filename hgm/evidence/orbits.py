"""Whether each orbit has one reward, where tasks are on several of them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hgm.evidence.rewards import REWARDS, Beyond, OneReward, one_reward
from hgm.evidence.statement import ignorance
from hgm.numerics.tails import Tails
from hgm.symmetry.findings import Findings
from hgm.symmetry.samples import Seen

_MOST = 12
_MAPS = ("same", "affine", "increasing")


def orbits_of(findings: Findings) -> list[list[int]]:
    """Indices of the tasks of every orbit, base tasks first; one list of all where there is one."""
    if findings.orbits:
        return [list(orbit.tasks) for orbit in findings.orbits]
    return [list(range(len(findings.coords)))]


def judged_tasks(findings: Findings) -> tuple[Tensor, Tensor]:
    """Tasks whose rewards are judged, ``(M,)``, and their elements' deviations in radians.

    Those that led the search, and of orbits that have none of them the first twelve.
    """
    leading = findings.problem.leading
    doubt = torch.cat((findings.deviation.new_zeros(1), findings.deviation))
    known = set(leading.tolist())
    more = [
        task
        for orbit in findings.orbits
        if not known.intersection(orbit.tasks)
        for task in list(orbit.tasks)[:_MOST]
    ]
    judged = torch.cat((leading, leading.new_tensor(more)))
    return judged, torch.cat((doubt, doubt.new_zeros(len(more))))


def rewards_of_orbits(
    elements: Tensor,
    generators: Tensor,
    doubt: Tensor,
    train: Seen,
    held: Seen,
    bases: Tensor,
    tails: Tails | None = None,
    beyond: Beyond | None = None,
) -> OneReward:
    """What :func:`hgm.evidence.rewards.one_reward` says of every orbit, the worst of it all.

    A task that is alone on its orbit is carried into none, and says nothing; where all are, nothing
    is known.

    Args:
        elements: Left actions on the points, each relative to its own base task, ``(N, k, k)``.
        generators: Of the group, ``(d, k, k)``.
        doubt: Predicted standard deviations of the elements, in radians, ``(N,)``.
        train: Points ``(N, B, q)`` and rewards that are learned from.
        held: Points and rewards that are judged by.
        bases: The base task of every task, ``(N,)``.
        tails: What bends long tails of the points.
        beyond: What a reward of everything explains first, of tasks on one orbit; None: nothing.
    """
    found = []
    for base in bases.unique().tolist():
        tasks = (bases == base).nonzero()[:, 0].to(elements.device)
        if len(tasks) < 2:
            continue
        near, far = (Seen(*(part[tasks] for part in seen)) for seen in (train, held))
        found.append(
            one_reward(elements[tasks], generators, doubt[tasks], near, far, tails, beyond)
        )
    if not found:
        return OneReward(ignorance(REWARDS), _MAPS[0], math.inf, 1.0)
    worst = max(
        (one.statement for one in found),
        key=lambda one: (one.broken, one.holds is None, one.effect),
    )
    calibration = max((one.calibration for one in found), key=_MAPS.index)
    return OneReward(
        worst,
        calibration,
        max(one.largest for one in found),
        max(one.noise for one in found),
        found[0].in_action,
    )
