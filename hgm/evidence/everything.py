"""What one reward, as a function of everything, tells of every task's."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from hgm import lie
from hgm.evidence.beside import Both
from hgm.numerics.basis import Basis
from hgm.numerics.fourier import fit, moments, whitening
from hgm.numerics.learned import in_halves, learn
from hgm.numerics.tails import Tails
from hgm.symmetry.samples import halves


class Everything(NamedTuple):
    """What rewards may be functions of.

    Attributes:
        inverse: What carries every task's points into the base task, ``(N, K, K)``.
        generators: Of the group, ``(d, K, K)``.
        tails: What bends long tails of the points; None: nothing does.
        usual: About what a network leaves of the base task's reward.
    """

    inverse: Tensor
    generators: Tensor
    tails: Tails | None
    usual: float


class Explained(NamedTuple):
    """What one reward explains of training and held-out targets.

    Attributes:
        values: ``(N, B, 1)`` and ``(N, H, 1)``.
        along: Their derivatives along the group, ``(N, B, d)`` and ``(N, H, d)``.
    """

    values: Both
    along: Both


def explained(places: Both, targets: Tensor, group: Everything) -> Explained:
    """A regression of all tasks' training targets on units that networks learn.

    Args:
        places: Training and held-out points in the base task, ``(N, B, p)`` and ``(N, H, p)``.
        targets: Training targets, ``(N, B, 1)``.
        group: What the points are.
    """
    bent = [place if group.tails is None else group.tails(place) for place in places]
    white = whitening(bent[0])
    near, far = white(bent[0]), white(bent[1])
    mean, unit = targets.mean(), targets.std().clamp_min(1e-300)
    scaled = (targets - mean) / unit
    half = halves(targets.shape[:2]).to(targets.device)
    points, target = in_halves(half, near, scaled[..., 0])
    usual = group.usual / float(unit)
    basis = Basis.of(learn(points, target, torch.ones_like(target), usual))
    weights = fit(moments(basis.table(near.flatten(0, 1)), scaled.flatten(0, 1))).weights[:, 0]
    values, along = [], []
    for place, inputs in zip(places, (near, far), strict=True):
        slope = basis.slope(inputs, weights) @ white.root.mT * unit
        slope = slope if group.tails is None else group.tails.back(slope, place)
        values.append((basis.table(inputs) @ weights * unit + mean)[..., None])
        along.append((lie.field(group.generators, place) @ slope[..., None])[..., 0])
    return Explained((values[0], values[1]), (along[0], along[1]))
