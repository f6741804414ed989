"""A plane seen through bent glass: its group is linear in coordinates that nobody is told."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import torch
from tensordict import TensorDictBase
from tensordict.nn import TensorDictModule, TensorDictModuleBase
from torch import Tensor
from torchrl.envs import EnvBase

from hgm.charts import Chart
from hgm.checks import check_real
from hgm.envs.base import TaskFamily, Truth
from hgm.envs.navigation import Navigation

_ANGLE = 0.5  # of the turn before the bend, so that no coordinate is bent alone


class Bend(Chart):
    r"""The inverse of a smooth map :math:`h` of the plane onto itself, with :math:`h(0) = 0`.

    .. math:: h(z) = \bigl(x,\; y_2 + c (\sqrt{1 + x^2} - 1)\bigr), \qquad
              x = \sinh(\kappa y_1) / \kappa, \qquad y = R z

    with a turn `R` by half a radian: one direction is stretched outwards, and lines across it are
    bent.

    Args:
        stretch: How strongly, :math:`\kappa` > 0.
        bend: How far, :math:`c`.
    """

    turn: Tensor

    def __init__(self, stretch: float = 0.6, bend: float = 0.5) -> None:
        super().__init__(2)
        self.stretch = check_real("stretch", stretch, 0.0, strict=True)
        self.bend = check_real("bend", bend)
        turn = [[math.cos(_ANGLE), -math.sin(_ANGLE)], [math.sin(_ANGLE), math.cos(_ANGLE)]]
        self.register_buffer("turn", torch.tensor(turn, dtype=torch.float64))

    def _bend(self, points: Tensor) -> Tensor:
        x, y = points.unbind(-1)
        first = torch.asinh(self.stretch * x) / self.stretch
        straight = torch.stack((first, y - self.bend * _arch(x)), -1)
        return straight @ self.turn.to(points)

    def _unbend(self, points: Tensor) -> Tensor:
        first, second = (points @ self.turn.to(points).mT).unbind(-1)
        x = torch.sinh(self.stretch * first) / self.stretch
        return torch.stack((x, second + self.bend * _arch(x)), -1)

    def _log_slope(self, points: Tensor) -> Tensor:
        return -torch.log1p((self.stretch * points[..., 0]).square()) / 2


def _arch(x: Tensor) -> Tensor:
    return (1 + x.square()).sqrt() - 1


class Warped(TaskFamily):
    r"""Another family of the plane, of which agents see :math:`h(z)` for the state `z`.

    `h` is the inverse of :class:`Bend`. Actions and rewards stay as they are: what the group of the
    other family does to states by a matrix `L`, is :math:`h L h^{-1}` here.

    Tasks are those of the other family.

    Args:
        family: The other family, of two state dimensions; :class:`Navigation` if None.
        stretch: How strongly one direction is stretched outwards, above 0.
        bend: How far lines across it are bent.

    Raises:
        ValueError: If `family` is not one of two state dimensions, or a number is out of range.

    Example:
        >>> Warped().goals(torch.tensor([[1.0, 0.0, 1.0, 0.0, 1.0]])).shape
        torch.Size([1, 2])
    """

    def __init__(
        self, family: TaskFamily | None = None, stretch: float = 0.6, bend: float = 0.5
    ) -> None:
        self.family = Navigation() if family is None else family
        if not isinstance(self.family, TaskFamily) or self.family.dim_state != 2:
            raise ValueError(
                f"Expected `family` to be a TaskFamily of 2 state dimensions, got {family!r}."
            )
        self.num_train_tasks = self.family.num_train_tasks
        self.max_steps, self.fails = self.family.max_steps, self.family.fails
        self.chart = Bend(stretch, bend).double()

    @property
    def dim_state(self) -> int:
        """State dimension, 2."""
        return 2

    @property
    def dim_action(self) -> int:
        """That of the other family."""
        return self.family.dim_action

    def sample_tasks(self, num: int, generator: torch.Generator) -> Tensor:
        """Those of the other family."""
        return self.family.sample_tasks(num, generator)

    def make_env(
        self,
        tasks: Tensor,
        num_copies: int,
        seed: int,
        device: torch.device | str | None = None,
    ) -> EnvBase:
        """That of the other family, seen through `h`."""
        return SeenEnv(self.family.make_env(tasks, num_copies, seed, device), self.chart)

    def goals(self, tasks: Tensor) -> Tensor | None:
        """Where those of the other family are seen."""
        goals = self.family.goals(tasks)
        return None if goals is None else self.chart.inverse(goals).to(goals)

    def goal_policy(self, tasks: Tensor) -> TensorDictModuleBase:
        """That of the other family, which sees the state itself."""
        return self._told(self.family.goal_policy(tasks))

    def optimal_policy(self, tasks: Tensor) -> TensorDictModuleBase | None:
        """As :meth:`goal_policy`."""
        policy = self.family.optimal_policy(tasks)
        return None if policy is None else self._told(policy)

    def truth(self, tasks: Tensor) -> Truth | None:
        """The other family's, in the coordinates of :class:`Bend`."""
        truth = self.family.truth(tasks)
        return None if truth is None else replace(truth, chart=self.chart)

    def separation(self, tasks: Tensor, others: Tensor) -> Tensor:
        """That of the other family."""
        return self.family.separation(tasks, others)

    def _told(self, policy: TensorDictModuleBase) -> TensorDictModuleBase:
        def act(observation: Tensor, task: Tensor) -> Tensor:
            return policy(observation=self.chart(observation).to(observation), task=task)

        return TensorDictModule(act, in_keys=["observation", "task"], out_keys=["action"])

    def _train_tasks(self, generator: torch.Generator) -> Tensor:
        return self.family._train_tasks(generator)

    def _test_tasks(self, num: int, generator: torch.Generator) -> Tensor:
        return self.family._test_tasks(num, generator)


class SeenEnv(EnvBase):
    """Another environment whose ``observation`` is the state in other coordinates.

    Args:
        env: The other environment, which reads its state from its ``observation``.
        chart: From what is seen to its states.
    """

    def __init__(self, env: EnvBase, chart: Chart) -> None:
        super().__init__(device=env.device, batch_size=env.batch_size)
        self._env, self._seen = env, copy.deepcopy(chart).to(env.device)
        self.observation_spec = env.observation_spec.clone()
        self.action_spec = env.action_spec.clone()
        self.reward_spec = env.reward_spec.clone()
        self.done_spec = env.full_done_spec.clone()

    def _reset(self, tensordict: TensorDictBase | None = None, **kwargs: object) -> TensorDictBase:
        return self._shown(self._env._reset())

    def _step(self, tensordict: TensorDictBase) -> TensorDictBase:
        seen = tensordict["observation"]
        inside = tensordict.copy().set("observation", self._seen(seen).to(seen))
        return self._shown(self._env._step(inside))

    def _shown(self, tensordict: TensorDictBase) -> TensorDictBase:
        state = tensordict["observation"]
        return tensordict.set("observation", self._seen.inverse(state).to(state))

    def _set_seed(self, seed: int | None) -> None:
        self._env._set_seed(seed)
