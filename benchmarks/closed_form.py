r"""Left actions without iteration, for tasks whose level sets an affine field leaves invariant.

Local linear regression gives gradients; the smallest right singular vector of the rows
:math:`\nabla r \otimes (p, 1)` is the field :math:`W_i p + b_i` under which task i is invariant;
its zero is the goal :math:`z_i`; and :math:`L W_0 = W_i L`, :math:`L z_0 = z_i` are linear in L.
"""

import torch
from samples import Answer, direction_of, neighbours
from torch import Tensor

from hgm.symmetry.invariance import affine_fields

MAX_POINTS = 1000


def local_gradients(points: Tensor, rewards: Tensor, num: int) -> tuple[Tensor, Tensor]:
    """Points, at most 1000 evenly spaced ones, and the slopes of local linear fits there.

    Args:
        points: Points of one task, ``(B, n)``.
        rewards: Rewards there, ``(B,)``.
        num: Neighbours of each fit.
    """
    queries = points[:: -(-len(points) // MAX_POINTS)]
    near = neighbours(points, queries, num)
    offsets = points[near] - queries[:, None]
    table = torch.cat((offsets, torch.ones_like(offsets[..., :1])), -1)
    solution = torch.linalg.lstsq(table, rewards[near][..., None]).solution[..., 0]
    return queries, solution[:, :-1]


def invariant_field(points: Tensor, gradients: Tensor) -> tuple[Tensor, Tensor, float]:
    """The field's linear part with norm sqrt 2 and its zero, and the gap of singular values.

    Its sign is chosen so that ``(gradient, field)`` is positively oriented in the plane: a left
    action of positive determinant preserves that, so all tasks' fields then correspond.
    """
    values, fields = affine_fields(points, gradients)
    linear, offset = fields[0, :, :-1], fields[0, :, -1]
    moved = points @ linear.mT + offset
    side = gradients[:, 0] * moved[:, 1] - gradients[:, 1] * moved[:, 0]
    linear, offset = linear * side.sum().sign(), offset * side.sum().sign()
    size = linear.norm().clamp_min(1e-12) / 2**0.5
    zero = -torch.linalg.lstsq(linear, offset[:, None]).solution[:, 0]
    return linear / size, zero, float(values[1] / values[0])


def intertwiner(source: Tensor, target: Tensor, start: Tensor, end: Tensor) -> Tensor:
    """Least-squares L with ``L source = target L`` and ``L start = end``, ``(n, n)``."""
    n = len(start)
    eye = torch.eye(n).to(start)
    # Row by row, vec(A L B) = (A kron B^T) vec(L).
    commute = torch.kron(eye, source.mT.contiguous()) - torch.kron(target.contiguous(), eye)
    carry = torch.kron(eye, start[None])
    rows = torch.cat((commute, carry))
    wanted = torch.cat((torch.zeros_like(commute[:, 0]), end))
    return torch.linalg.lstsq(rows, wanted[:, None]).solution.view(n, n)


def closed_form(points: Tensor, rewards: Tensor, num_neighbours: int = 12) -> Answer:
    """Left actions of tasks with points ``(N, B, 2)`` and rewards ``(N, B)``."""
    found = [
        invariant_field(*local_gradients(task_points, task_rewards, num_neighbours))
        for task_points, task_rewards in zip(points, rewards, strict=True)
    ]
    base, base_zero, _ = found[0]
    elements = torch.stack([intertwiner(base, field, base_zero, zero) for field, zero, _ in found])
    gap = min(gap for _, _, gap in found)
    return Answer(elements, direction_of(elements), {"singular_value_gap": gap})
