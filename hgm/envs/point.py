"""A noisy point mass as a native batched TorchRL environment."""

from __future__ import annotations

from collections.abc import Callable

import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor
from torchrl.data import Binary, Bounded, Composite, Unbounded
from torchrl.envs import EnvBase


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


class PointEnv(EnvBase):
    """Point mass that runs ``N`` tasks in ``K`` copies each, as one batch ``(N, K)``.

    Episodes start at ``C (noise * xi)``, are truncated after ``max_steps`` and terminate where
    ``done`` says so. Agents may command twice the bound in every component, and the environment
    bounds it, so that data show the saturation, where a box breaks the rotation symmetry.

    The task parameters are a table on the environment and never enter a TensorDict. State and time
    are read from the TensorDict; all randomness comes from one private generator. Build it on the
    device where it is to run: a generator cannot be moved.

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
        device = torch.device("cpu" if device is None else device)
        batch = torch.Size((table.shape[0], num_copies))
        super().__init__(device=device, batch_size=batch)
        self._rows = table.to(device, dtype)[:, None]
        self._chart = None if chart is None else chart.to(device, dtype)
        self._reward, self._done, self._bound = reward, done, bound
        self._motors = motors
        self._max_action, self._max_steps = max_action, max_steps
        self._noise, self._reward_noise = noise, reward_noise
        self._task = torch.arange(batch[0], device=device)[:, None, None].expand(*batch, 1)
        self._generator = torch.Generator(device).manual_seed(seed)

        vector, scalar = (*batch, dim_state), (*batch, 1)
        self.observation_spec = Composite(
            observation=Unbounded(vector, device=device, dtype=dtype),
            task=Bounded(0, batch[0] - 1, scalar, device, torch.int64),
            step_count=Bounded(0, max_steps, scalar, device, torch.int64),
            shape=batch,
            device=device,
        )
        reach = torch.ones(dim_state) if chart is None else chart.abs().sum(-1)
        high = (2 * max_action * reach).to(device, dtype).expand(vector)
        self.action_spec = Bounded(-high, high, vector, device, dtype)
        self.reward_spec = Unbounded(scalar, device=device, dtype=dtype)
        flag = Binary(1, scalar, device=device, dtype=torch.bool)
        self.done_spec = Composite(
            done=flag, terminated=flag.clone(), truncated=flag.clone(), shape=batch, device=device
        )

    def _randn(self, *shape: int) -> Tensor:
        return self._rows.new_empty(shape).normal_(generator=self._generator)

    def _reset(self, tensordict: TensorDictBase | None = None, **kwargs: object) -> TensorDictBase:
        # Fresh starts for all copies: TorchRL keeps the running ones when a reset is partial.
        start = from_chart(
            self._noise * self._randn(*self.observation_spec["observation"].shape), self._chart
        )
        entries = {
            "observation": start,
            "task": self._task.clone(),
            "step_count": torch.zeros_like(self._task),
        }
        return TensorDict(entries, self.batch_size, device=self.device)

    def _step(self, tensordict: TensorDictBase) -> TensorDictBase:
        state, action = tensordict["observation"], tensordict["action"]
        state = step(
            state,
            action if self._motors is None else self._motors(action, self._rows),
            self._noise * self._randn(*state.shape),
            bound=self._bound,
            max_action=self._max_action,
            chart=self._chart,
        )
        reward = self._reward(state, self._rows)
        if self._reward_noise:
            reward = reward + self._reward_noise * self._randn(*reward.shape)
        count = tensordict["step_count"] + 1
        truncated = count >= self._max_steps
        terminated = torch.zeros_like(truncated)
        if self._done is not None:
            terminated = self._done(state, self._rows)[..., None]
        entries = {
            "observation": state,
            "task": self._task.clone(),
            "step_count": count,
            "reward": reward[..., None],
            "terminated": terminated,
            "truncated": truncated,
            "done": terminated | truncated,
        }
        return TensorDict(entries, self.batch_size, device=self.device)

    def step_and_maybe_reset(
        self, tensordict: TensorDictBase
    ) -> tuple[TensorDictBase, TensorDictBase]:
        """TorchRL's in two thirds of its time: the rest is for environments of other kinds.

        Where a copy starts anew it keeps the last action, which TorchRL sets to zero.
        """
        after = tensordict["next"] = self._step(tensordict)
        current = tensordict.exclude("next").update(after.exclude("reward"))
        done = after["done"]
        if done.any():
            for key, start in self._reset().items():
                current[key] = start.where(done, after[key])
            for key in self.done_keys:
                current[key] = torch.zeros_like(done)
        return tensordict, current

    def _set_seed(self, seed: int | None) -> None:
        if seed is not None:
            self._generator.manual_seed(seed)
