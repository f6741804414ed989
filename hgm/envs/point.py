"""A noisy point mass as a native batched TorchRL environment."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from hgm.envs.batched import BatchedEnv


def bound_disc(action: Tensor, bound: float) -> Tensor:
    """Scale actions ``(..., m)`` back to the disc ``|a| <= bound``. Commutes with rotations."""
    norm = action.norm(dim=-1, keepdim=True)
    return action * (bound / norm.clamp_min(bound))


def bound_box(action: Tensor, bound: float) -> Tensor:
    """Clip actions ``(..., m)`` componentwise to ``[-bound, bound]``. Breaks rotations."""
    return action.clamp(-bound, bound)


BOUNDS = {"disc": bound_disc, "box": bound_box}


def to_chart(vectors: Tensor, chart: Tensor | None) -> Tensor:
    r"""Coordinates :math:`C^{-1} v` of vectors ``(..., n)`` in the chart ``C``; v without one."""
    return vectors if chart is None else vectors @ torch.linalg.inv(chart.to(vectors)).T


def from_chart(vectors: Tensor, chart: Tensor | None) -> Tensor:
    """Vectors :math:`C u` of chart coordinates ``(..., n)``; u without a chart."""
    return vectors if chart is None else vectors @ chart.to(vectors).T


def step(
    state: Tensor,
    action: Tensor,
    noise: Tensor | float = 0.0,
    *,
    bound: Callable[[Tensor, float], Tensor] = bound_disc,
    max_action: float = 0.1,
    chart: Tensor | None = None,
) -> Tensor:
    r"""Dynamics :math:`s' = s + C (\mathrm{bound}(C^{-1} a) + \xi)`.

    Bound and noise are measured in the chart, so with the disc the dynamics are equivariant under
    :math:`C\,SO(n)\,C^{-1}` acting on states and actions alike.

    Args:
        state: States, ``(..., n)``.
        action: Commanded actions, ``(..., n)``.
        noise: Displacements in the chart, ``(..., n)``.
        bound: :func:`bound_disc` or :func:`bound_box`.
        max_action: Largest step in the chart.
        chart: Linear chart ``C``, ``(n, n)``, or None for the identity.

    Returns:
        Next states, ``(..., n)``.

    Example:
        >>> step(torch.zeros(2), torch.tensor([3.0, 4.0]))
        tensor([0.0600, 0.0800])
    """
    return state + from_chart(bound(to_chart(action, chart), max_action) + noise, chart)


class PointEnv(BatchedEnv):
    """Point mass as a :class:`~hgm.envs.BatchedEnv`, with rewards of next states alone.

    Episodes start at ``C (noise * xi)``. Agents may command twice the bound in every component, and
    the environment bounds it, so that data show the saturation, where a box breaks the rotation
    symmetry.

    Args:
        table: Task parameters, ``(N, k)``.
        num_copies: Copies ``K`` of each task.
        dim_state: State and action dimension ``n``.
        reward: Pure function of next states ``(N, K, n)`` and rows ``(N, 1, k)`` to ``(N, K)``.
        done: Pure function of the same arguments to booleans ``(N, K)``; None: never terminated.
        motors: Pure function of actions ``(N, K, n)`` and rows ``(N, 1, k)`` to the actions that
            are carried out, for tasks with dynamics of their own; None: as commanded.
        bound: :func:`bound_disc` or :func:`bound_box`.
        max_action: Largest step in the chart.
        noise: Standard deviation of start and dynamics, in the chart.
        reward_noise: Standard deviation of additive Gaussian reward noise.
        max_steps: Truncation.
        chart: Linear chart ``C``, ``(n, n)``, or None for the identity.
        seed: Seed of the private generator.
        device: Where it runs; the CPU if None.
        dtype: Floating-point type of states, actions and rewards.
    """

    def __init__(
        self,
        table: Tensor,
        num_copies: int,
        *,
        dim_state: int,
        reward: Callable[[Tensor, Tensor], Tensor],
        done: Callable[[Tensor, Tensor], Tensor] | None = None,
        motors: Callable[[Tensor, Tensor], Tensor] | None = None,
        bound: Callable[[Tensor, float], Tensor] = bound_disc,
        max_action: float = 0.1,
        noise: float = 0.05,
        reward_noise: float = 0.0,
        max_steps: int = 100,
        chart: Tensor | None = None,
        seed: int = 0,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        own = None if chart is None else chart.to(device, dtype)
        reach = torch.ones(dim_state) if chart is None else chart.abs().sum(-1)

        def move(state: Tensor, action: Tensor, random: Tensor, rows: Tensor) -> Tensor:
            action = action if motors is None else motors(action, rows)
            return step(
                state, action, noise * random, bound=bound, max_action=max_action, chart=own
            )

        super().__init__(
            table,
            num_copies,
            dim_state=dim_state,
            high=2 * max_action * reach,
            start=lambda random, rows: from_chart(noise * random, own),
            step=move,
            reward=lambda state, action, following, rows: reward(following, rows),
            done=done,
            reward_noise=reward_noise,
            max_steps=max_steps,
            seed=seed,
            device=device,
            dtype=dtype,
        )
