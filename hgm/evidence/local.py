"""Whether the group is a symmetry everywhere: obstacles that few transitions touch."""

from __future__ import annotations

import math

import torch
from scipy.stats import t as student
from torch import Tensor

from hgm.evidence.matched import Matched, matched
from hgm.evidence.statement import LEVEL, Statement, Tolerance, ignorance
from hgm.numerics.fourier import draw_frequencies
from hgm.symmetry.findings import Findings
from hgm.symmetry.samples import Samples

LOCAL = Tolerance(small=5e-4, large=torch.inf, approximate=0.0)
"""Shares of the motion: one transition in 2000 loses all of it, or one in 200 a third.

What smooth regressions do not see is not smooth: its average over all places says nothing of what
it costs those who meet it, so that none is tolerable.
"""

_FEATURES = 600
_LEAST = 2 * _FEATURES  # transitions: of fewer, sums are not normal
_SCALES = (0.3, 1.0)  # of places, in standard deviations of the states
_RIDGE = 20.0  # transitions
_FLIPS = 128


def local(findings: Findings, train: Samples, held: Samples) -> Statement:
    """Whether transitions have in common with their neighbours what the group does not explain.

    Args:
        findings: What the search left.
        train: Scaled training transitions.
        held: Scaled held-out ones.
    """
    if train.reward.numel() + held.reward.numel() < _LEAST:
        return ignorance(LOCAL)
    return in_common(matched(findings, train, held))


def in_common(pairs: Matched) -> Statement:
    r"""What excesses of places nearby have in common, as a share of the motion.

    Locally, an obstacle is a push and a share of one's own motion: :math:`d = h(c) + M(c) f` of the
    place and the predicted displacement, with waves of all length scales between two. With the
    matrix `Q` of their ridge regression, the effect is

    .. math:: \sum Q_{ij} \langle d_i, d_j \rangle

    over pairs of different folds, which has mean 0 under independent noise, whatever its size and
    shape. Its deviation is that under random signs of all excesses: of a mean that is small. What
    the distance to the others may add is tolerated.

    Args:
        pairs: Transitions and their excesses.
    """
    num, n = pairs.excess.shape
    table = _features(pairs)
    if num < _LEAST:
        return ignorance(LOCAL)
    eye = torch.eye(table.shape[1]).to(table)
    root = torch.linalg.cholesky(table.mT @ table + _RIDGE * eye)
    generator = torch.Generator().manual_seed(1)
    signs = 2.0 * torch.randint(2, (num, _FLIPS), generator=generator).to(table) - 1
    flipped = signs[..., None] * pairs.excess[:, None]
    columns = torch.cat((pairs.excess, pairs.blur, flipped.flatten(1)), -1)
    folds = torch.stack(
        [table[own].mT @ columns[own] for own in pairs.fold == pairs.fold.unique()[:, None]]
    )
    folds = torch.linalg.solve_triangular(root, folds, upper=False)
    shares = (folds.sum(0).square() - folds.square().sum(0)).sum(0).view(-1, n).sum(-1)
    # As if transitions of one fold could be compared, too.
    shares = shares / (num * pairs.motion * (1 - 1 / len(folds)))
    effect, blur = shares[:2].tolist()
    reach = float(student.ppf((1 + LEVEL) / 2, _FLIPS) * shares[2:].square().mean().sqrt())
    tolerance = LOCAL._replace(small=LOCAL.small + max(0.0, blur))
    return Statement(effect, effect - reach, effect + reach, tolerance)


def _features(pairs: Matched) -> Tensor:
    """Waves of the places, and their products with the displacements, ``(K, M)``."""
    n = pairs.place.shape[1]
    num = _FEATURES // (1 + n)
    frequencies, phases = draw_frequencies(n, num, torch.Generator().manual_seed(2))
    first, last = (math.log10(scale) for scale in _SCALES)
    scales = torch.logspace(first, last, num, dtype=torch.float64)
    frequencies, phases = (part.to(pairs.place) for part in (frequencies / scales[:, None], phases))
    waves = (2 / num) ** 0.5 * torch.cos(pairs.place @ frequencies.mT + phases)
    return torch.cat((waves, *(waves * push for push in pairs.push.mT[..., None])), -1)
