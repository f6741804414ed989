"""What may be claimed: found, approximate, partial or none, with the reasons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hgm.evidence.statement import Statement

MAX_CLOSURE = 0.1
MAX_DEVIATION_DEG = 3.0
MIN_COVERAGE = 0.25
MIN_CARRIED = 0.05


@dataclass(frozen=True)
class Evidence:
    """What a verdict weighs.

    Attributes:
        statements: The five statements by name.
        num_tasks: Tasks that are distinct, on the largest orbit.
        num_copies: Tasks of it that are copies of others.
        dim: Dimension of their closure under the bracket.
        dim_seen: Coordinates that rewards see, ``q``.
        closure: Closure residual.
        deviation_deg: Predicted standard deviation of the worst element.
        aligned: Whether elements of the group align the tasks' reward gradients.
        coverage: Fraction of held-out points that are carried to where the other task's data tell.
        carried: Fraction of held-out transitions that the group carries to where there are data.
        order: Order of the finite group that the elements are in; None if there is none.
        spare: By how many numbers elements overdetermine the algebra, where a stabiliser leaves
            them open; None where it does not.
        num_alone: Tasks that are alone on their orbits.
        num_all: All tasks.
    """

    statements: Mapping[str, Statement]
    num_tasks: int
    num_copies: int
    dim: int
    dim_seen: int
    closure: float
    deviation_deg: float
    aligned: bool
    coverage: float
    carried: float
    order: int | None
    spare: int | None
    num_alone: int = 0
    num_all: int = 0


def judge(evidence: Evidence) -> tuple[str, list[str]]:
    """The verdict and, unless it is found, the reasons why not.

    * none: elements of the group do not carry rewards into rewards, by more than a transfer could
      be worth.
    * partial: they do, but too few tasks, too little data, or the dynamics leave the group open or
      do not share it.
    * approximate: everything is there, and deviations are small enough for a transfer at a price.
    * found: no deviation that matters, in any statement (docs/method.md, section 7).
    """
    rewards = evidence.statements["rewards"]
    if rewards.broken and not rewards.tolerable:
        return "none", [_told("rewards", rewards)]
    missing = [*_too_few(evidence), *_too_vague(evidence)]
    broken = [(name, one) for name, one in evidence.statements.items() if one.broken]
    open_ones = [_told(name, one) for name, one in evidence.statements.items() if one.holds is None]
    intolerable = [_told(name, one) for name, one in broken if not one.tolerable]
    missing += intolerable + open_ones
    if missing:
        return "partial", missing
    if broken:
        return "approximate", [_told(name, one) for name, one in broken]
    return "found", []


_ABOUT = {
    "rewards": "the tasks' rewards are not one reward moved by the group: {effect} of their "
    "variance is a task's own",
    "homogeneous_dynamics": "the tasks differ in their dynamics: {effect} of the motion is a "
    "task's own",
    "equivariance": "the dynamics break the symmetry: {effect} of the motion is not equivariant",
    "action_set": "the group does not keep the set of actions: {effect} of what actions cause "
    "cannot be done after it has acted",
    "action_in_reward": "what rewards owe to the action is not inherited: {effect} of their "
    "variance",
}


def _told(name: str, statement: Statement) -> str:
    if statement.holds is None:
        where = f"may be up to {statement.high:.2g}" if statement.high < 1e9 else "cannot be told"
        return f"too little data for {name}: the deviation {where}"
    return _ABOUT[name].format(effect=f"{statement.effect:.2g}")


def _too_few(evidence: Evidence) -> list[str]:
    reasons = []
    spare = evidence.num_tasks - 1 - evidence.dim
    if spare < 1:
        copies = f" ({evidence.num_copies} more are copies)" if evidence.num_copies else ""
        reasons.append(
            f"{evidence.num_tasks} tasks{copies} give {evidence.num_tasks - 1} element(s), which "
            f"cannot evidence an algebra of dimension {evidence.dim}: more tasks are needed"
        )
    elif evidence.spare is not None and evidence.spare < 1:
        reasons.append(
            f"any {evidence.num_tasks} tasks are on an orbit of some group of dimension "
            f"{evidence.dim}, as rotations about a goal leave elements open: more tasks are needed"
        )
    if 2 * evidence.num_alone > evidence.num_all:
        reasons.append(
            f"{evidence.num_alone} of {evidence.num_all} tasks are alone on their orbits: no "
            "element carries them into another one, or another one into them"
        )
    if evidence.dim >= evidence.dim_seen**2 and evidence.dim_seen > 1:
        reasons.append(
            f"the elements generate all of gl({evidence.dim_seen}), which relates any two bowls"
        )
    if evidence.order is not None:
        reasons.append(
            f"all elements are in the cyclic group of order {evidence.order}: tasks elsewhere "
            "would tell it from the continuous one"
        )
    return reasons


def _too_vague(evidence: Evidence) -> list[str]:
    reasons = []
    if not evidence.aligned:
        reasons.append("no element of the group aligns the rewards' gradients")
    checks = (
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
    for value, least, what in (
        (
            evidence.coverage,
            MIN_COVERAGE,
            "points of one task are carried to where the others have none",
        ),
        (evidence.carried, MIN_CARRIED, "transitions are carried to where there are none"),
    ):
        if not value >= least:
            reasons.append(f"coverage {value:.2f}, at least {least:g}: {what}")
    return reasons
