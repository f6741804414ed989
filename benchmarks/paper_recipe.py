r"""The recipe of arXiv 2603.00396 with its logic mended, written from its mathematics alone.

1. Kernel frames: near a point, differences to neighbours of nearly equal reward span the kernel of
   the differential; their principal direction is the frame, without a sign.
2. Kernel field: an affine field :math:`v_i(p) = W_i p + b_i` fitted to the frames by Adam.
3. Left actions: Adam on :math:`A_i`, :math:`L = \exp A_i`, with the loss
   :math:`1 - |\cos(L v_0(p), v_i(L p))|`, blind to sign as the paper's, and a lasso on the logs.
4. Generator: Adam on :math:`\sum_i |A_i - c_i W|^2`.

Steps, batches and rates are the defaults of the released code (an "epoch" of its kernel network is
counted as one batch, the reading that makes it fastest). Mended: gradients are zeroed, the span's
optimiser is stepped, neighbours go by count and not by distances in data units, several starts
instead of one, and the lasso is 1e-3: with the released 0.5 the identity is the global minimum.
"""

from dataclasses import dataclass

import torch
from samples import Answer, neighbours
from torch import Tensor

from hgm import lie


@dataclass(frozen=True)
class RecipeSteps:
    """Effort and rates.

    Args:
        field_steps: Steps for the kernel fields.
        action_steps: Steps for the left actions.
        span_steps: Steps for the generator.
        num_starts: Starts of fields and left actions, all in one batch.
        batch_size: Points per step.
        field_rate: Learning rate of the kernel fields.
        action_rate: Learning rate of the left actions.
        span_rate: Learning rate of the generator.
        lasso: Weight of the logs' sum of absolute entries.
    """

    field_steps: int = 2_000
    action_steps: int = 20_000
    span_steps: int = 10_000
    num_starts: int = 8
    batch_size: int = 1024
    field_rate: float = 1e-2
    action_rate: float = 3.5e-4
    span_rate: float = 3.5e-3
    lasso: float = 1e-3


def kernel_frames(points: Tensor, rewards: Tensor, ball: int = 64, level: int = 8) -> Tensor:
    """Unsigned unit tangents of the level sets through points ``(B, n)``, shape ``(B, n)``.

    Args:
        points: Points of one task.
        rewards: Rewards there, ``(B,)``.
        ball: Nearest neighbours that are looked at, the point itself among them.
        level: How many of them, the nearest in reward, count as its level set.
    """
    near = neighbours(points, points, ball)
    gaps = (rewards[near] - rewards[:, None]).abs()
    gaps = gaps.masked_fill(near == torch.arange(len(points))[:, None], torch.inf)
    near = near.gather(1, gaps.topk(level, largest=False).indices)
    offsets = points[near] - points[:, None]
    return torch.linalg.eigh(offsets.mT @ offsets).eigenvectors[..., -1]


def fit_fields(points: Tensor, frames: Tensor, steps: RecipeSteps, draw: torch.Generator) -> Tensor:
    """Affine kernel fields of points ``(N, B, n)`` and frames there, ``(N, n, n + 1)``."""
    num_tasks, _, n = points.shape
    fields = torch.randn(num_tasks, steps.num_starts, n, n + 1, generator=draw, dtype=points.dtype)
    fields.requires_grad_()
    optimiser = torch.optim.Adam([fields], steps.field_rate)

    def losses(points: Tensor, frames: Tensor) -> Tensor:
        moved = evaluate(fields, points[:, None])
        return 1 - torch.cosine_similarity(moved, frames[:, None], dim=-1).abs().mean(-1)

    for _ in range(steps.field_steps):
        picked = torch.randint(points.shape[1], (steps.batch_size,), generator=draw)
        optimiser.zero_grad()
        losses(points[:, picked], frames[:, picked]).sum().backward()
        optimiser.step()
    with torch.no_grad():
        best = losses(points, frames).argmin(1)
    fields = fields.detach()[torch.arange(num_tasks), best]
    return fields / fields.norm(dim=(1, 2), keepdim=True)


def evaluate(fields: Tensor, points: Tensor) -> Tensor:
    """Affine fields ``(..., n, n + 1)`` at points ``(..., B, n)``."""
    return points @ fields[..., :-1].mT + fields[..., None, :, -1]


def misalignment(logs: Tensor, fields: Tensor, points: Tensor) -> Tensor:
    """Mean ``1 - |cos(L v_0(p), v_i(L p))|`` of logs ``(N - 1, S, n, n)``, ``(N - 1, S)``."""
    elements = lie.exp(logs)
    pushed = evaluate(fields[0], points) @ elements.mT
    there = evaluate(fields[1:, None], points @ elements.mT)
    return 1 - torch.cosine_similarity(pushed, there, dim=-1).abs().mean(-1)


def align(fields: Tensor, points: Tensor, steps: RecipeSteps, draw: torch.Generator) -> Tensor:
    """Logs of left actions from all starts ``(S, N - 1, n, n)``, those of least loss first.

    Starts are rotations evenly spread, each disturbed by 0.1: more than the released code gives
    itself, which starts once.
    """
    num_tasks, n = len(fields), points.shape[-1]
    angles = torch.linspace(-torch.pi, torch.pi, steps.num_starts + 1, dtype=points.dtype)[1:]
    shape = (num_tasks - 1, steps.num_starts, n, n)
    logs = 0.1 * torch.randn(shape, generator=draw, dtype=points.dtype)
    logs = logs + angles[:, None, None] * lie.so_generators(n)[0].to(points)
    logs.requires_grad_()
    optimiser = torch.optim.Adam([logs], steps.action_rate)
    for _ in range(steps.action_steps):
        picked = torch.randint(len(points), (steps.batch_size,), generator=draw)
        optimiser.zero_grad()
        loss = misalignment(logs, fields, points[picked])
        (loss.sum() + steps.lasso * logs.abs().sum()).backward()
        optimiser.step()
    with torch.no_grad():
        order = misalignment(logs, fields, points).argsort(1)
    return logs.detach()[torch.arange(num_tasks - 1)[:, None], order].transpose(0, 1).contiguous()


def span(logs: Tensor, steps: RecipeSteps, draw: torch.Generator) -> Tensor:
    """The generator W, of norm sqrt 2, that best spans logs ``(N - 1, n, n)``, ``(1, n, n)``."""
    generator = torch.randn(1, *logs.shape[1:], generator=draw, dtype=logs.dtype).requires_grad_()
    weights = torch.randn(len(logs), 1, generator=draw, dtype=logs.dtype).requires_grad_()
    optimiser = torch.optim.Adam([generator, weights], steps.span_rate)
    for _ in range(steps.span_steps):
        optimiser.zero_grad()
        (logs - lie.hat(weights, lie.normalise(generator))).square().sum((-2, -1)).mean().backward()
        optimiser.step()
    return lie.normalise(generator.detach())


def paper_recipe(
    points: Tensor, rewards: Tensor, steps: RecipeSteps, seed: int
) -> tuple[Answer, Tensor]:
    """The whole recipe on points ``(N, B, n)`` and rewards ``(N, B)``, in float32 as released.

    Returns:
        The answer, and the elements of all starts, ``(S, N, n, n)``, the best first.
    """
    draw = torch.Generator().manual_seed(seed)
    points, rewards = points.float(), rewards.float()
    frames = torch.stack([kernel_frames(*task) for task in zip(points, rewards, strict=True)])
    fields = fit_fields(points, frames, steps, draw)
    logs = align(fields, points[0], steps, draw)
    generator = span(logs[0], steps, draw)
    identity = torch.eye(points.shape[-1]).expand(len(logs), 1, -1, -1)
    elements = torch.cat((identity, lie.exp(logs)), 1).double()
    return Answer(elements[0], generator.double(), {}), elements
