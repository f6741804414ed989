"""Directions in which a group may move the base task's reward, and does not."""

from __future__ import annotations

import torch
from torch import Tensor

from hgm import lie
from hgm.symmetry.algebra import close
from hgm.symmetry.completion import shadow
from hgm.symmetry.findings import Findings
from hgm.symmetry.samples import Seen
from hgm.symmetry.stabiliser import stabiliser

_NOISE = 0.3  # of a unit generator or a bracket


def kept_by_dynamics(findings: Findings) -> Tensor:
    """Generators of points that the dynamics keep, as far as one can tell, ``(p, k, k)``."""
    problem, directions = findings.problem, findings.directions
    group = problem.group
    if any(True for _ in group.parameters()):  # they were of the group before it was learned
        basis = group.generators[:, : group.dim_space].flatten(1)
        directions = shadow(findings.dynamics.form, problem.view.index).kept(basis)
    kept = lie.hat(directions, group.generators)
    return lie.orthonormalise(kept) if len(kept) else kept


def spare_constraints(findings: Findings, seen: Seen, num_tasks: int) -> int | None:
    r"""By how many numbers the elements overdetermine their algebra; None where nothing is open.

    Rotations about a goal leave its reward alone, so that few tasks are on an orbit of some small
    group whatever they are: three points of a sphere are on a circle. In the algebra of dimension D
    that elements and stabiliser, of dimension z, generate, N - 1 elements are (N - 1)(D - z)
    numbers. A subalgebra of dimension d is d (D - d) unknowns, and coordinates in it are (N - 1) d
    more. None, too, where the subgroup has the same orbits as the whole group.

    Args:
        findings: What the search left.
        seen: Points and rewards of the leading tasks.
        num_tasks: Number `N` of tasks that are distinct.
    """
    dim = len(findings.seen)
    kept = kept_by_dynamics(findings)
    still = stabiliser(
        findings.problem.estimator, kept, seen.points[:1], torch.eye(kept.shape[-1]).to(kept)[None]
    )
    if not len(still) or not dim:
        return None
    own = lie.orthonormalise(findings.seen)
    outside = (still - lie.hat(lie.vee(still, own), own)).flatten(1)
    other = int((torch.linalg.svdvals(outside) > _NOISE).sum())
    if not other:
        return None
    # Errors would generate everything: it is no more than what the dynamics keep.
    whole = len(close(torch.cat((own, still)), max(len(kept), dim + other), _NOISE))
    orbit = whole - len(still)
    if orbit <= dim - (len(still) - other):
        return None
    return (num_tasks - 1) * orbit - dim * (whole - dim) - (num_tasks - 1) * dim
