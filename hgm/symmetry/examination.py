"""What held-out transitions say about the findings of a search."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from hgm import lie
from hgm.differentials.base import DifferentialEstimator
from hgm.numerics.gauss_newton import misfit
from hgm.numerics.ranks import ALONE, Ranks
from hgm.symmetry.algebra import compactness
from hgm.symmetry.alignment import pair_residuals
from hgm.symmetry.findings import Findings
from hgm.symmetry.invariance import action_generators
from hgm.symmetry.losses import Invariance
from hgm.symmetry.phases import FLOOR
from hgm.symmetry.search import Search
from hgm.symmetry.verdict import Evidence, judge

_COVERED = 0.1


class HeldOut(NamedTuple):
    """Invariance of given elements over all pairs of different tasks.

    Attributes:
        loss: Mean robust loss.
        coverage: Fraction of points that are carried to where the other task's data tell.
        residual: Half the mean square of the residuals, weighted by their precision.
    """

    loss: float
    coverage: float
    residual: float


def held_out(
    elements: Tensor,
    estimator: DifferentialEstimator,
    invariance: Invariance,
    points: Tensor,
    ranks: Ranks = ALONE,
) -> HeldOut:
    """Invariance of left actions ``(N, k, k)`` at held-out points ``(N, H, n)``."""
    residuals = pair_residuals(lambda _: elements, estimator, invariance, points)
    terms = residuals(elements.new_zeros(0), False)
    spread, square = terms.variance + FLOOR**2, terms.residual.square().sum(-1)
    # An element paired with itself is the identity, and says nothing.
    others = ~torch.eye(len(elements), dtype=torch.bool, device=square.device)
    different = others[..., None].expand(-1, -1, points.shape[1]).flatten()
    spread, square = spread[different], square[different]
    weight = 1 / spread
    sums = (
        2 * misfit(square, spread).sum(),
        (spread < _COVERED).double().sum(),
        torch.full_like(spread[0], float(len(square))),
        (weight * square).sum() / 2,
        weight.sum(),
    )
    loss, covered, count, residual, total = ranks.sum(torch.stack(sums)).tolist()
    return HeldOut(loss / count, covered / count, residual / total)


def examine(
    search: Search, findings: Findings, points: Tensor, ranks: Ranks = ALONE
) -> dict[str, Any]:
    """Measures findings at held-out points ``(N, H, n)``, and judges them.

    Returns:
        Plain numbers, strings and lists, as docs/method.md describes them.
    """
    generators = search.group.hat(findings.actions.directions)
    elements = search.group.exp(findings.coords @ findings.actions.directions)
    identity = torch.eye(elements.shape[-1]).to(elements).expand_as(elements)
    found, none = (
        held_out(some, search.estimator, search.invariance, points, ranks)
        for some in (elements, identity)
    )
    gap, closure = _gap(findings), float(lie.closure_residual(generators))
    deviation = torch.rad2deg(findings.deviation)
    dynamics = float(action_generators(findings.form, generators)[1])
    verdict, reasons = judge(
        Evidence(
            num_tasks=len(elements),
            dim=len(generators),
            dim_space=points.shape[-1],
            misalignment=found.loss / search.expected,
            free_misalignment=findings.free_loss / search.expected,
            gap=gap,
            closure=closure,
            deviation_deg=float(deviation.max()),
            coverage=found.coverage,
            dynamics=dynamics,
        )
    )
    return {
        "verdict": verdict,
        "reasons": reasons,
        "compactness": float(compactness(generators)),
        "spectral_gap": gap,
        "spectrum": findings.spectrum.tolist(),
        "closure_residual": closure,
        "holdout_residual": found.residual,
        "holdout_residual_identity": none.residual,
        "holdout_misalignment": found.loss / search.expected,
        "coverage": found.coverage,
        "dynamics_residual": dynamics,
        "element_deviation_deg": deviation.tolist(),
        "pooled": findings.pool is not None,
        "num_tasks": len(elements),
    }


def _gap(findings: Findings) -> float | None:
    """Singular value of the last direction over the next; None where there is no next.

    Free elements may use the directions that brackets add (about the base goal, say) or not.
    """
    spectrum, dim = findings.spectrum, len(findings.actions.directions)
    ranks = {rank for rank in (findings.num_directions, dim) if rank < len(spectrum)}
    return max(
        (float(spectrum[rank - 1] / spectrum[rank].clamp_min(1e-300)) for rank in ranks),
        default=None,
    )
