"""A point that walks to a hidden goal on a circle, a sphere, or the image of one in a chart."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from tensordict.nn import TensorDictModule, TensorDictModuleBase
from torch import Tensor
from torchrl.envs import EnvBase

from hgm import lie
from hgm.checks import check_choice, check_int, check_matrix, check_real
from hgm.envs.base import MAX_DIM, MAX_STEPS, MAX_TASKS, TaskFamily, Truth
from hgm.envs.point import BOUNDS, PointEnv, from_chart, step, to_chart
from hgm.envs.rewards import RewardTransform

GOAL_TOLERANCE = 0.1 * math.sqrt(2)
"""Distance to the goal, in the chart, at which an episode terminates."""


class Navigation(TaskFamily):
    r"""Goals :math:`z_i = C \rho u_i` with :math:`u_i` uniform on the unit sphere of R^n.

    Dynamics :func:`hgm.envs.point.step`, rewards
    :math:`r_i = \phi_i(-|C^{-1}(s' - z_i)|) + \sigma_r \xi`. The hereditary group is
    :math:`C\,SO(n)\,C^{-1}`. With ``action_bound="box"`` the rewards still share it and the
    dynamics do not. Circle and disc of the paper (arXiv 2603.00396) are the defaults; the sphere
    is ``Navigation(dim_state=3, num_train_tasks=8)``.

    A row of tasks holds the goal (n) and the reward transform's scale, shift and power.

    Args:
        dim_state: State and action dimension ``n``, 2 or more.
        num_train_tasks: Number of training tasks, 2 or more.
        radius: Distance of the goals in the chart, above the goal tolerance 0.1 sqrt 2.
        noise: Standard deviation of start and dynamics in the chart.
        reward_noise: Standard deviation of the reward noise.
        action_bound: ``"disc"`` (commutes with rotations) or ``"box"`` (does not).
        max_action: Largest step in the chart.
        max_steps: Truncation.
        chart: Invertible ``n x n`` matrix ``C`` as nested lists, or None for the identity.
        train_goals: Training goals as vectors, of which only the direction in the chart counts;
            None draws them.
        reward_transform: Hidden per-task transform; None leaves rewards as they are.

    Raises:
        ValueError: If an argument is out of range, naming it, its value and what would be right.
        TypeError: If ``reward_transform`` is not a RewardTransform.

    Example:
        >>> family = Navigation()
        >>> family.train_tasks(seed=0).shape
        torch.Size([4, 5])
    """

    def __init__(
        self,
        dim_state: int = 2,
        num_train_tasks: int = 4,
        radius: float = 1.0,
        noise: float = 0.05,
        reward_noise: float = 0.0,
        action_bound: str = "disc",
        max_action: float = 0.1,
        max_steps: int = 100,
        chart: Sequence[Sequence[float]] | None = None,
        train_goals: Sequence[Sequence[float]] | None = None,
        reward_transform: RewardTransform | None = None,
    ) -> None:
        self._dim_state = check_int("dim_state", dim_state, 2, MAX_DIM)
        self.num_train_tasks = check_int("num_train_tasks", num_train_tasks, 2, MAX_TASKS)
        self.radius = check_real("radius", radius, GOAL_TOLERANCE, strict=True)
        self.noise = check_real("noise", noise, 0.0)
        self.reward_noise = check_real("reward_noise", reward_noise, 0.0)
        self.action_bound = check_choice("action_bound", action_bound, list(BOUNDS))
        self.max_action = check_real("max_action", max_action, 0.0, strict=True)
        self.max_steps = check_int("max_steps", max_steps, 1, MAX_STEPS)
        self.chart = None if chart is None else _check_chart(chart, dim_state)
        self.train_goals = None if train_goals is None else self._check_goals(train_goals)
        transform = RewardTransform() if reward_transform is None else reward_transform
        if not isinstance(transform, RewardTransform):
            raise TypeError(
                f"Expected `reward_transform` to be a RewardTransform, got {transform}."
            )
        self.reward_transform = transform

    @property
    def dim_state(self) -> int:
        """State dimension ``n``."""
        return self._dim_state

    @property
    def dim_action(self) -> int:
        """Action dimension, ``n``."""
        return self._dim_state

    def sample_tasks(self, num: int, generator: torch.Generator) -> Tensor:
        """Goals uniform on the sphere and transforms uniform in their ranges, ``(num, n + 3)``."""
        normal = torch.randn(num, self.dim_state, generator=generator)
        goals = from_chart(self.radius * normal / normal.norm(dim=-1, keepdim=True), self.chart)
        return torch.cat((goals, self.reward_transform.sample(num, generator)), -1)

    def make_env(
        self,
        tasks: Tensor,
        num_copies: int,
        seed: int,
        device: torch.device | str | None = None,
    ) -> EnvBase:
        """A :class:`PointEnv` of batch size ``(N, num_copies)``."""
        return PointEnv(
            tasks,
            num_copies,
            dim_state=self.dim_state,
            reward=self.reward,
            done=lambda state, rows: self.distance(state, rows) <= GOAL_TOLERANCE,
            bound=BOUNDS[self.action_bound],
            max_action=self.max_action,
            noise=self.noise,
            reward_noise=self.reward_noise,
            max_steps=self.max_steps,
            chart=self.chart,
            seed=seed,
            device=device,
        )

    def goals(self, tasks: Tensor) -> Tensor:
        """Goals of tasks ``(..., k)``, shape ``(..., n)``."""
        return tasks[..., : self.dim_state]

    def distance(self, state: Tensor, tasks: Tensor) -> Tensor:
        """Distance :math:`|C^{-1}(s - z)|` of states ``(..., n)`` to the goals of tasks."""
        return to_chart(state - self.goals(tasks), self.chart).norm(dim=-1)

    def reward(self, state: Tensor, tasks: Tensor) -> Tensor:
        """Noise-free reward of next states ``(..., n)`` under tasks ``(..., k)``."""
        return self.reward_transform(-self.distance(state, tasks), tasks[..., self.dim_state :])

    def goal_policy(self, tasks: Tensor) -> TensorDictModuleBase:
        """As near to the goal as one step can come, in every step.

        With the disc that is straight at full speed. With the box every component makes its own
        way, so no policy is nearer in any component at any time: both are optimal.
        """
        bound = BOUNDS[self.action_bound]

        def act(observation: Tensor, task: Tensor) -> Tensor:
            goals = self.goals(tasks.to(observation))[task.squeeze(-1)]
            way = to_chart(goals - observation, self.chart)
            return from_chart(bound(way, self.max_action), self.chart)

        return TensorDictModule(act, in_keys=["observation", "task"], out_keys=["action"])

    def optimal_policy(self, tasks: Tensor) -> TensorDictModuleBase | None:
        """The goal policy: nothing comes nearer to the goal, in any step.

        None where a shift may make rewards positive: then it may pay never to arrive.
        """
        return self.goal_policy(tasks) if self.reward_transform.shift[1] <= 0 else None

    def truth(self, tasks: Tensor) -> Truth:
        r"""The group :math:`C\,SO(n)\,C^{-1}`, in the dtype of ``tasks``.

        Errors of elements: in the plane, where the stabiliser of a goal is trivial,
        :math:`|\log(L L_*^{-1})|_F / \sqrt 2` in the chart, 180 where no real logarithm exists.
        From n = 3 on elements are defined up to the stabiliser, and the error is that of what they
        do, :math:`2 \arcsin \min(1, |C^{-1}(L z_0 - z_i)| / 2 \rho)`. Both in degrees.
        """
        size = self.dim_state
        chart = torch.eye(size, dtype=torch.float64) if self.chart is None else self.chart
        inverse = torch.linalg.inv(chart)
        goals = self.goals(tasks).double().cpu() @ inverse.T
        rotations = _rotations_between(goals[0], goals)
        planes = lie.so_generators(size).double()
        generators = lie.normalise(chart @ planes @ inverse)

        def error(elements: Tensor) -> Tensor:
            seen = inverse @ elements.detach().double().cpu() @ chart
            if size == 2:
                logs = lie.log(seen @ rotations.mT)
                angle = logs.norm(dim=(1, 2)) / math.sqrt(2)
                return torch.rad2deg(angle).nan_to_num(nan=180.0).to(tasks.dtype)
            miss = (seen @ goals[0] - goals).norm(dim=-1) / (2 * self.radius)
            return torch.rad2deg(2 * miss.clamp_max(1.0).asin()).to(tasks.dtype)

        def dynamics(state: Tensor, action: Tensor) -> Tensor:
            return step(state, action, max_action=self.max_action, chart=self.chart)

        return Truth(
            generators=generators.to(tasks),
            elements=(chart @ rotations @ inverse).to(tasks),
            action_generators=generators.to(tasks),
            element_error_deg=error,
            reward=lambda state: self.reward(state, tasks[:, None]),
            dynamics=dynamics if self.action_bound == "disc" else None,
        )

    def separation(self, tasks: Tensor, others: Tensor) -> Tensor:
        """Angles between goals in the chart, ``(T, N)``, in radians."""
        goals, theirs = (
            torch.nn.functional.normalize(to_chart(self.goals(rows).double(), self.chart), dim=-1)
            for rows in (tasks, others)
        )
        return 2 * (torch.cdist(goals, theirs) / 2).clamp(max=1.0).asin()

    def _test_tasks(self, num: int, generator: torch.Generator) -> Tensor:
        """Evenly spaced on the circle, from a random first one; drawn from n = 3 on."""
        tasks = self.sample_tasks(num, generator)
        if self.dim_state == 2:
            first = 2 * math.pi * torch.rand((), generator=generator)
            angles = first + 2 * math.pi / num * torch.arange(num)
            circle = self.radius * torch.stack((angles.cos(), angles.sin()), -1)
            tasks[:, :2] = from_chart(circle, self.chart).to(tasks)
        return tasks

    def _train_tasks(self, generator: torch.Generator) -> Tensor:
        tasks = self.sample_tasks(self.num_train_tasks, generator)
        if self.train_goals is not None:
            tasks[:, : self.dim_state] = self.train_goals.to(tasks)
        return tasks

    def _check_goals(self, train_goals: Sequence[Sequence[float]]) -> Tensor:
        goals = to_chart(check_matrix("train_goals", train_goals, self.dim_state), self.chart)
        norms = goals.norm(dim=-1, keepdim=True)
        if len(goals) != self.num_train_tasks or (norms == 0).any():
            raise ValueError(
                f"Expected `train_goals` to be `num_train_tasks` = {self.num_train_tasks} non-zero "
                f"vectors, got {train_goals!r}."
            )
        return from_chart(self.radius * goals / norms, self.chart)


def _check_chart(chart: Sequence[Sequence[float]], size: int) -> Tensor:
    matrix = check_matrix("chart", chart, size)
    if len(matrix) != size or torch.linalg.cond(matrix) > 1e4:
        raise ValueError(
            f"Expected `chart` to be an invertible {size} x {size} matrix (condition number below "
            f"1e4), got {chart!r}."
        )
    return matrix


def _rotations_between(start: Tensor, ends: Tensor) -> Tensor:
    """Smallest rotations ``(N, n, n)`` that carry the direction ``start`` into each of ``ends``.

    With orthonormal u, e spanning the plane of turning,
    ``R = I + sin (e u^T - u e^T) + (cos - 1) (u u^T + e e^T)``; for antipodes any such e will do.
    """
    size = len(start)
    start = start / start.norm()
    ends = ends / ends.norm(dim=-1, keepdim=True)
    cosine = ends @ start
    side = ends - cosine[:, None] * start
    sine = side.norm(dim=-1)
    axis = torch.eye(size, dtype=start.dtype)[start.abs().argmin()]
    spare = axis - (axis @ start) * start
    side = torch.where(sine[:, None] < 1e-12, spare, side)
    side = side / side.norm(dim=-1, keepdim=True)
    turn = side[:, :, None] * start - start[:, None] * side[:, None]
    plane = start[:, None] * start + side[:, :, None] * side[:, None]
    cosine, sine = cosine[:, None, None], sine[:, None, None]
    return torch.eye(size, dtype=start.dtype) + sine * turn + (cosine - 1) * plane
