"""What held-out transitions say about the findings of a search."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from hgm import lie
from hgm.differentials.base import DifferentialEstimator
from hgm.evidence.actions import ACTION_SET, inherited_terms, keeps_actions
from hgm.evidence.dynamics import (
    DYNAMICS,
    Equivariance,
    equivariant,
    homogeneous,
    near,
    one_in_all_frames,
)
from hgm.evidence.everything import Everything
from hgm.evidence.fresh import preferred
from hgm.evidence.intervals import UNDETERMINED, intervals, record
from hgm.evidence.local import local
from hgm.evidence.orbits import judged_tasks, orbits_of, rewards_of_orbits
from hgm.evidence.regret import regret_bound
from hgm.evidence.rewards import Beyond, OneReward
from hgm.evidence.stabiliser import spare_constraints
from hgm.evidence.statement import Statement, nothing, stronger
from hgm.evidence.verdict import Evidence, judge
from hgm.numerics.gauss_newton import misfit
from hgm.numerics.ranks import ALONE, Ranks
from hgm.symmetry.algebra import compactness
from hgm.symmetry.alignment import pair_residuals
from hgm.symmetry.findings import Findings, Problem
from hgm.symmetry.frames import base_dynamics, carried
from hgm.symmetry.losses import Invariance
from hgm.symmetry.phases import FLOOR
from hgm.symmetry.samples import Samples, Seen, halves, thin

_DATA, _POINTS = 1000, 60  # of a task, by which coverage is measured
_MOST = 12  # tasks whose pairs are compared
_ALIGNED = 3.0
"""Held-out robust loss, relative to that of residuals as large as predicted."""
_SAME_DEG, _SAME_SIGMA = 0.5, 3.0  # elements that are no further apart are copies
_ORDERS = range(1, 9)
_ORDER_DEG = 0.3


class HeldOut(NamedTuple):
    """Invariance of given elements over all pairs of different tasks.

    Attributes:
        loss: Mean robust loss.
        residual: Half the mean square of the residuals, weighted by their precision.
    """

    loss: float
    residual: float


def held_out(
    elements: Tensor,
    estimator: DifferentialEstimator,
    invariance: Invariance,
    points: Tensor,
    bases: Tensor | None = None,
) -> HeldOut:
    """Invariance of left actions ``(N, k, k)`` at held-out points ``(N, H, n)``.

    Over pairs of one orbit: of one base task, ``bases (N,)``.
    """
    residuals = pair_residuals(lambda _: elements, estimator, invariance, points)
    terms = residuals(elements.new_zeros(0), False)
    spread, square = terms.variance + FLOOR**2, terms.residual.square().sum(-1)
    # An element paired with itself is the identity, and says nothing.
    others = ~torch.eye(len(elements), dtype=torch.bool, device=square.device)
    if bases is not None:
        others &= (bases[:, None] == bases).to(others.device)
    different = others[..., None].expand(-1, -1, points.shape[1]).flatten()
    spread, square = spread[different], square[different]
    weight = 1 / spread
    loss = 2 * misfit(square, spread).mean()
    residual = (weight * square).sum() / 2 / weight.sum()
    return HeldOut(float(loss), float(residual))


def covered(elements: Tensor, train: Tensor, held: Tensor) -> float:
    """Share of held-out points ``(N, H, q)`` that are carried to where another task has data.

    Args:
        elements: Left actions on the points, ``(N, k, k)``.
        train: Where the tasks have data, ``(N, B, q)``.
        held: Points that are carried.
    """
    data, points = thin(train, _DATA), thin(held, _POINTS)
    at_base = lie.act(torch.linalg.inv(elements), points)
    carried = lie.act(elements[:, None], at_base[None])  # what task j saw, in task i
    num = len(elements)
    shares = [
        near(carried[i, j], data[i]).double().mean()
        for i in range(num)
        for j in range(num)
        if i != j
    ]
    return float(torch.stack(shares).mean())


def examine(
    findings: Findings,
    invariance: Invariance,
    kept: Samples,
    held: Samples,
    horizon: int,
    ranks: Ranks = ALONE,
) -> dict[str, Any]:
    """Measures findings on held-out transitions, and judges them.

    Args:
        findings: What the search left.
        invariance: The loss that was searched with.
        kept: The transitions that it learned from.
        held: Held-out transitions of this process.
        horizon: Steps of an episode, for the bound on the regret.
        ranks: Collectives.

    Returns:
        Plain numbers, strings and lists, as docs/method.md describes them.
    """
    held = Samples(*(ranks.cat(field, 1) for field in held))
    problem, dynamics = findings.problem, findings.dynamics
    view, leading = problem.view, problem.leading
    test = Seen(*(field[leading] for field in view(held)))
    elements = lie.exp(lie.hat(findings.coords[leading], findings.seen))
    bases = findings.bases[leading.cpu()]
    identity = torch.eye(elements.shape[-1]).to(elements).expand_as(elements)
    found, none = (
        held_out(some[:_MOST], problem.estimator, invariance, test.points[:_MOST], bases[:_MOST])
        for some in (elements, identity)
    )
    train = Seen(*(field[leading] for field in view(kept)))
    coverage = covered(elements[:_MOST], train.points[:_MOST], test.points[:_MOST])
    rewards = _rewards(findings, kept, held)
    moves = len(findings.generators) > 0
    scaled = [view.units.scale(samples) for samples in (kept, held)]
    half = halves(kept.reward.shape).to(kept.reward.device)
    symmetric = Equivariance(nothing(DYNAMICS), 1.0)
    if moves and not findings.inherited:
        symmetric = _symmetric(findings, *scaled)
    turns = lie.exp(lie.hat(findings.coords, findings.action_generators))
    statements = {
        "rewards": rewards.statement,
        "homogeneous_dynamics": homogeneous(findings, half, *scaled),
        "equivariance": symmetric.statement,
        "action_set": _action_set(findings, half, *scaled) if moves else nothing(ACTION_SET),
        "action_in_reward": _in_action(
            inherited_terms(view.sight.terms, turns, scaled[1], findings.bases),
            None if view.sight.terms is None else rewards.in_action,
        ),
    }
    gap, closure = _gap(findings), float(lie.closure_residual(findings.seen))
    deviation = torch.rad2deg(findings.deviation)
    copies = _copies(elements, findings.deviation, bases)
    orbits = orbits_of(findings)
    largest = max(orbits, key=len)
    # What names the group is the largest orbit: more of them are no more evidence.
    among = torch.isin(leading.cpu(), torch.tensor(largest))
    repeated = int(copies[among.to(copies.device)].sum())
    order = _order(findings, copies)
    num_distinct = len(largest) - repeated
    verdict, reasons = judge(
        Evidence(
            statements=statements,
            num_tasks=num_distinct,
            num_copies=repeated,
            num_alone=sum(len(orbit) == 1 for orbit in orbits),
            num_all=len(kept.reward),
            dim=len(findings.seen),
            dim_seen=len(view.columns),
            closure=closure,
            deviation_deg=float(deviation.max()),
            aligned=found.loss <= _ALIGNED * findings.expected_loss
            or statements["rewards"].holds is True,
            coverage=coverage,
            carried=symmetric.coverage,
            order=order,
            spare=spare_constraints(findings, train, num_distinct),
        )
    )
    slope = _slope(problem, kept)
    price = regret_bound(statements, rewards.largest, slope, scaled[0], horizon)
    missing = findings.completion.deviation[:, ~findings.completion.given]
    return {
        "verdict": verdict,
        "reasons": reasons,
        "statements": {name: one.record() for name, one in statements.items()},
        "epsilon": max(0.0, *(one.effect for one in statements.values())),
        "regret_bound": _finite(price.seen),
        "regret_undetected": _finite(price.unseen),
        "calibration": rewards.calibration,
        "reward_noise": rewards.noise,
        "undetermined": float((missing > UNDETERMINED).double().mean()) if missing.numel() else 0.0,
        "compactness": float(compactness(findings.seen)) if moves else 0.0,
        "spectral_gap": gap,
        "spectrum": findings.spectrum.tolist(),
        "closure_residual": closure,
        "holdout_residual": found.residual,
        "holdout_residual_identity": none.residual,
        "holdout_misalignment": found.loss / findings.expected_loss,
        "coverage": min(coverage, symmetric.coverage),
        "element_deviation_deg": deviation.tolist(),
        **record(None if verdict == "none" else intervals(findings), len(kept.reward)),
        "pooled": findings.pool is not None,
        "num_tasks": len(kept.reward),
        "orbits": [[task] for task in range(len(kept.reward))] if verdict == "none" else orbits,
        "num_distinct_tasks": len(kept.reward) - int(copies.sum()),
        "reward_source": view.sight.source,
        "reward_columns": view.sight.columns,
        "reward_by_everything": findings.whole is not None,
        "action_in_reward": "none"
        if view.sight.terms is None
        else ("shared" if view.sight.terms.shared else "per task"),
        "dynamics": "inherited" if findings.inherited else "shared",
        "dynamics_model": type(dynamics.model).__name__,
    }


def _rewards(findings: Findings, kept: Samples, held: Samples) -> OneReward:
    """Whether tasks have one reward; by everything, where that explains more.

    What is broken by itself stays so: everything may tell tasks apart, and what is a task's own.
    """
    judged, doubt = judged_tasks(findings)
    view = findings.problem.view
    train, test = (Seen(*(field[judged] for field in view(samples))) for samples in (kept, held))
    elements = lie.exp(lie.hat(findings.coords[judged], findings.seen))
    bases, tails = findings.bases[judged.cpu()], findings.problem.tails

    def measured(train: Seen, test: Seen, beyond: Beyond | None) -> OneReward:
        seen = (findings.seen, doubt, train, test, bases, tails)
        return rewards_of_orbits(elements, *seen, beyond)

    plain, beyond = measured(train, test, None), _beyond(findings, judged, kept, held)
    if beyond is None or plain.statement.broken:
        return plain
    # Everything knows the actions.
    train, test = (
        part._replace(reward=samples.reward[judged])
        for part, samples in ((train, kept), (test, held))
    )
    return measured(train, test, beyond)


def _in_action(alone: Statement, beside: Statement | None) -> Statement:
    """What terms of the action say beside everything; what they break alone stays broken."""
    return alone if alone.broken or beside is None else beside


def _beyond(findings: Findings, tasks: Tensor, kept: Samples, held: Samples) -> Beyond | None:
    view, whole = findings.problem.view, findings.whole
    if whole is None:
        return None
    generators = view.on_everything(findings.generators, findings.action_generators)
    train, test = (view.everything(samples).points[tasks] for samples in (kept, held))
    group = Everything(
        lie.exp(-lie.hat(findings.coords[tasks], generators)), generators, whole.tails, whole.usual
    )
    n, m = view.units.dim_state, findings.action_generators.shape[-1]
    return Beyond(train, test, group, slice(n, n + m))


def _symmetric(findings: Findings, train: Samples, held: Samples) -> Equivariance:
    """Whether the group is a symmetry of the dynamics, everywhere."""
    group = (findings.generators, findings.action_generators, findings.coords)
    found = equivariant(findings.dynamics.model, *group, train, held)
    frames, places = one_in_all_frames(findings, train, held), local(findings, train, held)
    smooth = found.statement if frames is None else stronger(found.statement, frames)
    if smooth.broken and smooth.tolerable:
        # What a model errs by may look like this; larger deviations are none to be argued about.
        smooth = preferred(smooth, findings.dynamics.model, *group, train, held)
    # Of a deviation that is as smooth as the waves, these see as much.
    sharp = places.broken and places.effect > 2 * smooth.effect
    return found._replace(statement=places if sharp else smooth)


def _action_set(findings: Findings, half: Tensor, train: Samples, held: Samples) -> Statement:
    """Whether the group keeps the set of actions, by the dynamics that all tasks have."""
    group = (findings.generators, findings.action_generators, findings.coords)
    if not findings.inherited:
        return keeps_actions(findings.dynamics.model, *group, train, held)
    elements, turns = (lie.exp(lie.hat(findings.coords, basis)) for basis in group[:2])
    like = findings.dynamics.model
    model = base_dynamics(carried(train, elements, turns), half, like)
    there = carried(held, elements, turns)._replace(action=held.action)
    return keeps_actions(model, *group, train, there, inherited=True)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _slope(problem: Problem, kept: Samples) -> float:
    """Slope of rewards in scaled states, which 95% of the data do not exceed."""
    points = problem.view(kept).points[problem.leading][:, :: max(1, kept.reward.shape[1] // 200)]
    jet = problem.estimator.jet(points, torch.arange(len(points), device=points.device))
    return float(jet.gradient.norm(dim=-1).flatten().quantile(0.95))


def _gap(findings: Findings) -> float | None:
    """Singular value of the last direction over the next; None where there is no next.

    Free elements may use the directions that brackets add (about the base goal, say) or not.
    """
    spectrum, dim = findings.spectrum, len(findings.seen)
    ranks = {rank for rank in (findings.num_directions, dim) if 0 < rank < len(spectrum)}
    return max(
        (float(spectrum[rank - 1] / spectrum[rank].clamp_min(1e-300)) for rank in ranks),
        default=None,
    )


def _copies(elements: Tensor, deviation: Tensor, bases: Tensor | None = None) -> Tensor:
    """Which tasks repeat an earlier one of their orbit, ``(M,)``."""
    relative = torch.linalg.solve(elements[:, None], elements[None])
    eye = torch.eye(elements.shape[-1]).to(elements)
    apart = torch.rad2deg((relative - eye).norm(dim=(-2, -1)) / 2**0.5)
    own = torch.cat((deviation.new_zeros(1), deviation))
    sure = _SAME_SIGMA * torch.rad2deg((own[:, None].square() + own.square()).sqrt())
    same = apart < torch.maximum(sure, torch.full_like(sure, _SAME_DEG))
    if bases is not None:
        same &= (bases[:, None] == bases).to(same.device)
    return torch.tril(same, -1).any(1)


def _order(findings: Findings, copies: Tensor) -> int | None:
    """Order of a cyclic group that holds all elements of a rotation; None if there is none."""
    if len(findings.seen) != 1:
        return None
    values = torch.linalg.eigvals(findings.seen[0])
    turn = float(values.imag.abs().max())
    # Eigenvalues of a shear are 0, and those of one that errs by 1e-6 are 1e-3.
    if turn <= 0.05 * float(findings.seen[0].norm()):
        return None
    if float(values.real.abs().max()) > 0.05 * turn:
        return None
    angles = findings.coords[findings.problem.leading, 0] * turn
    doubt = torch.cat((angles.new_zeros(1), findings.deviation))
    close = torch.maximum(_SAME_SIGMA * doubt, torch.full_like(doubt, math.radians(_ORDER_DEG)))
    # Elements known to a few degrees only are in many a finite group by chance.
    close = close.clamp_max(math.radians(2.0))
    for order in _ORDERS:
        step = 2 * math.pi / order
        if bool(((angles - step * (angles / step).round()).abs() < close).all()):
            return order
    return None
