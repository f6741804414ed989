"""What carrying a policy may cost at most: by what is seen to deviate, and by what is not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from hgm.evidence.statement import Statement
from hgm.symmetry.samples import Samples

_PEAK = 3.0  # a reward's deviation, in root mean squares
_STRONG = 0.99  # quantile of displacements: what strong actions cause
_MOST = 100_000  # displacements that it is taken of


class RegretBound(NamedTuple):
    """Bounds on the regret per step, in the units of the rewards; infinite where no data tell.

    Attributes:
        seen: By the rewards' largest deviation, and by all statements that are broken.
        unseen: What deviations that are too small to be told from none could add.
    """

    seen: float
    unseen: float


def regret_bound(
    statements: Mapping[str, Statement],
    largest: float,
    slope: float,
    samples: Samples,
    horizon: int,
) -> RegretBound:
    r"""Bounds the regret per step of a policy that is carried from the base task to another one.

    Carried back, that task has rewards that differ by :math:`\delta` from the base task's, and next
    states that differ by :math:`\Delta`. Over `H` steps, the mean return of any policy then differs
    by at most :math:`\delta + (H + 1) G \Delta / 2` per step (the simulation lemma: Kearns and
    Singh, *Machine Learning* 49, 2002), if its closed loop does not drive states apart and rewards
    have slope `G`. The regret is at most the sum for two policies, the optima of the two tasks:
    :math:`2 \delta + (H + 1) G \Delta`.

    Deviations are the roots of the upper ends of the statements' intervals.

    Args:
        statements: The five statements by name.
        largest: Largest deviation of a task's reward from the one reward of all.
        slope: Slope `G` of rewards in scaled states.
        samples: Scaled transitions.
        horizon: Steps `H` of an episode.
    """
    spread = float(samples.reward.var(1).mean().sqrt())
    moves = (samples.next_state - samples.state).norm(dim=-1).flatten()
    typical = float(moves.square().mean().sqrt())
    strong = float(moves[:: max(1, len(moves) // _MOST)].quantile(_STRONG))
    carry = (horizon + 1) * slope
    price = {
        # Two tasks may deviate from what all have in common in opposite ways.
        "rewards": 4 * _PEAK * spread,
        "action_in_reward": 2 * _PEAK * spread,
        "homogeneous_dynamics": carry * typical,
        "equivariance": carry * typical,
        "action_set": carry * strong,
    }
    cost = {name: price[name] * max(0.0, one.high) ** 0.5 for name, one in statements.items()}
    known = 4 * largest
    cost["rewards"] = max(0.0, cost["rewards"] - known)
    seen = sum(cost[name] for name, one in statements.items() if one.broken)
    unseen = sum(cost[name] for name, one in statements.items() if not one.broken)
    return RegretBound(known + seen, unseen)
