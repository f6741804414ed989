"""Evaluation numbers that need the truth, docs/method.md section 8."""

from typing import Any

import torch
from torch import Tensor

from hgm import lie
from hgm.envs import TaskFamily, Truth
from hgm.geometry import Geometry

_NEAR = 0.98
_POINTS = 4096
"""Points that distances are looked up between: as many pairs as their square."""


def truth_metrics(
    geometry: Geometry,
    family: TaskFamily | None,
    tasks: Tensor | None,
    determined: Tensor | None = None,
    points: Tensor | None = None,
) -> dict[str, Any]:
    """Errors of a geometry against a family's truth; empty where the truth is not known.

    * ``span_cosine``: cosine of the largest principal angle between the found and the true algebra
      in the Frobenius inner product, over the entries that are determined; 0 if their dimensions
      differ. Linear maps and affine ones compare as affine ones.
    * ``element_error_deg``: error of the left action of every task but the first one, in degrees;
      what it means is the family's to say (:class:`~hgm.envs.Truth`).
    * ``element_error_deg_max``: the largest of them.
    * ``mapped_error``, ``mapped_error_max``: where the group or the truth has a chart, instead of
      these: how far points of the base task are carried from where the true elements carry them,
      root mean square over tasks and points, and of the worst task, relative to the points' root
      mean square distance from their middle. Of points that the true elements carry to where there
      are data: no further from any than 98% of the points are from their nearest. Where there are
      more than 4,096 points, of some of them, evenly chosen.
    * ``mapped_error_anywhere``: the same of all points; ``mapped_share``: how many the others are.

    Args:
        geometry: What was found.
        family: The task family, or None.
        tasks: Its hidden training tasks, ``(N, k)``.
        determined: Which entries of the generators the data determine, ``(n, n)``; None: all.
        points: Held-out states of every task, ``(N, H, n)``.
    """
    truth = None if family is None or tasks is None else family.truth(tasks.double())
    if truth is None:
        return {}
    if geometry.chart is not None or truth.chart is not None:
        return {} if points is None else _mapped(geometry, truth, points)
    generators, elements = geometry.generators.double(), geometry.left_actions.double()
    n, k = geometry.dim_state, truth.generators.shape[-1]
    size = max(k, generators.shape[-1])
    generators, expected = (_grown(part, size) for part in (generators, truth.generators.double()))
    if determined is not None:
        hidden = torch.zeros(size, size, dtype=torch.bool)
        hidden[:n, :n] = ~determined
        generators, expected = (part.masked_fill(hidden, 0.0) for part in (generators, expected))
    cosine = lie.span_cosine(generators, expected)
    # Those of an orbit are relative to its base task, those of the truth to the first task.
    whole = _grown(elements, size, 1.0)[:, :k, :k]
    if geometry.orbits:
        whole = whole @ truth.elements.to(whole)[geometry.bases]
    errors = truth.element_error_deg(whole)[1:].tolist()
    return {
        "span_cosine": float(cosine),
        "element_error_deg": errors,
        "element_error_deg_max": max(errors),
    }


def _grown(matrices: Tensor, size: int, corner: float = 0.0) -> Tensor:
    """Matrices ``(d, k, k)`` as ``(d, size, size)``: zeros, and `corner` on the diagonal."""
    missing = size - matrices.shape[-1]
    grown = torch.nn.functional.pad(matrices, (0, missing, 0, missing))
    grown.diagonal(dim1=-2, dim2=-1)[:, matrices.shape[-1] :] = corner
    return grown


def _mapped(geometry: Geometry, truth: Truth, points: Tensor) -> dict[str, Any]:
    chart, base = truth.chart, geometry.bases
    points = points[:, :: -(-points.shape[:2].numel() // _POINTS)].double()
    elements = truth.elements.double()
    start = points[base]
    none = start.new_zeros(*start.shape[:-1], geometry.dim_action)
    found, _ = geometry.act(geometry.coords[:, None], start, none)
    true = lie.act(
        elements @ torch.linalg.inv(elements[base]), start if chart is None else chart(start)
    )
    true = true if chart is None else chart.inverse(true)
    spread = (points - points.mean((0, 1))).square().sum(-1).mean()
    others = [task for task, first in enumerate(base) if task != first] or [0]
    square, data = (found - true)[others].square().sum(-1) / spread, points.flatten(0, 1)
    reach = torch.cdist(data, data).fill_diagonal_(torch.inf).amin(1).quantile(_NEAR)
    there = torch.cdist(true[others], data).amin(-1) <= reach
    share = (square * there).sum(1) / there.sum(1)
    return {
        "mapped_error": float(((square * there).sum() / there.sum()).sqrt()),
        "mapped_error_max": float(share.max().sqrt()),
        "mapped_error_anywhere": float(square.mean().sqrt()),
        "mapped_share": float(there.double().mean()),
    }
