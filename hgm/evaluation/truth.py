"""Evaluation numbers that need the truth, docs/method.md section 8."""

from typing import Any

from torch import Tensor

from hgm import lie
from hgm.envs import TaskFamily
from hgm.geometry import Geometry


def truth_metrics(
    geometry: Geometry, family: TaskFamily | None, tasks: Tensor | None
) -> dict[str, Any]:
    """Errors of a geometry against a family's truth; empty where the truth is not known.

    * ``span_cosine``: cosine of the largest principal angle between the found and the true algebra
      in the Frobenius inner product, 0 if their dimensions differ.
    * ``element_error_deg``: error of the left action of every task but the base one, in degrees;
      what it means is the family's to say (:class:`~hgm.envs.Truth`).
    * ``element_error_deg_max``: the largest of them.

    Args:
        geometry: What was found.
        family: The task family, or None.
        tasks: Its hidden training tasks, ``(N, k)``.
    """
    truth = None if family is None or tasks is None else family.truth(tasks.double())
    if truth is None:
        return {}
    generators, elements = geometry.generators.double(), geometry.left_actions.double()
    n = geometry.dim_state
    linear = generators.shape[-1] == n
    cosine = lie.span_cosine(generators, truth.generators.double()) if linear else 0.0
    errors = truth.element_error_deg(elements[:, :n, :n])[1:].tolist()
    return {
        "span_cosine": float(cosine),
        "element_error_deg": errors,
        "element_error_deg_max": max(errors),
    }
