"""What may be claimed: found, partial or none, with the reasons."""

from dataclasses import dataclass

ALIGNED = 1.5
"""Held-out robust loss, relative to that of residuals as large as predicted."""
MIN_GAP = 3.0
MAX_CLOSURE = 0.1
MAX_DEVIATION_DEG = 3.0
MIN_COVERAGE = 0.25
MAX_DYNAMICS_RESIDUAL = 0.11


@dataclass(frozen=True)
class Evidence:
    """What a verdict weighs.

    Attributes:
        num_tasks: Tasks ``N``.
        dim: Dimension of their closure under the bracket.
        dim_space: Dimension ``n`` of the states.
        misalignment: Held-out robust loss of the elements in the span, over the loss expected.
        free_misalignment: The same of elements that are free.
        gap: Singular value of the last direction over the next; None if there is no next.
        closure: Closure residual.
        deviation_deg: Predicted standard deviation of the worst element.
        coverage: Fraction of held-out points that are carried to where the data tell.
        dynamics: Share of the motion that breaks equivariance.
    """

    num_tasks: int
    dim: int
    dim_space: int
    misalignment: float
    free_misalignment: float
    gap: float | None
    closure: float
    deviation_deg: float
    coverage: float
    dynamics: float


def judge(evidence: Evidence) -> tuple[str, list[str]]:
    """The verdict and, unless it is found, the reasons why not.

    * none: no linear maps of the group carry the tasks into each other; or the data say nothing.
    * partial: maps exist, but too few tasks, too little data or the dynamics leave the group open.
    * found: few directions explain many elements, on held-out data, closed under the bracket, and
      the dynamics agree (docs/method.md, section 7).
    """
    best = min(evidence.misalignment, evidence.free_misalignment)
    if not best <= ALIGNED:  # written so that NaN is never evidence
        return "none", [
            f"no element of the group carries one reward into another (misalignment {best:.1f} "
            f"times what the data's noise explains, at most {ALIGNED:g})"
        ]
    reasons = []
    spare = evidence.num_tasks - 1 - evidence.dim
    if spare < 1:
        reasons.append(
            f"{evidence.num_tasks} tasks give {evidence.num_tasks - 1} element(s), which cannot "
            f"evidence an algebra of dimension {evidence.dim}: more tasks are needed"
        )
    if evidence.dim >= evidence.dim_space**2:
        reasons.append(
            f"the elements generate all of gl({evidence.dim_space}), which relates any two bowls"
        )
    checks = (
        ("misalignment", evidence.misalignment, ALIGNED),
        ("closure residual", evidence.closure, MAX_CLOSURE),
        (
            "predicted standard deviation of elements in degrees",
            evidence.deviation_deg,
            MAX_DEVIATION_DEG,
        ),
    )
    reasons += [
        f"{name} {value:.2g}, at most {most:g}" for name, value, most in checks if not value <= most
    ]
    if evidence.gap is not None and not evidence.gap >= MIN_GAP:
        reasons.append(f"spectral gap {evidence.gap:.2g}, at least {MIN_GAP:g}")
    if not evidence.coverage >= MIN_COVERAGE:
        reasons.append(
            f"coverage {evidence.coverage:.2f}, at least {MIN_COVERAGE:g}: the data of one task "
            "are carried to where the others have none"
        )
    if not evidence.dynamics <= MAX_DYNAMICS_RESIDUAL:
        reasons.append(
            f"the dynamics break the symmetry: {evidence.dynamics:.0%} of the motion is not "
            f"equivariant, at most {MAX_DYNAMICS_RESIDUAL:.0%}; no group-based agent can be "
            "optimal everywhere"
        )
    return ("partial", reasons) if reasons else ("found", [])
